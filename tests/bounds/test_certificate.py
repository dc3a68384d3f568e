"""Hulls hold their graphs, and certificates hold for any multipliers whatever."""

from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bvverify.bounds.boxfed import box_units
from bvverify.bounds.certificate import Certifier, IntegerRows
from bvverify.bounds.descent import Slants, first_dual, multipliers
from bvverify.bounds.hull import Hull, HullMaker, NetworkHulls
from bvverify.bounds.multipliers import Multipliers, integer_multipliers
from bvverify.bounds.relaxation import Relaxation, Rows
from bvverify.network import (
    ALWAYS,
    NEVER,
    Clamp,
    IntArray,
    Lookup,
    NetworkBuilder,
    Step,
    StepNetwork,
    Window,
    shift_rule,
)
from bvverify.queries import LevelBox
from tests.encode.questions import Question, questions
from tests.networks import points_of

BITS = 24
SCALE = 2.0**BITS
PATIENT = settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
FORMS = np.stack(np.meshgrid(np.arange(-6, 7), np.arange(-30, 31)), axis=-1).reshape(-1, 2)
"""Coefficients of the result and of the input."""


def check(hull: Hull, low: int, high: int, operation: Step | Clamp | Lookup) -> None:
    x = np.arange(low, high + 1)
    y = operation.apply(x.reshape(-1, 1)).reshape(-1)
    reached = (FORMS[:, :1] * y + FORMS[:, 1:] * x).max(axis=1)
    allowed = (FORMS[:, :1] * hull.y[:, 0] + FORMS[:, 1:] * hull.x[:, 0]).max(axis=1)
    assert (allowed >= reached).all()


ENDS = st.tuples(st.integers(-60, 60), st.integers(0, 60)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(st.one_of(st.integers(-50, 50), st.just(ALWAYS), st.just(NEVER)), max_size=9), st.integers(-9, 9), ENDS)
@PATIENT
def test_hulls_of_staircases(thresholds: list[int], base: int, ends: tuple[int, int]) -> None:
    step = Step(base, np.array([sorted(thresholds)], dtype=np.int64).reshape(1, -1))
    low, high = (np.array([[end]]) for end in ends)
    check(HullMaker(step).hull(low, high), *ends, step)
    check(HullMaker(step).rows(np.array([0]), low[0], high[0]), *ends, step)


@given(st.integers(-50, 50), st.integers(0, 50), ENDS)
@PATIENT
def test_hulls_of_clamps(lower: int, span: int, ends: tuple[int, int]) -> None:
    clamp = Clamp(lower, lower + span)
    check(HullMaker(clamp).hull(*(np.array([[end]]) for end in ends)), *ends, clamp)


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=20), st.integers(-9, 9), st.data())
@PATIENT
def test_hulls_of_tables(table: list[int], lower: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(table) - 1))
    last = data.draw(st.integers(first, len(table) - 1))
    lookup = Lookup(lower, np.array([table]))
    ends = lower + first, lower + last
    check(HullMaker(lookup).hull(*(np.array([[end]]) for end in ends)), *ends, lookup)


def test_hulls_are_tight_where_stairs_are_even() -> None:
    step = Step(0, np.array([[10, 20, 30, 40]]))
    hull = HullMaker(step).hull(np.array([[-30]]), np.array([[45]]))
    assert hull.x.reshape(-1).tolist() == [-30, 10, 40, 45, 39, 9]
    assert hull.y.reshape(-1).tolist() == [0, 1, 4, 4, 3, 0]


def pooled() -> StepNetwork:
    """Return a convolution with padding, a staircase, max pooling and a dense layer."""
    random = np.random.default_rng(3)
    builder = NetworkBuilder(lower=np.zeros((1, 5, 5), dtype=int), upper=np.full((1, 5, 5), 3))
    window = Window((2, 2), padding=(1, 1))
    builder.conv2d(random.integers(-5, 6, (2, 1, 2, 2)), [3, -5], window=window, padding_value=1)
    builder.step(shift_rule(multiplier=np.array([1, 1]), shift=2, zero_point=0, lower=0, upper=9))
    builder.max_pool2d(Window((2, 2), (2, 2)))
    builder.reshape((18,))
    builder.dense(random.integers(-9, 10, (3, 18)), [0, 1, 2])
    return builder.build()


def forms(network: StepNetwork, box: LevelBox, random: np.random.Generator) -> tuple[Rows, IntegerRows, IntArray]:
    """Return three random forms in a random value, as floats and as integers, and their largest values on a box."""
    value = int(random.integers(0, len(network.values)))
    size = network.values[value].lower.size
    rows = random.integers(-9, 10, (3, size)) * random.integers(0, 2, (3, size)) << BITS
    constants = random.integers(-50, 50, 3) << BITS
    computed = network.evaluate_values(points_of(box), [value])[0].reshape(-1, size)
    reached = (computed @ rows.T).max(axis=0) + constants
    floats = Rows({value: torch.tensor(rows / SCALE, dtype=torch.float32)}, torch.tensor(constants / SCALE).float())
    return floats, IntegerRows({value: rows}, constants), reached


