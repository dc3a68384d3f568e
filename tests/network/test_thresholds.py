import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvverify.errors import UsageError
from bvverify.network import ALWAYS, NEVER, Step, shift_rule, step_of_rule


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    """Monotone rules as tables: values [C, n] at lower[c], lower[c] + 1, ..., up to upper[c], with base and top."""
    channels, n = draw(st.integers(1, 3)), draw(st.integers(1, 40))
    base = draw(st.integers(-200, 200))
    top = base + draw(st.integers(0, 255))
    values = draw(
        st.lists(st.lists(st.integers(base, top), min_size=n, max_size=n), min_size=channels, max_size=channels)
    )
    lower = np.array(draw(st.lists(st.integers(-(2**40), 2**40), min_size=channels, max_size=channels)), dtype=np.int64)
    lengths = np.array(draw(st.lists(st.integers(0, n - 1), min_size=channels, max_size=channels)), dtype=np.int64)
    return np.sort(np.array(values, dtype=np.int64), axis=1), lower, lower + lengths, base, top


@given(tables())
def test_a_staircase_is_its_rule_everywhere(table) -> None:
    values, lower, upper, base, top = table

    def rule(x: np.ndarray) -> np.ndarray:
        assert (x >= lower[:, None]).all()
        assert (x <= upper[:, None]).all()
        return np.take_along_axis(values, x - lower[:, None], axis=1)

    step = step_of_rule(rule, lower=lower, upper=upper, base=base, top=top)
    assert step.thresholds.shape == (len(values), top - base)
    for channel, row in enumerate(step.thresholds.tolist()):
        for x in range(lower[channel], upper[channel] + 1):
            assert step.base + sum(t <= x for t in row) == values[channel, x - lower[channel]]
        inside = [t for t in row if t not in (ALWAYS, NEVER)]
        assert all(lower[channel] < t <= upper[channel] for t in inside)


@given(st.integers(-50, 50), st.integers(1, 10), st.integers(-9, 9), st.integers(1, 9))
def test_a_rule_that_leaves_its_range_at_an_end_is_refused(start: int, span: int, base: int, height: int) -> None:
    ends = {"lower": np.array([start]), "upper": np.array([start + span])}
    for low, high in ((base - 1, base), (base, base + height + 1)):
        with pytest.raises(UsageError, match="non-decreasing"):
            step_of_rule(
                lambda x, low=low, high=high: np.where(x == start, low, high), **ends, base=base, top=base + height
            )
    with pytest.raises(UsageError, match="non-decreasing"):
        step_of_rule(lambda x: np.where(x == start, base + 1, base), **ends, base=base, top=base + height)


def test_one_bad_channel_is_enough_to_refuse() -> None:
    ends = {"lower": np.array([0, 0]), "upper": np.array([5, 5])}
    with pytest.raises(UsageError, match="non-decreasing"):
        step_of_rule(lambda x: x * np.array([[1], [-1]]) + np.array([[0], [5]]), **ends, base=0, top=5)


@st.composite
def shift_rules(draw: st.DrawFn) -> dict:
    channels = draw(st.integers(1, 3))
    multiplier = st.integers(1, 2**31) | st.integers(1, 9)
    lower = draw(st.integers(-260, 260))
    return {
        "multiplier": np.array(draw(st.lists(multiplier, min_size=channels, max_size=channels)), dtype=np.int64),
        "shift": draw(st.integers(0, 45)),
        "zero_point": draw(st.integers(-300, 300)),
        "lower": lower,
        "upper": lower + draw(st.integers(0, 255)),
    }


def shifted(x: int, factor: int, rule: dict) -> int:
    """Return the formula of the docstring, in Python integers."""
    half = 2 ** (rule["shift"] - 1) if rule["shift"] else 0
    return min(max(rule["zero_point"] + (factor * x + half) // 2 ** rule["shift"], rule["lower"]), rule["upper"])


@given(shift_rules(), st.lists(st.integers(-(2**60) + 1, 2**60 - 1), max_size=9))
def test_a_shift_rule_is_its_formula(rule: dict, numbers: list[int]) -> None:
    step = shift_rule(**rule)
    assert step.base == rule["lower"]
    for channel, factor in enumerate(rule["multiplier"].tolist()):
        row = step.thresholds[channel]
        edges = [t + d for t in row.tolist() if t not in (ALWAYS, NEVER) for d in (-1, 0)]
        xs = [x for x in [*edges, *numbers, *range(-5, 6)] if abs(x) < 2**60]
        got = step.base + np.searchsorted(row, np.array(xs, dtype=np.int64), side="right")
        assert got.tolist() == [shifted(x, factor, rule) for x in xs]


@given(shift_rules())
def test_a_shift_rule_evaluates_to_its_formula(rule: dict) -> None:
    step = shift_rule(**rule)
    channels = len(rule["multiplier"])
    for dtype, reach in ((np.float32, 2**24 - 1), (np.float64, 2**53 - 1), (np.int64, 2**60 - 1)):
        xs = np.random.default_rng(3).integers(-reach, reach, size=(30, 1, channels))
        xs[:8] //= 2 ** np.arange(8)[:, None, None] * 100
        got = step.apply(xs.astype(dtype).astype(np.int64).astype(dtype)).astype(np.int64)
        exact = xs.astype(dtype).astype(np.int64)
        want = [
            [[shifted(int(x), int(f), rule) for x, f in zip(row, rule["multiplier"], strict=True)]]
            for row in exact[:, 0]
        ]
        assert got.tolist() == want


@pytest.mark.parametrize(
    "wrong",
    [{"shift": -1}, {"lower": 5, "upper": 4}, {"multiplier": np.array([3, 0])}, {"multiplier": np.array([-2])}],
)
def test_a_shift_rule_that_makes_no_sense_is_refused(wrong: dict) -> None:
    right = {"multiplier": np.array([3]), "shift": 4, "zero_point": 0, "lower": 0, "upper": 15}
    with pytest.raises(UsageError, match="shift rule"):
        shift_rule(**(right | wrong))


def test_a_step_needs_ascending_thresholds() -> None:
    assert Step(0, [[ALWAYS, 3, 3, NEVER]]).levels == 4
    with pytest.raises(UsageError, match="ascending"):
        Step(0, [[1, 2], [3, 2]])
    with pytest.raises(UsageError, match="shape"):
        Step(0, [1, 2])
    with pytest.raises(UsageError, match="integers"):
        Step(0, [[0.5]])
