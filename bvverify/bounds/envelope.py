"""Envelopes: bounds of units fed by the box that are linear in the inputs, for any slant and any steepness.

A unit y = f(max_i u_i(x)) is bounded from above, y <= a . x + k, by a small k that is valid.  The levels of the
staircase f form segments.  In each of them some sum u_i has reached a corner (t, level) of the staircase, in the first
one the left end of the interval; then y <= level + m * (u_i(x) - t) for any steepness m >= 0, which is linear in x and
bounded on the box.  From below likewise, with -y <= a . x + k: there all sums together are short of a corner.

With one steepness for all levels this is the ideal envelope of a ReLU (Anderson et al., "Strong mixed-integer
programming formulations for trained neural networks", 2020).  With one for each level it is the hull of the staircase
over the box, and pays for every level that rounding gives: where sums read few inputs, this counts.
"""

from dataclasses import dataclass
from functools import cached_property

from bvverify.bounds.boxfed import BoxUnits
from bvverify.network import IntArray

FEW_INPUTS = 64
"""Levels of units that read so few inputs get segments of their own, and bounds from below."""
_MOST_SEGMENTS = 24

Side = tuple[int, int]
"""The number of the units' value, and 1 for bounds from above or -1 for bounds from below."""


@dataclass(frozen=True, eq=False)
class Envelope:
    """Units and the side from which they are bounded; U units, A alternatives of T sums together, P inputs.

    A corner is passed if, for one of the alternatives, all of the sums together have passed it.
    """

    units: BoxUnits
    sign: int
    segments: int
    """The first one is the level at which the interval of the sums ends on the other side."""

    @cached_property
    def weight(self) -> IntArray:
        """int64 [U, A, T, P], with the sign."""
        return self.sign * self._arranged(self.units.weight)

    @cached_property
    def offset(self) -> IntArray:
        """int64 [U, A, T], with the sign."""
        return self.sign * self._arranged(self.units.offset)

    def _arranged(self, sums: IntArray) -> IntArray:
        """Return what belongs to each sum, [U, F, ...]: from above one sum suffices, from below all are needed."""
        return sums[:, :, None] if self.sign > 0 else sums[:, None]


@dataclass(frozen=True, eq=False)
class Corners:
    """What a segment's levels are at most: y <= max over both corners of (y - steepness * x) + steepness * sums.

    int64 [U, segments, 2], with the envelope's sign.
    """

    x: IntArray
    y: IntArray


def segments_of(units: BoxUnits, levels: int) -> int:
    """Return into how many segments staircases that rise by up to `levels` are divided."""
    return 1 + max(1, min(levels, _MOST_SEGMENTS)) if units.inputs.shape[1] <= FEW_INPUTS else 2
