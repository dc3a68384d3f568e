"""Stairs: the levels of a layer's units over their sums, in floats, for searches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bvverify.bounds.hull import HullMaker
from bvverify.network import IntArray, Step

FAR = 1e7
"""Further than any sum that has to be reached."""
LEAST_SLOPE = 1e-9

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Stairs:
    """The levels of units (U,) over their sums without the offsets."""

    base: int
    """The lowest level."""
    least: Reals
    """The least sum of each level (U, levels)."""
    most: Reals
    """The most."""
    slope: Reals
    """Levels per unit of the sum (U,); 1 where no line rises."""
    start: Reals
    """The sums at which the lines through the stairs begin (U,)."""
    steady: npt.NDArray[np.bool_]
    """For which units a line rises (U,)."""

    @classmethod
    def of(cls, step: Step, channels: IntArray, offsets: IntArray) -> Stairs:
        """Return the stairs of units of some channels (U,) of a step, whose sums have offsets (U,)."""
        slope = HullMaker(step).channel_slopes[channels].astype(np.float64)
        thresholds = step.thresholds[channels].astype(np.float64).clip(-FAR, FAR)
        steady = (slope > LEAST_SLOPE) & np.isfinite(slope) & (np.abs(thresholds) < FAR).any(axis=1)
        rise = np.where(steady, slope, 1.0)
        finite = (np.abs(thresholds) < FAR).argmax(axis=1)
        begin = np.take_along_axis(thresholds, finite[:, None], axis=1)[:, 0] - finite / rise
        far = np.full((len(channels), 1), FAR)
        ends = np.concatenate([-far, thresholds, far], axis=1) - offsets[:, None].astype(np.float64)
        return cls(step.base, ends[:, :-1], ends[:, 1:] - 1, rise, np.where(steady, begin, 0.0) - offsets, steady)

    @property
    def top(self) -> int:
        """The highest level."""
        return self.base + int(self.least.shape[1]) - 1

    def movable(self, levels: IntArray) -> IntArray:
        """Return the units whose levels (U,) may rise and fall."""
        return np.flatnonzero(self.steady & (levels > self.base) & (levels < self.top))

    def between(self, unit: int, level: int, *, room: float) -> tuple[float, float]:
        """Return the least and the most that slope times the sum may be for a unit's level, `room` levels inside its
        ends.
        """
        low, high = (self.slope[unit] * ends[unit, level - self.base] for ends in (self.least, self.most))
        inside = min(room, (high - low) / 2)
        return float(low + inside), float(high - inside)
