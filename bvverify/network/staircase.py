"""Counting thresholds quickly: for each channel c, how many of thresholds[c] are <= x.

The definition is a sorted search.  Most staircases come from a multiplication and a rounding, and lie within a small
`slack` of a line: then floor(slope * x + intercept) is the count wherever the line is further than the slack from an
integer, and elsewhere one comparison with one threshold decides.  The slack is measured, at both sides of every
threshold, with the very float operations that are used later.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bvverify.network.exact import FLOAT32_LIMIT, FLOAT64_LIMIT, IntArray, Numbers

_Floats = npt.NDArray[np.floating]
_Bools = npt.NDArray[np.bool_]


def count_reached(thresholds: IntArray, rows: Numbers) -> Numbers:
    """Return #{t : thresholds[c, t] <= rows[r, c]}: rows [R, C] in any exact carrier; the result has their type."""
    reached = np.empty_like(rows)
    for channel, row in enumerate(thresholds):
        reached[:, channel] = np.searchsorted(row, rows[:, channel].astype(np.int64), side="right")
    return reached


@dataclass(frozen=True, eq=False)
class Line:
    """A line near a staircase: count(x)[r, c] is floor(slope[c] * x[r, c] + intercept[c]), clipped, or one off.

    Let L be the line in the carrier's float type.  Multiplication by a positive number and addition are monotone in
    floats, so L(t - 1) < k + slack and L(t) >= k - slack for the k-th threshold t give, for every x: if L(x) lies
    further than the slack from k, it lies on the right side of k.  With a slack below 1/2, only the integer nearest to
    L(x) can be in question.

    `thresholds` as in `count_reached`, carried in the float type; `slope`, `intercept`, `slack` float [C]; `lowest`,
    `highest` float [C] count the thresholds that every resp. some x in the carrier's range reaches.
    """

    thresholds: _Floats
    slope: _Floats
    intercept: _Floats
    slack: _Floats
    lowest: _Floats
    highest: _Floats

    def count(self, rows: _Floats) -> _Floats:
        """Return the counts for rows [R, C] of integers, in their own type, which must be the line's."""
        height = rows * self.slope
        height += self.intercept
        count = np.floor(height)
        height -= count
        height -= 0.5
        np.abs(height, out=height)
        near = np.flatnonzero(height >= 0.5 - self.slack)  # closer to an integer than the slack
        if near.size:
            row, channel = np.divmod(near, len(self.slope))
            count[row, channel] = self._compared(rows[row, channel], channel)
        if (self.lowest == self.lowest[0]).all() and (self.highest == self.highest[0]).all():
            return np.clip(count, self.lowest[0], self.highest[0], out=count)
        return np.clip(count, self.lowest, self.highest, out=count)

    def _compared(self, x: _Floats, channel: npt.NDArray[np.intp]) -> _Floats:
        nearest = np.rint(x * self.slope[channel] + self.intercept[channel])
        threshold = self.thresholds[channel, np.clip(nearest, 1, self.thresholds.shape[1]).astype(np.int64) - 1]
        return nearest - (x < threshold)


def fit_line(thresholds: IntArray, dtype: np.dtype[np.floating]) -> Line | None:
    """Return a line for thresholds [C, T] and rows of float type `dtype`, or None if some channel is too far from one.

    Rows hold integers below the carrier's limit; thresholds beyond it are reached always or never.
    """
    if not thresholds.size:
        return None
    limit = FLOAT32_LIMIT if dtype == np.float32 else FLOAT64_LIMIT
    inside = (thresholds > 1 - limit) & (thresholds < limit)
    lowest = (thresholds <= 1 - limit).sum(axis=1)
    highest = lowest + inside.sum(axis=1)
    at = np.where(inside, thresholds, 0).astype(np.float64)
    level = np.arange(1, thresholds.shape[1] + 1, dtype=np.float64)
    slope, intercept = _least_squares(inside, level, at)
    line = Line(
        thresholds=np.clip(thresholds, -limit, limit).astype(dtype),
        slope=slope.astype(dtype),
        intercept=intercept.astype(dtype),
        slack=_slack(slope.astype(dtype), intercept.astype(dtype), inside, level, at),
        lowest=lowest.astype(dtype),
        highest=highest.astype(dtype),
    )
    usable = bool((line.slope > 0).all() and (line.slack < 0.49).all())
    return line if usable else None


def _least_squares(inside: _Bools, level: _Floats, at: _Floats) -> tuple[_Floats, _Floats]:
    """Return slope and intercept [C] of the line through (t_k - 1/2, k); slope 1 for fewer than two thresholds."""
    count = np.maximum(inside.sum(axis=1), 1)
    mean_level = np.where(inside, level, 0).sum(axis=1) / count
    mean_at = at.sum(axis=1) / count
    offset = np.where(inside, at - mean_at[:, None], 0)
    spread = (offset**2).sum(axis=1)
    slope = np.ones(len(at))
    np.divide((offset * (level - mean_level[:, None])).sum(axis=1), spread, out=slope, where=spread > 0)
    return slope, mean_level - slope * (mean_at - 0.5)


def _slack(slope: _Floats, intercept: _Floats, inside: _Bools, level: _Floats, at: _Floats) -> _Floats:
    """Return, per channel, how far the line is on the wrong side of a level at t - 1 or at t, rounded up."""
    carried = at.astype(slope.dtype)
    before = ((carried - 1) * slope[:, None] + intercept[:, None]).astype(np.float64)
    after = (carried * slope[:, None] + intercept[:, None]).astype(np.float64)
    wrong = np.maximum(before - level, level - after)
    return np.asarray(1.001 * np.where(inside, wrong, 0).max(axis=1, initial=0) + 1e-5, dtype=slope.dtype)