def disturbed(found: Multipliers, random: np.random.Generator, amount: float) -> Multipliers:
    def noise(tensor: torch.Tensor) -> torch.Tensor:
        scale = amount * (tensor.abs().mean() + 0.1)
        return tensor + scale * torch.tensor(random.normal(size=tensor.shape), dtype=torch.float32)

    return Multipliers({index: noise(tensor) for index, tensor in found.back.items()}, found.slanted)


def check_certificates(question: Question, seed: int, amount: float, *, tolerance: float = np.inf) -> bool:
    network, box = question.network, question.box
    random = np.random.default_rng(seed)
    rows, integer_rows, reached = forms(network, box, random)
    values = network.interval(box.lower, box.upper)
    relaxation = Relaxation(NetworkHulls(network))
    situation = relaxation.situation([values])
    dual = first_dual(relaxation, situation, rows)
    slants = {
        fed: Slants(
            held.slopes * float(random.random() * 2),
            held.free + amount * torch.tensor(random.normal(size=held.free.shape), dtype=torch.float32),
            held.steepness * torch.tensor(random.random(held.steepness.shape) * 2, dtype=torch.float32),
            torch.tensor(random.integers(0, 2, held.share.shape), dtype=torch.float32),
        )
        for fed, held in dual.slants.items()
    }
    found = disturbed(multipliers(relaxation, situation, type(dual)(dual.back, slants)), random, amount)
    exact = Certifier(relaxation.hulls, values).greatest(integer_rows, integer_multipliers(found, SCALE))
    if exact is None:  # 64 bits do not suffice for these numbers and this scale
        return False
    assert (exact >= reached).all()
    bound = relaxation.bound(situation, rows, found).bound.numpy().astype(np.float64) * SCALE
    assert np.abs(bound - exact).max() <= tolerance * (np.abs(exact).max() + SCALE)
    return bool(found.slanted)


@given(questions(), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 1.0]))
@PATIENT
def test_any_multipliers_give_bounds(question: Question, seed: int, amount: float) -> None:
    check_certificates(question, seed, amount)


def test_certificates_are_what_floats_say_behind_padding_and_pooling() -> None:
    network = pooled()
    random = np.random.default_rng(0)
    slanted = 0
    for seed in range(60):
        lower = random.integers(0, 3, (1, 5, 5))
        upper = lower + (random.random((1, 5, 5)) < 0.3)
        question = Question(network, LevelBox.of(lower, upper), None)  # type: ignore[arg-type]
        slanted += check_certificates(question, seed, 0.05, tolerance=0.001)
    assert slanted >= 10


@given(questions())
@PATIENT
def test_units_fed_by_the_box_are_what_the_network_computes(question: Question) -> None:
    check_units(question.network, points_of(question.box))


def test_units_behind_padding_and_pooling() -> None:
    points = np.random.default_rng(0).integers(0, 4, (50, 1, 5, 5))
    assert check_units(pooled(), points) == [(18, 4)]


def check_units(network: StepNetwork, points: IntArray) -> list[Any]:
    found = box_units(network)
    for value, units in found.items():
        computed = network.evaluate_values(points, [value])[0].reshape(len(points), -1)
        flat = points.reshape(len(points), -1)
        read = np.where(units.inputs >= 0, flat[:, np.maximum(units.inputs, 0)], 0)
        sums = np.einsum("ufp,nup->nuf", units.weight, read) + units.offset
        step = network.nodes[units.step].operation
        assert isinstance(step, Step)
        rows = step.thresholds[units.channel]
        assert (step.base + (rows[None] <= sums.max(axis=2)[..., None]).sum(axis=2) == computed).all()
    return [units.sums.shape for units in found.values()]


def test_huge_numbers_are_refused() -> None:
    builder = NetworkBuilder(lower=[0, 0], upper=[1 << 30, 1 << 30])
    builder.dense([[1, 1]], [0])
    network = builder.build()
    certifier = Certifier(NetworkHulls(network), network.interval(network.lower, network.upper))
    none = integer_multipliers(Multipliers({}), 1.0)
    assert certifier.greatest(IntegerRows({1: np.array([[1 << 40]])}, np.array([0])), none) is None
    found = certifier.greatest(IntegerRows({1: np.array([[1 << 10]])}, np.array([0])), none)
    assert found is not None
    assert found.tolist() == [1 << 41]
