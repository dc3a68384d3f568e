"""A line that replaces a sorted search counts as the search does, for all numbers of its carrier, or is not given."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvverify.network import ALWAYS, NEVER
from bvverify.network.staircase import count_reached, fit_line

LIMITS = {np.dtype(np.float32): 2**24, np.dtype(np.float64): 2**53}


def around(thresholds: np.ndarray, limit: int) -> np.ndarray:
    """Return numbers at, near and far from all thresholds: [R, C] with every number in every channel."""
    finite = thresholds[(thresholds != ALWAYS) & (thresholds != NEVER)]
    near = (np.clip(finite, -limit, limit)[:, None] + np.arange(-2, 3)).reshape(-1)
    seams = np.concatenate([np.arange(-4, 5), np.arange(limit - 5, limit), np.arange(1 - limit, 6 - limit)])
    random = np.random.default_rng(1).integers(-limit, limit, size=50)
    numbers = np.unique(np.clip(np.concatenate([near, seams, random]), 1 - limit, limit - 1))
    return np.repeat(numbers[:, None], len(thresholds), axis=1)


def lines_of(thresholds: np.ndarray) -> int:
    """Return in how many carriers there is a line, after asserting that it counts right and in its own type."""
    found = 0
    for dtype, limit in LIMITS.items():
        line = fit_line(thresholds, dtype)
        if line is not None:
            found += 1
            rows = around(thresholds, limit)
            counted = line.count(rows.astype(dtype))
            assert counted.dtype == dtype
            wrong = np.argwhere(counted != count_reached(thresholds, rows))
            assert not len(wrong), f"{dtype}: {rows[tuple(wrong[0])]} counts {counted[tuple(wrong[0])]}"
    return found


def on_a_line(slope: Fraction, intercept: Fraction, levels: int) -> list[int]:
    """Return the thresholds of floor(slope * x + intercept): the least x that give at least 1, 2, ..., levels."""
    scale = intercept.denominator * slope.numerator
    return [
        -((intercept.numerator - k * intercept.denominator) * slope.denominator // scale) for k in range(1, levels + 1)
    ]


slopes = st.fractions(Fraction(1, 2000), Fraction(1, 2), max_denominator=10**6)
intercepts = st.fractions(-300, 300, max_denominator=10**4)
lines = st.lists(st.tuples(slopes, intercepts), min_size=1, max_size=3)


def staircases(channels: list[tuple[Fraction, Fraction]], levels: int) -> np.ndarray:
    return np.array([on_a_line(slope, intercept, levels) for slope, intercept in channels], dtype=np.int64)


@given(lines, st.integers(1, 255))
def test_requantizations_get_lines_that_count_right(channels, levels: int) -> None:
    assert lines_of(staircases(channels, levels)) == len(LIMITS)


@given(lines, st.integers(3, 255), st.data())
def test_clipped_requantizations_get_lines_that_count_right(channels, levels: int, data: st.DataObject) -> None:
    thresholds = staircases(channels, levels)
    for row in thresholds:
        row[: data.draw(st.integers(0, levels))] = ALWAYS
        row[levels - data.draw(st.integers(0, levels)) :] = NEVER
    assert lines_of(thresholds) == len(LIMITS)


@given(lines, st.integers(2, 255), st.data())
def test_thresholds_that_are_moved_are_counted_where_they_are_now(channels, levels: int, data: st.DataObject) -> None:
    thresholds = staircases(channels, levels)
    for _ in range(data.draw(st.integers(1, 4))):
        row = thresholds[data.draw(st.integers(0, len(thresholds) - 1))]
        row[data.draw(st.integers(0, levels - 1))] += data.draw(st.sampled_from([-3, -1, 1, 2]))
    lines_of(np.sort(thresholds, axis=1))


@given(st.lists(st.lists(st.integers(-40, 40), min_size=6, max_size=6), min_size=1, max_size=3))
def test_arbitrary_thresholds_are_counted_right_or_not_at_all(rows) -> None:
    lines_of(np.sort(np.array(rows, dtype=np.int64), axis=1))


@given(st.lists(st.integers(-(2**60), 2**60) | st.integers(-(2**25), 2**25), min_size=1, max_size=5))
def test_far_thresholds_are_counted_right_or_not_at_all(row) -> None:
    lines_of(np.array([sorted(row)], dtype=np.int64))


@pytest.mark.parametrize("seam", [2**24, -(2**24), 2**31, 2**53, -(2**53)])
@given(deltas=st.lists(st.integers(-4, 4), min_size=1, max_size=3), others=st.lists(st.integers(-99, 99), max_size=2))
def test_thresholds_at_the_seams_are_counted_right_or_not_at_all(seam: int, deltas, others) -> None:
    lines_of(np.array([sorted([seam + delta for delta in deltas] + others)], dtype=np.int64))


@pytest.mark.parametrize("step", [3, 10, 1000])
def test_one_threshold_off_by_two_levels_refuses_the_line(step: int) -> None:
    regular = np.arange(1, 256) * step
    assert lines_of(regular[None]) == len(LIMITS)
    for where in (0, 1, 100, 253, 254):
        bent = regular.copy()
        bent[where] += 2 * step
        assert lines_of(np.sort(bent)[None]) == 0


def test_one_irregular_channel_refuses_the_line_for_all() -> None:
    assert lines_of(np.array([[10, 20, 30, 40], [10, 20, 20, 20]])) == 0


def test_repeated_thresholds_refuse_the_line() -> None:
    assert lines_of(np.array([[3, 5, 5, 5, 7]])) == 0


def test_a_staircase_without_thresholds_has_no_line() -> None:
    assert lines_of(np.empty((3, 0), dtype=np.int64)) == 0


def test_a_staircase_that_never_changes_is_constant() -> None:
    assert lines_of(np.array([[ALWAYS, ALWAYS, NEVER], [ALWAYS, 7, NEVER], [NEVER, NEVER, NEVER]])) == len(LIMITS)
