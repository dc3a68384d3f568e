"""Lines enclose the function at every integer of the interval, and touch it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bvverify.bounds.lines import SHIFT, Lines, Slopes, clamp_lines, lookup_lines, step_lines
from bvverify.network import ALWAYS, NEVER, Clamp, Lookup, Step

KINDS = st.sampled_from(list(Slopes))


def check(lines: Lines | None, low: int, high: int, values: list[int]) -> None:
    """Compare both lines with the function's values at low, low + 1, ..., high, in Python integers."""
    assert lines is not None
    points = range(low, high + 1)
    above = [
        int(lines.upper_slope.item()) * x + int(lines.upper_intercept.item()) - (y << SHIFT)
        for x, y in zip(points, values, strict=True)
    ]
    below = [
        (y << SHIFT) - int(lines.lower_slope.item()) * x - int(lines.lower_intercept.item())
        for x, y in zip(points, values, strict=True)
    ]
    assert min(above) >= 0
    assert min(below) >= 0
    assert min(above) == 0  # no valid line with this slope is lower
    assert min(below) == 0


@given(st.data(), KINDS)
def test_staircases(data: st.DataObject, slopes: Slopes) -> None:
    row = sorted(data.draw(st.lists(st.integers(-40, 40) | st.sampled_from([ALWAYS, NEVER]), max_size=8)))
    step = Step(data.draw(st.integers(-5, 250)), np.array([row], dtype=np.int64).reshape(1, len(row)))
    low = data.draw(st.integers(-60, 60))
    high = low + data.draw(st.integers(0, 80))
    values = step.apply(np.arange(low, high + 1, dtype=np.int64)[:, None, None]).reshape(-1).tolist()
    check(step_lines(step, np.array([[low]]), np.array([[high]]), slopes), low, high, values)


@given(st.integers(-20, 20), st.integers(0, 30), st.integers(-60, 60), st.integers(0, 80), KINDS)
def test_clamps(lower: int, span: int, low: int, width: int, slopes: Slopes) -> None:
    clamp = Clamp(lower, lower + span)
    values = np.clip(np.arange(low, low + width + 1), clamp.lower, clamp.upper).tolist()
    check(clamp_lines(clamp, np.array([low]), np.array([low + width]), slopes), low, low + width, values)


@given(st.lists(st.integers(-300, 300), min_size=1, max_size=30), st.data())
def test_tables(table: list[int], data: st.DataObject) -> None:
    start = data.draw(st.integers(-10, 10))
    first = data.draw(st.integers(0, len(table) - 1))
    last = data.draw(st.integers(first, len(table) - 1))
    lookup = Lookup(start, np.array([table]))
    ends = np.array([[start + first]]), np.array([[start + last]])
    check(lookup_lines(lookup, *ends), start + first, start + last, table[first : last + 1])


def test_lines_that_leave_64_bits_are_refused() -> None:
    step = Step(0, np.array([[0, 1]]))
    assert step_lines(step, np.array([[-(2**50)]]), np.array([[2**10]]), Slopes.STEEP) is None
    assert step_lines(step, np.array([[-(2**10)]]), np.array([[2**10]]), Slopes.STEEP) is not None
    assert lookup_lines(Lookup(0, np.array([[0, 2**40]])), np.array([[0]]), np.array([[1]])) is None
