"""Stairs: the levels of one unit over its sum, in floats, for linear programs that search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bvverify.bounds.hull import HullMaker
from bvverify.network import IntArray, Step
from bvverify.search.lp import FAR

LEAST_SLOPE = 1e-9


@dataclass(frozen=True, eq=False)
class Stairs:
    """The levels of one unit over its sum without the offset."""

    slope: float
    """Levels per unit of the sum."""
    start: float
    """The sum at which the line through the stairs begins."""
    base: int
    ends: npt.NDArray[np.float64]
    """The sums at which levels begin, from the lowest level's on, and one beyond the highest."""
    steady: bool
    """Whether the line rises."""

    @property
    def top(self) -> int:
        """The highest level."""
        return self.base + len(self.ends) - 2

    def between(self, level: int, *, room: float) -> tuple[float, float]:
        """Return the least and the most that slope times the sum may be for a level, `room` levels inside its ends."""
        place = level - self.base
        low, high = self.slope * self.ends[place], self.slope * (self.ends[place + 1] - 1)
        inside = min(room, (high - low) / 2)
        return float(low + inside), float(high - inside)


def unit_stairs(step: Step, channels: IntArray, offsets: IntArray) -> list[Stairs]:
    """Return the stairs of units (U,) of some channels of a step, whose sums have offsets."""
    found = []
    slopes = HullMaker(step).channel_slopes[channels]
    for channel, slope, offset in zip(channels.tolist(), slopes.tolist(), offsets.astype(float).tolist(), strict=True):
        thresholds = step.thresholds[channel].astype(np.float64).clip(-FAR, FAR)
        (finite,) = np.nonzero(np.abs(thresholds) < FAR)
        steady = LEAST_SLOPE < slope < np.inf and len(finite) > 0
        rise = slope if steady else 1.0
        begin = float(thresholds[finite[0]]) - float(finite[0]) / rise if steady else 0.0
        ends = np.concatenate([[-FAR], thresholds, [FAR]]) - offset
        found.append(Stairs(rise, begin - offset, step.base, ends, steady))
    return found
