"""Thresholds of monotone integer functions: how any requantization rule becomes a Step."""

from collections.abc import Callable

import numpy as np

from bvverify.errors import UsageError
from bvverify.network.exact import INT64_LIMIT, IntArray, integers
from bvverify.network.operations import ALWAYS, NEVER, Step

Rule = Callable[[IntArray], IntArray]
"""Maps accumulators [C, n], one row per channel, to outputs [C, n]; non-decreasing in each row."""


def step_of_rule(rule: Rule, *, lower: IntArray, upper: IntArray, base: int, top: int) -> Step:
    """Return the Step that equals `rule` for all accumulators in [lower[c], upper[c]] of each channel c.

    `rule` must be non-decreasing on that range and give values in [base, top]; its values at both ends are checked,
    its monotony is the caller's proof.  Thresholds are found by bisection, all channels and levels at once.  Levels
    that the rule has reached at the lower end get ALWAYS, levels that it does not reach at the upper end get NEVER.
    `lower`, `upper`: int64 [C].
    """
    ends = rule(np.stack([lower, upper], axis=1))
    if (ends < base).any() or (ends > top).any() or (ends[:, 0] > ends[:, 1]).any():
        raise UsageError(f"requantization rule: values must be non-decreasing and in [{base}, {top}]")
    if base == top:
        return Step(base, np.empty((len(lower), 0), dtype=np.int64))
    levels = np.arange(base + 1, top + 1, dtype=np.int64)[None, :]
    below, reached = _brackets(rule, levels, lower, upper, ends)
    thresholds = np.where(
        ends[:, :1] >= levels,
        ALWAYS,
        np.where(ends[:, 1:] < levels, NEVER, _bisected(rule, levels, below, reached)),
    )
    return Step(base, thresholds)


def _bisected(rule: Rule, levels: IntArray, below: IntArray, reached: IntArray) -> IntArray:
    """Return the least accumulators that reach `levels`, from brackets with rule(below) < level <= rule(reached).

    Brackets of levels that lie outside the rule's values end anywhere.
    """
    while (reached - below > 1).any():
        middle = below + (reached - below) // 2
        hit = rule(middle) >= levels
        reached, below = np.where(hit, middle, reached), np.where(hit, below, middle)
    return reached


def _located(rule: Rule, levels: IntArray, lower: IntArray, upper: IntArray) -> IntArray:
    """Return the same as `_bisected` for few levels [C, k], from the whole range, with many probes at a time."""
    below, reached = (np.repeat(end[:, None], levels.shape[1], axis=1) for end in (lower, upper))
    parts = np.arange(_PROBES + 2)
    while (reached - below > 1).any():
        gap = (reached - below)[..., None]
        whole, rest = gap // (_PROBES + 1), gap % (_PROBES + 1)  # so that no product can overflow
        probes = below[..., None] + whole * parts + rest * parts // (_PROBES + 1)
        missed = rule(probes.reshape(len(lower), -1)).reshape(probes.shape) < levels[..., None]
        last = np.clip(missed[..., 1:-1].sum(axis=-1, keepdims=True), 0, _PROBES)
        below = np.take_along_axis(probes, last, axis=-1)[..., 0]
        reached = np.take_along_axis(probes, last + 1, axis=-1)[..., 0]
    return reached


def _brackets(
    rule: Rule, levels: IntArray, lower: IntArray, upper: IntArray, ends: IntArray
) -> tuple[IntArray, IntArray]:
    """Return brackets [C, T] for `_bisected`: narrow ones around a line where the staircase follows it, else the whole
    range.
    """
    widest_below, widest_reached = (np.repeat(end[:, None], levels.size, axis=1) for end in (lower, upper))
    outer = np.clip(np.stack([ends[:, 0] + 1, ends[:, 1]], axis=1), levels.min(), levels.max())
    at = _located(rule, outer, lower, upper)
    slope = (at[:, 1] - at[:, 0]) / np.maximum(outer[:, 1] - outer[:, 0], 1)
    guess = at[:, :1] + np.rint((levels - outer[:, :1]) * slope[:, None]).astype(np.int64)
    below = np.clip(guess - _NEAR, widest_below, widest_reached)
    reached = np.clip(guess + _NEAR, widest_below, widest_reached)
    values = rule(np.concatenate([below, reached], axis=1))
    narrow = (values[:, : levels.size] < levels) & (levels <= values[:, levels.size :])
    outside = (ends[:, :1] >= levels) | (ends[:, 1:] < levels)
    done = narrow | outside
    return np.where(done, below, widest_below), np.where(narrow, reached, np.where(outside, below, widest_reached))


_PROBES = 63
_NEAR = 2
"""Thresholds of a multiplication and a rounding lie at most about this far from a line, in accumulators."""


def shift_rule(*, multiplier: IntArray, shift: int, zero_point: int, lower: int, upper: int) -> Step:
    """Return the Step of y = clamp(zero_point + floor((multiplier[c] * acc + 2**(shift-1)) / 2**shift), lower, upper).

    This is fixed-point requantization with rounding half up, as integer-only kernels and the QNN verification
    literature use it. `multiplier`: positive int64 [C], one per channel; `shift` >= 0 (with 0 nothing is rounded).
    """
    multiplier = integers(multiplier, "shift rule multiplier")
    if shift < 0 or upper < lower or (multiplier <= 0).any():
        raise UsageError("shift rule: shift must be >= 0, lower <= upper, and every multiplier positive")
    half = (1 << shift) >> 1
    rows = [
        [_clipped(-((half - ((level - zero_point) << shift)) // factor)) for level in range(lower + 1, upper + 1)]
        for factor in map(int, multiplier)
    ]
    return Step(lower, np.array(rows, dtype=np.int64).reshape(len(rows), upper - lower))


def _clipped(threshold: int) -> int:
    """Thresholds beyond every accumulator that a StepNetwork admits are reached always or never."""
    return NEVER if threshold > INT64_LIMIT else ALWAYS if threshold < -INT64_LIMIT else threshold
