"""Lines above and below what an operation computes on an interval, valid in exact integers.

A line is y <= (slope * x + intercept) / 2**SHIFT, with integer slope and intercept, or >= for the lower one.  Slopes
are chosen by floats; whatever they are, the intercept is the least (greatest) integer for which the line is valid,
found by comparing it with the function at every point where a violation would show first.  There is nothing to repair.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from bvverify.network import Clamp, IntArray, Lookup, Step

SHIFT = 24
"""Slopes and intercepts are multiples of 2**-SHIFT."""
_ONE = 1 << SHIFT
_HUGE = 1 << 61


class Slopes(StrEnum):
    """How slopes are chosen where a function has a flat part at its bottom or at its top (LBP: Lyu et al., CVPR 2021).

    Elsewhere lines go along the stairs.  Upper lines over a flat bottom join the left end with the first corner at the
    top, lower lines under a flat top join the last corner at the bottom with the right end.
    """

    ADAPTIVE = "adaptive"
    """Upper lines under a flat top, and lower lines over a flat bottom, are flat where it is the longer part of the
    interval, else along the stairs: less area lies between function and line.
    """
    TIGHT = "tight"
    """They are flat, so that lines leave the range of the function by no more than a level."""
    STEEP = "steep"
    """They go along the stairs."""


@dataclass(frozen=True, eq=False)
class Lines:
    """One upper and one lower line per element; int64 of the shape of the operation's input."""

    upper_slope: IntArray
    upper_intercept: IntArray
    lower_slope: IntArray
    lower_intercept: IntArray


def step_lines(step: Step, lower: IntArray, upper: IntArray, slopes: Slopes) -> Lines | None:
    """Return lines for a staircase on accumulators in [lower, upper]; None if they leave 64 bits."""
    channels = len(step.thresholds)
    low, high = lower.reshape(-1, channels, 1), upper.reshape(-1, channels, 1)
    least = step.base + (step.thresholds[None] <= low).sum(axis=2, keepdims=True)
    greatest = step.base + (step.thresholds[None] <= high).sum(axis=2, keepdims=True)
    # The function jumps up at each threshold in (low, high].  A line above must clear (threshold, level) and the left
    # end; a line below must stay under the last point before, (threshold - 1, level - 1), and under the right end.
    inside = (step.thresholds[None] > low) & (step.thresholds[None] <= high)
    jumps = np.where(inside, step.thresholds[None], high)
    levels = np.where(inside, step.base + 1 + np.arange(step.levels), greatest)
    above = _Points(*(np.concatenate(pair, axis=2) for pair in ((low, jumps), (least, levels))))
    before = np.where(inside, jumps - 1, high), np.where(inside, levels - 1, greatest)
    below = _Points(*(np.concatenate(pair, axis=2) for pair in ((before[0], high), (before[1], greatest))))
    first = np.where(inside, jumps - 1, high).min(axis=2, initial=_HUGE)
    last = np.where(inside, jumps, low).max(axis=2, initial=-_HUGE)
    first, last = np.minimum(first, high[..., 0]), np.maximum(last, low[..., 0])
    ends = _Ends(low[..., 0], high[..., 0], least[..., 0], greatest[..., 0], first, last)
    return _lines(ends, above, below, slopes, lower.shape)


def clamp_lines(clamp: Clamp, lower: IntArray, upper: IntArray, slopes: Slopes) -> Lines | None:
    """Return lines for a clamp on values in [lower, upper]; None if they leave 64 bits."""
    low, high = lower.reshape(-1, 1), upper.reshape(-1, 1)
    bend, end = np.full_like(low, clamp.lower), np.full_like(low, clamp.upper)
    corners = np.clip(np.stack([low, high, bend, end], axis=2), low[..., None], high[..., None])
    points = _Points(corners, np.clip(corners, clamp.lower, clamp.upper))
    least, greatest = np.clip(low, clamp.lower, clamp.upper), np.clip(high, clamp.lower, clamp.upper)
    first, last = np.clip(bend, low, high), np.clip(end, low, high)
    return _lines(_Ends(low, high, least, greatest, first, last), points, points, slopes, lower.shape)


def lookup_lines(lookup: Lookup, lower: IntArray, upper: IntArray) -> Lines | None:
    """Return lines for a table on [lower, upper], along the chord of its ends; None if they leave 64 bits."""
    channels = len(lookup.table)
    low, high = lower.reshape(-1, channels), upper.reshape(-1, channels)
    places = np.clip(lookup.lower + np.arange(lookup.table.shape[1]), low[..., None], high[..., None])
    values = lookup.table[np.arange(channels)[None, :, None], places - lookup.lower]
    points = _Points(places, values)
    chord = (values[..., -1] - values[..., 0]) / np.maximum(high - low, 1)
    slope = _integers(chord)
    return _through(slope, slope, points, points, lower.shape)


@dataclass(frozen=True, eq=False)
class _Points:
    """Points (x, y), int64 [P, C, n], on which a line must be compared with a function."""

    x: IntArray
    y: IntArray


@dataclass(frozen=True, eq=False)
class _Ends:
    """Where a monotone function begins and ends, int64 [P, C] each."""

    low: IntArray
    high: IntArray
    least: IntArray
    greatest: IntArray
    first: IntArray
    """The last input with the least result."""
    last: IntArray
    """The first input with the greatest result."""


def _lines(ends: _Ends, above: _Points, below: _Points, slopes: Slopes, shape: tuple[int, ...]) -> Lines | None:
    rise = (ends.greatest - ends.least).astype(np.float64)
    upper = rise / np.maximum(ends.last - ends.low, 1)
    lower = rise / np.maximum(ends.high - ends.first, 1)
    bottom, top = ends.first - ends.low, ends.high - ends.last
    step = (ends.last - ends.first) / np.maximum(rise, 1)
    match slopes:
        case Slopes.ADAPTIVE:
            flat_upper, flat_lower = top >= ends.last - ends.low, bottom >= ends.high - ends.first
        case Slopes.TIGHT:
            flat_upper, flat_lower = top > step, bottom > step
        case _:
            flat_upper = flat_lower = np.zeros_like(bottom, dtype=np.bool_)
    slopes_above, slopes_below = np.where(flat_upper, 0.0, upper), np.where(flat_lower, 0.0, lower)
    return _through(_integers(slopes_above), _integers(slopes_below), above, below, shape)


def _integers(slope: npt.NDArray[np.float64]) -> IntArray:
    return np.rint(np.clip(slope * _ONE, -_HUGE, _HUGE)).astype(np.int64)


def _through(upper: IntArray, lower: IntArray, above: _Points, below: _Points, shape: tuple[int, ...]) -> Lines | None:
    """Return the tightest valid lines with these slopes [P, C]."""
    largest = [_largest(array) for array in (upper, lower, above.x, below.x, above.y, below.y)]
    if max(largest[:2]) * max(largest[2:4]) + max(largest[4:]) * _ONE >= _HUGE:
        return None
    over = (above.y * _ONE - upper[..., None] * above.x).max(axis=2)
    under = (below.y * _ONE - lower[..., None] * below.x).min(axis=2)
    return Lines(*(array.reshape(shape) for array in (upper, over, lower, under)))


def _largest(array: npt.NDArray[np.int64]) -> int:
    return max(abs(int(array.max(initial=0))), abs(int(array.min(initial=0))))
