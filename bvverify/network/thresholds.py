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
    levels = np.arange(base + 1, top + 1, dtype=np.int64)[None, :]
    below = np.broadcast_to(lower[:, None], (len(lower), levels.size)).copy()
    reached = np.broadcast_to(upper[:, None], below.shape).copy()
    # Invariant, where a threshold lies inside: rule(below) < level <= rule(reached).
    while (reached - below > 1).any():
        middle = below + (reached - below) // 2
        hit = rule(middle) >= levels
        reached, below = np.where(hit, middle, reached), np.where(hit, below, middle)
    thresholds = np.where(ends[:, :1] >= levels, ALWAYS, np.where(ends[:, 1:] < levels, NEVER, reached))
    return Step(base, thresholds)


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
