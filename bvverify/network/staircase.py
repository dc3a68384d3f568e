"""Counting thresholds quickly: for each channel c, how many of thresholds[c] are <= x.

The definition is a sorted search.  Most staircases come from a multiplication and a rounding, and for those there
is a shorter way: a line with  floor(slope * x + intercept) = count  for all x.  `fit_line` looks for such lines and
keeps them only if, for every threshold t of every channel, the very float64 operations that `Line.count` performs
give at least k at t and less than k at t - 1.  Float multiplication by a positive number, addition and floor are
monotone, so these checks decide every x in between as well.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bvverify.network.exact import FLOAT64_LIMIT, IntArray, Numbers

_Floats = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]
_SEARCH_STEPS = 48


def count_reached(thresholds: IntArray, rows: Numbers) -> Numbers:
    """Return #{t : thresholds[c, t] <= rows[r, c]}: rows [R, C] integers in any exact carrier; the result has their
    type.
    """
    reached = np.empty_like(rows)
    for channel, row in enumerate(thresholds):
        reached[:, channel] = np.searchsorted(row, rows[:, channel].astype(np.int64), side="right")
    return reached


@dataclass(frozen=True, eq=False)
class Line:
    """count(x)[r, c] = clip(floor(slope[c] * x[r, c] + intercept[c]), lowest, highest), proved equal to
    `count_reached`.

    `slope`, `intercept` float64 [C]; `lowest`, `highest` float64 [C]: thresholds that every resp. some accumulator
    reaches.
    """

    slope: _Floats
    intercept: _Floats
    lowest: _Floats
    highest: _Floats

    def count(self, rows: Numbers) -> Numbers:
        """Return the counts for rows [R, C] of integers below 2**53, in the type of `rows`."""
        scaled = np.multiply(rows, self.slope, dtype=np.float64)
        scaled += self.intercept
        np.floor(scaled, out=scaled)
        if (self.lowest == self.lowest[0]).all() and (self.highest == self.highest[0]).all():
            np.clip(scaled, self.lowest[0], self.highest[0], out=scaled)
        else:
            np.clip(scaled, self.lowest, self.highest, out=scaled)
        return scaled.astype(rows.dtype)


def fit_line(thresholds: IntArray) -> Line | None:
    """Return a proved line for thresholds [C, T], or None if some channel has none that was found."""
    if not thresholds.size:
        return None
    info = np.iinfo(np.int64)
    finite = (thresholds != info.min) & (thresholds != info.max)
    lowest = (thresholds == info.min).sum(axis=1).astype(np.float64)
    highest = lowest + finite.sum(axis=1)
    if (
        finite.any()
        and max(abs(int(thresholds[finite].min())), abs(int(thresholds[finite].max()))) >= FLOAT64_LIMIT - 1
    ):
        return None
    # A slope m admits the intercepts from max_k (k - m t_k) up to min_k (k - m (t_k - 1)).  The width of that range
    # is concave in m, so a ternary search between the extreme slopes of the staircase finds its maximum.
    level = np.broadcast_to(np.arange(1, thresholds.shape[1] + 1, dtype=np.float64), thresholds.shape)
    at = np.where(finite, thresholds, 0).astype(np.float64)
    low, high = _slope_range(finite, at, highest - lowest)
    for _ in range(_SEARCH_STEPS):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        keep_left = _width(left, finite, level, at) > _width(right, finite, level, at)
        low, high = np.where(keep_left, low, left), np.where(keep_left, right, high)
    slope = (low + high) / 2
    least, greatest = _intercepts(slope, finite, level, at)
    line = Line(slope, (least + greatest) / 2, lowest, highest)
    return line if _proved(line, finite, thresholds) else None


def _slope_range(finite: _Bools, at: _Floats, count: _Floats) -> tuple[_Floats, _Floats]:
    first = np.where(finite, at, np.inf).min(axis=1)
    last = np.where(finite, at, -np.inf).max(axis=1)
    span = np.subtract(last, first, where=count > 1, out=np.ones_like(first))
    steep = np.maximum(count - 1, 1.0)
    return steep / (span + 1), steep / np.maximum(span - 1, 0.25)


def _intercepts(slope: _Floats, finite: _Bools, level: _Floats, at: _Floats) -> tuple[_Floats, _Floats]:
    """Return the least and the greatest intercept that `slope` [C] admits; (0, 0) for a channel without finite
    thresholds.
    """
    none = ~finite.any(axis=1)
    least = np.where(finite, level - slope[:, None] * at, -np.inf).max(axis=1)
    greatest = np.where(finite, level - slope[:, None] * (at - 1), np.inf).min(axis=1)
    return np.where(none, 0.0, least), np.where(none, 0.0, greatest)


def _width(slope: _Floats, finite: _Bools, level: _Floats, at: _Floats) -> _Floats:
    least, greatest = _intercepts(slope, finite, level, at)
    return greatest - least


def _proved(line: Line, finite: _Bools, thresholds: IntArray) -> bool:
    """Return whether the line counts right at both sides of every finite threshold."""
    wanted = np.arange(1, thresholds.shape[1] + 1, dtype=np.float64)[:, None]
    at = np.where(finite, thresholds, 0).T.astype(np.float64)
    positive = bool((line.slope > 0).all() and np.isfinite(line.slope).all() and np.isfinite(line.intercept).all())
    reached = (line.count(at) >= wanted) | ~finite.T
    missed = (line.count(at - 1) < wanted) | ~finite.T
    return positive and bool(reached.all()) and bool(missed.all())
