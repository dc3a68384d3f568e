"""Which sides of which thresholds were met by accumulators that a real kernel turned into the predicted bytes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bvverify.network import ALWAYS, NEVER, IntArray

_Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class CoverageCount:
    """Sides of thresholds: t - 1 and t for every threshold t, each counted once per output channel."""

    reachable: int
    """Sides within the accumulators' range that were not proved unreachable."""
    hit: int
    unreachable: int
    """Sides that no input has, which was proved."""

    @property
    def missed(self) -> int:
        """Sides that were neither met nor proved unreachable."""
        return self.reachable - self.hit

    @property
    def fraction(self) -> float:
        """Sides met per reachable side; 1 if there is none."""
        return self.hit / self.reachable if self.reachable else 1.0

    def __add__(self, other: "CoverageCount") -> "CoverageCount":
        return CoverageCount(
            self.reachable + other.reachable, self.hit + other.hit, self.unreachable + other.unreachable
        )


class Coverage:
    """The sides of the thresholds of one Step.

    Side 0 of level j of channel c is the accumulator `thresholds[c, j] - 1`, side 1 the accumulator `thresholds[c, j]`.
    Levels that share a threshold share its sides.  `hit` and `unreachable` are bool [C, T, 2].
    """

    def __init__(self, thresholds: IntArray, base: int) -> None:
        """Start with nothing hit: thresholds int64 [C, T] and base of the Step."""
        self.thresholds, self.base = thresholds, base
        finite = (thresholds != ALWAYS) & (thresholds != NEVER)
        rises = thresholds[:, 1:] != thresholds[:, :-1]
        ends = np.ones((len(thresholds), 1), dtype=bool)
        first = np.concatenate([ends, rises], axis=1)
        last = np.concatenate([rises, ends], axis=1)
        self.sides: _Bools = np.stack([finite & first, finite & last], axis=-1)
        """Which sides count: the lower side of the first, the upper side of the last level that has a threshold."""
        self.hit: _Bools = np.zeros_like(self.sides)
        self.unreachable: _Bools = np.zeros_like(self.sides)
        never = np.full((len(thresholds), 1), NEVER)
        self._next = np.concatenate([thresholds, never], axis=1)
        self._last = np.concatenate([never, thresholds], axis=1)

    def record(self, channels: IntArray, accumulators: IntArray, levels: IntArray, agreed: _Bools) -> None:
        """Note executed accumulators (n, P, channels), the bytes predicted for them, and where the kernel agreed."""
        reached = levels - self.base
        for side, table, offset in ((0, self._next, 1), (1, self._last, 0)):
            met = agreed & (table[channels, reached] == accumulators + offset)
            _, _, of = np.nonzero(met)
            self.hit[channels[of], reached[met] - side, side] = True

    def open_values(self, channel: int) -> IntArray:
        """Return the accumulators of a channel, ascending and each once, that stand for sides still open."""
        open_sides = self.sides[channel] & ~self.hit[channel] & ~self.unreachable[channel]
        below, at = (self.thresholds[channel][open_sides[:, side]] for side in (0, 1))
        return np.unique(np.concatenate([below - 1, at]))

    def rule_out(self, channel: int, values: IntArray) -> None:
        """Note accumulators of a channel that were proved unreachable."""
        own = np.stack([self.thresholds[channel] - 1, self.thresholds[channel]], axis=-1)
        self.unreachable[channel] |= self.sides[channel] & np.isin(own, values)

    @property
    def count(self) -> CoverageCount:
        """The sides counted."""
        unreachable = self.sides & self.unreachable & ~self.hit
        reachable = self.sides & ~unreachable
        return CoverageCount(int(reachable.sum()), int((self.sides & self.hit).sum()), int(unreachable.sum()))
