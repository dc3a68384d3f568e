"""Integer programs say what enumeration says."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bvverify.bounds import LinearBounds, Slopes
from bvverify.encode.exact_line import exact_line
from bvverify.encode.linear import encode_way
from bvverify.errors import NotLinear
from bvverify.network import (
    ALWAYS,
    Clamp,
    Gather,
    IntArray,
    Lookup,
    Max,
    NetworkBuilder,
    Product,
    Step,
    StepNetwork,
    shift_rule,
)
from bvverify.queries import LevelBox, Overtaking
from bvverify.solvers import Status
from bvverify.solvers.integer import CP_SAT, HIGHS, INTEGER_BACKENDS, IntegerBackend, solve_program
from tests.networks import points_of, randoms

from .questions import Question, questions

Bounds = Sequence[tuple[IntArray, IntArray]]
backends = pytest.mark.parametrize("backend", INTEGER_BACKENDS, ids=lambda backend: backend.name)


def all_bounds(network: StepNetwork, box: LevelBox) -> dict[str, Bounds]:
    linear = LinearBounds(network, box.lower, box.upper, slopes=next(iter(Slopes)))
    return {
        "none": [(value.lower, value.upper) for value in network.values],
        "intervals": network.interval(box.lower, box.upper),
        "linear": linear.values,
    }


def holds(way: Sequence[Overtaking], outputs: IntArray) -> bool:
    """Return whether some row of the outputs, one per input of a box, has everything in `way`."""
    return bool(np.all([outputs[:, part.winner] - outputs[:, part.loser] >= part.margin for part in way], axis=0).any())


def check(
    network: StepNetwork, box: LevelBox, way: Sequence[Overtaking], values: Bounds, backend: IntegerBackend
) -> bool:
    """Compare a program with enumeration; return whether it has a solution."""
    encoding = encode_way(network, box, way, values=values)
    answer = solve_program(encoding.program, backend)
    expected = holds(way, network.evaluate(points_of(box)))
    assert answer.status is (Status.SAT if expected else Status.UNSAT)
    if answer.solution is not None:
        witness = encoding.input_levels(box, answer.solution)
        assert box.contains(witness)
        assert holds(way, network.evaluate(witness[None]))
    return expected


def levels_are_exact(network: StepNetwork, box: LevelBox, *, without: bool = True) -> None:
    """Compare with enumeration which levels of output 0 exist, at its greatest one and one above, for both backends;
    output 1 is the constant 0.
    """
    greatest = int(network.evaluate(points_of(box))[:, 0].max())
    least = int(network.evaluate(points_of(box))[:, 0].min())
    for name, values in all_bounds(network, box).items():
        if name == "none" and not without:
            continue
        for backend in INTEGER_BACKENDS:
            assert check(network, box, [Overtaking(0, 1, greatest)], values, backend)
            assert not check(network, box, [Overtaking(0, 1, greatest + 1)], values, backend)
            assert check(network, box, [Overtaking(1, 0, -least)], values, backend)
            assert not check(network, box, [Overtaking(1, 0, 1 - least)], values, backend)


@pytest.mark.parametrize(("backend", "examples"), [(CP_SAT, 120), (HIGHS, 80)], ids=["cp-sat", "highs"])
def test_programs_agree_with_enumeration(backend: IntegerBackend, examples: int) -> None:
    seen: Counter[str] = Counter()

    @given(questions(max_points=100))
    @settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    def agrees(question: Question) -> None:
        for name, values in all_bounds(question.network, question.box).items():
            for way in question.property.ways():
                try:
                    found = check(question.network, question.box, way, values, backend)
                except NotLinear:
                    assert any(isinstance(node.operation, Product) for node in question.network.nodes)
                    seen["refused"] += 1
                else:
                    seen[f"{name} {found}"] += 1

    agrees()
    assert min(seen[f"{name} {found}"] for name in ("none", "intervals", "linear") for found in (True, False)) >= 10


def with_zero(builder: NetworkBuilder) -> StepNetwork:
    """Append a second output that is 0."""
    size = builder.layout.size
    builder.reshape((size,))
    builder.dense(np.eye(2, size, dtype=np.int64) * [[1], [0]], [0, 0])
    return builder.build()


def sums(weights: Sequence[int], top: int) -> NetworkBuilder:
    builder = NetworkBuilder(lower=[0] * len(weights), upper=[top] * len(weights))
    builder.dense([weights], [0])
    return builder


JAGGED = [-9, -8, -8, -3, 0, 1, 1, 1, 12, 13, 20, 26]
"""Thresholds that no line has."""


@pytest.mark.parametrize("lower", [0, 3])
def test_a_jagged_staircase(lower: int) -> None:
    assert exact_line(np.array(JAGGED), -20, 30) is None
    builder = sums([5, -3, 1], 5)
    builder.step(Step(-4, np.array([[ALWAYS, *JAGGED]])))
    levels_are_exact(with_zero(builder), LevelBox.of([lower] * 3, [5] * 3))


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(-(10**9), 10**9), st.booleans(), randoms)
def test_a_line_counts_the_thresholds_it_was_fitted_to(
    factor: int, divisor: int, offset: int, nudge: bool, random: np.random.Generator
) -> None:
    """Thresholds of a line, some of them moved by one, so that a line may or may not exist."""
    thresholds = np.array([-((offset - divisor * level) // factor) for level in range(1, 41)])
    if nudge:
        thresholds = np.sort(thresholds + random.integers(-1, 2, size=40))
    lower, upper = int(thresholds[0]) - 3, int(thresholds[-1]) + 2
    line = exact_line(thresholds, lower, upper, more_below=True)
    assert nudge or line is not None
    if line is not None:
        near = np.concatenate([thresholds - 1, thresholds, thresholds + 1, [lower, upper]]).clip(lower, upper)
        assert all(min(max(line.at(x), 0), 40) == (thresholds <= x).sum() for x in near.tolist())


@pytest.mark.parametrize("zero_point", [-30, 0, 30])
def test_a_regular_staircase_is_a_line_and_its_ends_are_clipped(zero_point: int) -> None:
    builder = sums([7, -5, 2], 9)
    builder.step(
        shift_rule(multiplier=np.array([5]), shift=4, zero_point=zero_point, lower=zero_point - 9, upper=zero_point + 8)
    )
    network, box = with_zero(builder), LevelBox.of([0] * 3, [9, 9, 3])
    encoding = encode_way(network, box, [Overtaking(0, 1, 0)], values=network.interval(box.lower, box.upper))
    binaries = (encoding.program.lower == 0) & (encoding.program.upper == 1)
    assert int(binaries.sum()) == 2  # of a line: not one for each of the 17 levels
    levels_are_exact(network, box)


def test_two_clamps() -> None:
    builder = sums([3, -4, 1], 6)
    builder.append(Clamp(-7, 12), builder.value)
    builder.resume(builder.value, np.arange(1))
    builder.append(Clamp(-5, 9), builder.value)
    builder.resume(builder.value, np.arange(1))
    levels_are_exact(with_zero(builder), LevelBox.of([0] * 3, [6] * 3))
    levels_are_exact(with_zero(sums_clamped(4, 20)), LevelBox.of([0] * 3, [6] * 3))


def sums_clamped(lower: int, upper: int) -> NetworkBuilder:
    builder = sums([3, -4, 1], 6)
    builder.clamp(lower, upper)
    return builder


@pytest.mark.parametrize("floor", [-1000, 25, 75, 1000])
def test_a_maximum(floor: int) -> None:
    """Of three sums, one of them dominated, and a constant, which dominates none, one, two or all of them; where it is
    the maximum, no sum has its value.
    """
    builder = NetworkBuilder(lower=[0, 0], upper=[5, 5])
    builder.dense([[20, -30], [-20, 10], [10, -10]], [0, 10, -200])
    pairs = builder.append(Gather(np.array([[0, 1, -1, 2]]), floor), builder.value)
    builder.resume(builder.append(Max(), pairs), np.arange(1))
    levels_are_exact(with_zero(builder), LevelBox.of([0, 0], [5, 5]))


def test_a_lookup() -> None:
    builder = sums([1, 2], 4)
    builder.lookup(Lookup(0, np.array([[3, 3, -5, 8, 8, 8, 0, -1, 3, 9, 9, 2, 2]])))
    network = with_zero(builder)
    levels_are_exact(network, LevelBox.of([0, 0], [4, 4]))
    levels_are_exact(network, LevelBox.of([0, 1], [2, 3]))


def test_missing_levels_are_no_inputs() -> None:
    network = with_zero(sums([3, -2], 9))
    box = LevelBox(np.array([2, 0]), np.array([9, 9]), np.array([[0, 8], [0, 7], [0, 4], [1, 1], [1, 5]]))
    for backend in INTEGER_BACKENDS:
        for margin in range(-19, 29):
            check(
                network,
                box,
                [Overtaking(0, 1, margin), Overtaking(1, 0, -margin)],
                all_bounds(network, box)["none"],
                backend,
            )


def products(upper: int) -> tuple[StepNetwork, LevelBox]:
    builder = NetworkBuilder(lower=[0, 0], upper=[3, 3])
    left = builder.append(Gather([0]), 0)
    builder.append(Product(), left, builder.append(Gather([1]), 0))
    builder.resume(builder.value, np.arange(1))
    return with_zero(builder), LevelBox.of([0, 2], [3, upper])


def test_a_product_with_a_constant_is_linear_and_others_are_refused() -> None:
    network, box = products(2)
    levels_are_exact(network, box, without=False)
    network, box = products(3)
    with pytest.raises(NotLinear, match=r"node 2 \(Product\)"):
        encode_way(network, box, [Overtaking(0, 1, 0)], values=network.interval(box.lower, box.upper))


def test_stable_units_have_no_binaries_and_bounds_decide_which_are() -> None:
    network, box = with_zero(sums_clamped(0, 9)), LevelBox.of([2, 0, 1], [3, 1, 1])

    def binaries(name: str) -> int:
        program = encode_way(network, box, [Overtaking(0, 1, 5)], values=all_bounds(network, box)[name]).program
        return int(((program.upper - program.lower) == 1).sum()) - 2  # two inputs have two levels each

    assert (binaries("none"), binaries("intervals")) == (2, 1)


@backends
def test_outputs_that_are_not_compared_have_no_rows(backend: IntegerBackend) -> None:
    builder = NetworkBuilder(lower=[0, 0], upper=[9, 9])
    builder.dense([[1, 0], [0, 1], [1, 1]], [0, 0, 0])
    network, box = builder.build(), LevelBox.of([0, 0], [9, 9])
    values = network.interval(box.lower, box.upper)
    assert len(encode_way(network, box, [Overtaking(0, 1, 3)], values=values).program.row_lower) == 3
    assert check(network, box, [Overtaking(0, 1, 9)], values, backend)
    assert not check(network, box, [Overtaking(0, 1, 10)], values, backend)
