"""A line with a rational slope whose integer part is a staircase, wherever an accumulator can be."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from bvverify.network import IntArray

_LARGEST = 2**52
"""Bound on every number that a fit meets; beyond, there is no line."""


@dataclass(frozen=True)
class ExactLine:
    """count(x) = clip(floor((factor * x + offset) / divisor), 0, T) for T thresholds; factor, divisor > 0."""

    factor: int
    offset: int
    divisor: int

    def at(self, x: int) -> int:
        """Return the integer part of the line, before it is clipped."""
        return (self.factor * x + self.offset) // self.divisor


def exact_line(
    thresholds: IntArray, lower: int, upper: int, *, more_below: bool = False, more_above: bool = False
) -> ExactLine | None:
    """Return a line for ascending `thresholds` (int64 [T], lower < all <= upper) and accumulators in [lower, upper],
    or None.

    With `more_below` or `more_above`, the staircase goes on beyond that end, and a line is preferred that needs no clip
    there.
    """
    if max(abs(lower), abs(upper), len(thresholds)) >= _LARGEST:
        return None
    line = _fit(thresholds, lower, upper, more_below, more_above)
    if line is None and (more_below or more_above):
        line = _fit(thresholds, lower, upper, False, False)
    return line


def _fit(thresholds: IntArray, lower: int, upper: int, from_lower: bool, to_upper: bool) -> ExactLine | None:
    """Return the line with the least divisor that is at least j at the j-th threshold and less than j before it.

    Let the line be s x + c.  There is a c for a slope s exactly if, for every point (x, i) on or above which it must
    pass and every point (z, j) below which it must pass, i - s x < j - s z.
    """
    levels = np.arange(1, len(thresholds) + 1, dtype=np.int64)
    above = np.append(thresholds, lower), np.append(levels, 0)
    below = np.append(thresholds - 1, upper), np.append(levels, len(thresholds) + 1)
    if not from_lower:
        above = above[0][:-1], above[1][:-1]
    if not to_upper:
        below = below[0][:-1], below[1][:-1]
    run = below[0][None, :] - above[0][:, None]
    rise = below[1][None, :] - above[1][:, None]
    if ((run == 0) & (rise <= 0)).any():
        return None
    ratio = rise / np.where(run == 0, 1, run)
    least = max(0.0, float(ratio[run < 0].max(initial=0.0)))
    most = float(ratio[run > 0].min(initial=least + 1.0))
    room = 1e-9 * most  # the ends are floats, and do not belong to the interval
    if not least + room < most - room:
        return None
    slope = _simplest(Fraction(least + room), Fraction(most - room))
    reach = max(abs(lower), abs(upper), len(thresholds) + 1)
    if max(slope.numerator, slope.denominator) * reach >= _LARGEST:
        return None
    # Checked here in integers: whatever the floats chose, a line that is returned is exact.
    bound = int((slope.denominator * above[1] - slope.numerator * above[0]).max())
    limit = int((slope.denominator * below[1] - slope.numerator * below[0]).min()) - 1
    return ExactLine(slope.numerator, bound, slope.denominator) if bound <= limit else None


def _simplest(low: Fraction, high: Fraction) -> Fraction:
    """Return the fraction with the least denominator in [low, high], for 0 < low < high."""
    whole = -(-low.numerator // low.denominator)
    if whole <= high:
        return Fraction(whole)
    rest = _simplest(1 / (high - (whole - 1)), 1 / (low - (whole - 1)))
    return whole - 1 + 1 / rest
