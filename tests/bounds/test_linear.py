"""Linear bounds contain everything that a network computes, and prove only what holds."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bvverify.bounds import FAMILY, TO_INPUTS, Depth, LinearBounds, Rows, Slopes, Stop
from bvverify.bounds.linear import _weighted
from bvverify.network import NetworkBuilder, StepNetwork, shift_rule
from bvverify.search import interval_gap
from bvverify.search.linear import linear_gap
from tests.encode.questions import Question, questions
from tests.networks import points_of
from tests.search.digits import digits, edges

PATIENT = settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)


DEPTHS = st.sampled_from([TO_INPUTS, *(Depth(layers, stop) for layers in (0, 1, 2) for stop in Stop)])


@given(questions(), st.sampled_from(list(Slopes)), DEPTHS, DEPTHS, st.integers(0, 2**32 - 1))
@PATIENT
def test_bounds_contain_every_value_and_every_form(
    question: Question, slopes: Slopes, within: Depth, last: Depth, seed: int
) -> None:
    network, box = question.network, question.box
    bounds = LinearBounds(network, box.lower, box.upper, slopes=slopes, depth=within)
    points = points_of(box)
    computed = network.evaluate_values(points, range(len(network.values)))
    random = np.random.default_rng(seed)
    for value, (numbers, (lower, upper)) in enumerate(zip(computed, bounds.values, strict=True)):
        assert (numbers >= lower).all()
        assert (numbers <= upper).all()
        flat = numbers.reshape(len(points), -1)
        rows = random.integers(-9, 10, (3, flat.shape[1])) * random.integers(0, 2, (3, flat.shape[1]))
        constants = tuple(random.integers(-50, 50, 3).tolist())
        greatest = bounds.greatest(Rows(value, rows, constants), depth=last)
        assert greatest is not None
        reached = (flat @ rows.T).max(axis=0) + np.array(constants)
        assert (np.array(greatest, dtype=object) >= reached).all()


@given(questions())
@PATIENT
def test_what_bounds_prove_holds(question: Question) -> None:
    if linear_gap(question.network, question.box, question.property) == 0:
        assert not question.violated()


@given(questions())
@PATIENT
def test_the_gap_is_never_above_that_of_intervals(question: Question) -> None:
    asked = question.network, question.box, question.property
    assert linear_gap(*asked) <= interval_gap(*asked)


def test_boxes_at_the_edge_of_robustness() -> None:
    proved = 0
    for edge in edges(105):
        gap = linear_gap(digits().network, edge.box, edge.question)
        assert gap > 0 or not edge.violated
        proved += gap == 0
    assert proved >= 10


@given(questions())
@PATIENT
def test_bounds_through_no_layer_are_intervals(question: Question) -> None:
    network, box = question.network, question.box
    bounds = LinearBounds(network, box.lower, box.upper, slopes=Slopes.STEEP, depth=Depth(0))
    for found, expected in zip(bounds.values, network.interval(box.lower, box.upper), strict=True):
        assert all((one == other).all() for one, other in zip(found, expected, strict=True))


def three_layers() -> tuple[StepNetwork, np.ndarray]:
    """Return x0 - x1 and its negative, each plus and minus the other again, and a row that adds these up to 0."""
    builder = NetworkBuilder(lower=[0, 0], upper=[100, 100])
    for weight in ([[1, -1], [-1, 1]], [[1, 1], [1, 1]], [[1, -1]]):
        builder.dense(weight, [0] * len(weight))
        builder.step(
            shift_rule(multiplier=np.ones(len(weight), dtype=int), shift=0, zero_point=0, lower=-999, upper=999)
        )
    return builder.build(), np.array([[1]])


@pytest.mark.parametrize(("layers", "most"), [(0, 400), (1, 400), (2, 0), (None, 0)])
def test_forms_stop_after_some_layers(layers: int | None, most: int) -> None:
    network, row = three_layers()
    bounds = LinearBounds(network, network.lower, network.upper, slopes=Slopes.STEEP, depth=Depth(0))
    assert bounds.greatest(Rows(len(network.nodes) - 1, row, (0,)), depth=Depth(layers)) == [most]


def steps(random: np.random.Generator, hidden: int) -> StepNetwork:
    """Return a network of some hidden layers of four units with ReLUs of thousands of levels."""
    builder = NetworkBuilder(lower=[0] * 4, upper=[60] * 4)
    for _ in range(hidden):
        builder.dense(random.integers(-9, 10, (4, 4)), random.integers(-200, 200, 4))
        builder.step(shift_rule(multiplier=np.full(4, 4), shift=2, zero_point=0, lower=0, upper=2**12))
    builder.dense(random.integers(-9, 10, (1, 4)), [0])
    return builder.build()


def widths(network: StepNetwork, center: np.ndarray, slopes: Slopes) -> dict[str, int]:
    """Return how wide the interval of the result is on a box, for each method of the family."""
    found = {}
    last, row = len(network.nodes), np.array([[1], [-1]])
    for name, (within, behind) in FAMILY.items():
        bounds = LinearBounds(network, center - 4, center + 4, slopes=slopes, depth=within)
        most = bounds.greatest(Rows(last, row, (0, 0)), depth=behind)
        assert most is not None
        found[name] = sum(most)
    return found


def test_the_family_is_ordered_as_its_theorem_says() -> None:
    """With tight lines, and but for rounding, IBP is the widest and CROWN the narrowest (Lyu et al., CVPR 2021)."""
    random = np.random.default_rng(0)
    strictly = Counter[str]()
    for _ in range(60):
        network = steps(random, 3)
        found = widths(network, random.integers(10, 50, 4), Slopes.TIGHT)
        allowed = found["IBP"] // 50
        for wide, narrow in (
            ("IBP", "LBP"),
            ("IBP", "CROWN-IBP"),
            ("LBP", "CROWN-LBP"),
            ("CROWN-IBP", "CROWN-LBP"),
            ("CROWN-LBP", "CROWN"),
        ):
            assert found[narrow] <= found[wide] + allowed
            strictly[wide, narrow] += found[narrow] < found[wide]
    assert min(strictly.values()) >= 5


def deep(weight: int) -> StepNetwork:
    """Return two dense layers, whose first is x0 - x1 and x1 - x0 in two channels, each with `weight`."""
    builder = NetworkBuilder(lower=[0, 0], upper=[100, 100])
    builder.dense([[1, -1], [-1, 1]], [0, 0])
    builder.step(shift_rule(multiplier=np.array([1, 1]), shift=0, zero_point=0, lower=-200, upper=200))
    builder.dense([[weight, weight]], [7])
    return builder.build()


def test_back_substitution_cancels_what_intervals_cannot() -> None:
    network = deep(1)
    bounds = LinearBounds(network, network.lower, network.upper, slopes=Slopes.STEEP)
    (lower, upper), (wide_lower, wide_upper) = bounds.values[-1], network.interval(network.lower, network.upper)[-1]
    assert (int(wide_lower.item()), int(wide_upper.item())) == (-193, 207)
    assert (int(lower.item()), int(upper.item())) == (7, 7)


@pytest.mark.parametrize("weight", [2**20, 2**35, 2**45])
def test_large_weights_give_sound_bounds_or_none(weight: int) -> None:
    network = deep(weight)
    bounds = LinearBounds(network, network.lower, network.upper, slopes=Slopes.STEEP)
    lower, upper = bounds.values[-1]
    assert int(lower.item()) <= 7 <= int(upper.item())
    greatest = bounds.greatest(Rows(2, np.array([[weight, weight]]), (7,)))
    assert greatest is None or greatest[0] >= 7


@given(
    st.lists(st.lists(st.integers(-(2**40), 2**40), min_size=3, max_size=3), min_size=1, max_size=3),
    st.lists(st.integers(-(2**62), 2**62), min_size=3, max_size=3),
)
def test_weighted_sums_are_exact(rows: list[list[int]], numbers: list[int]) -> None:
    found = _weighted(np.array(rows, dtype=np.int64), np.array(numbers, dtype=np.int64)).tolist()
    assert found == [sum(a * b for a, b in zip(row, numbers, strict=True)) for row in rows]
