"""Bounds case by case hold for any numbers whatever, start as lines, and prove what lines cannot."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bvverify.bounds.cases import Cases, first_cases
from bvverify.bounds.certificate import Certifier, IntegerRows
from bvverify.bounds.descent import Dual, Effort, descend, first_dual, multipliers
from bvverify.bounds.hull import HullMaker, NetworkHulls
from bvverify.bounds.multipliers import Multipliers, integer_multipliers
from bvverify.bounds.relaxation import Relaxation, Rows
from bvverify.bounds.situation import Situation
from bvverify.network import ALWAYS, NEVER, NetworkBuilder, Step, StepNetwork
from bvverify.queries import LevelBox
from tests.bounds.test_certificate import ENDS, PATIENT
from tests.networks import points_of

BITS = 36
SCALE = 2.0**BITS


def layers(random: np.random.Generator, hidden: int) -> StepNetwork:
    """Return a random network of some hidden layers on three inputs of 0 to 3."""
    builder = NetworkBuilder(lower=[[0, 0, 0]], upper=[[3, 3, 3]])
    if random.random() < 0.2:  # a staircase of the inputs themselves
        builder.step(Step(0, np.sort(random.integers(0, 5, (3, 3)), axis=1)))
    for _ in range(hidden):
        builder.dense(random.integers(-4, 5, (3, 3)).tolist(), random.integers(-3, 4, 3).tolist())
        builder.step(Step(int(random.integers(-2, 3)), np.sort(random.integers(-8, 12, (3, 4)), axis=1)))
    builder.dense(random.integers(-4, 5, (2, 3)).tolist(), [0, 0])
    return builder.build()


def behind_others(relaxation: Relaxation, situation: Situation) -> dict[int, Cases]:
    """Return the lines of CROWN above all units behind the first layer, as cases."""
    made = {}
    for index in relaxation.hulls.makers.keys() - relaxation.hulls.fed_by_box:
        lines = situation.lines[index]
        elements = torch.arange(lines.x.shape[2])
        made[index + 1] = first_cases(relaxation, situation, index + 1, elements, lines.above[0])
    return made


def through(relaxation: Relaxation, situation: Situation, rows: Rows, dual: Dual) -> Multipliers:
    """Return the bounds of units that a dual stands for, and the lines of CROWN for what they leave."""
    given = multipliers(relaxation, situation, dual)
    return replace(given, back=relaxation.start(situation, rows, given))


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.sampled_from([0.0, 0.1, 1.0]))
@PATIENT
def test_any_numbers_give_bounds(seed: int, hidden: int, amount: float) -> None:
    random = np.random.default_rng(seed)
    network = layers(random, hidden)
    values = network.interval(network.lower, network.upper)
    relaxation = Relaxation(NetworkHulls(network))
    situation = relaxation.situation([values])
    last = len(network.nodes)
    row = random.integers(-9, 10, (1, 2))
    rows = Rows({last: torch.tensor(row, dtype=torch.float32)}, torch.zeros(1))

    def noisy(tensor: torch.Tensor) -> torch.Tensor:
        return tensor + amount * torch.tensor(random.normal(size=tensor.shape), dtype=torch.float32)

    first = first_dual(relaxation, situation, rows)
    cases = {
        value: held.like(map(noisy, held.tensors())) for value, held in behind_others(relaxation, situation).items()
    }
    found = through(relaxation, situation, rows, replace(first, cases=cases))
    integer_rows = IntegerRows({last: row << BITS}, np.zeros(1, dtype=np.int64))
    exact = Certifier(relaxation.hulls, values).greatest(integer_rows, integer_multipliers(found, SCALE))
    assert exact is not None
    reached = (network.evaluate(points_of(LevelBox.of(network.lower, network.upper))) @ row[0]).max()
    assert int(exact[0]) >= int(reached) << BITS
    bound = float(relaxation.bound(situation, rows, found).bound[0])
    assert bound == pytest.approx(int(exact[0]) / SCALE, rel=1e-3, abs=1e-2)


@pytest.mark.parametrize("reach", [40, 80])
def test_cases_prove_what_lines_cannot(reach: int) -> None:
    """v + w - 40 and v - w, where positive, add up to 40 at most; their chords add up to v + 20.

    With a reach of 40, v and w are the inputs; with 80 they are what inputs exceed 40 by, which inputs alone do not
    tell once the phases are relaxed.
    """
    builder = NetworkBuilder(lower=[0, 0], upper=[reach, reach])
    builder.dense([[1, 0], [0, 1]], [40 - reach, 40 - reach])
    builder.step(Step(0, np.tile(np.arange(1, 41), (2, 1))))
    builder.dense([[1, 1], [1, -1]], [-40, 0])
    builder.step(Step(0, np.tile(np.arange(1, 41), (2, 1))))
    builder.dense([[1, 1]], [0])
    network = builder.build()
    values = network.interval(network.lower, network.upper)
    relaxation = Relaxation(NetworkHulls(network))
    situation = relaxation.situation([values])
    rows = Rows({5: torch.ones(1, 1)}, torch.zeros(1))
    first, effort = first_dual(relaxation, situation, rows), Effort(300, 0.01, np.inf)
    lines = descend(relaxation, situation, rows, first, effort)
    start = replace(lines.dual, cases=behind_others(relaxation, situation))
    by_cases = descend(relaxation, situation, rows, start, effort)
    assert float(lines.bound[0]) > 55
    assert float(by_cases.bound[0]) < 45


@given(st.lists(st.one_of(st.integers(-50, 50), st.just(ALWAYS), st.just(NEVER)), max_size=9), ENDS)
@PATIENT
def test_turns_are_where_levels_first_rise(thresholds: list[int], ends: tuple[int, int]) -> None:
    step = Step(0, np.array([sorted(thresholds)], dtype=np.int64).reshape(1, -1))
    low, high = ends
    x = np.arange(low, high + 1)
    levels = step.apply(x.reshape(-1, 1)).reshape(-1)
    rising = x[levels > levels[0]]
    turn = int(HullMaker(step).turns(np.array([[low]]), np.array([[high]]))[0])
    assert turn == (rising[0] if len(rising) else high + 1)


def test_cases_take_the_tensors_that_they_gave() -> None:
    random = np.random.default_rng(0)
    network = layers(random, 3)
    relaxation = Relaxation(NetworkHulls(network))
    situation = relaxation.situation([network.interval(network.lower, network.upper)])
    rows = Rows({len(network.nodes): torch.ones(1, 2)}, torch.zeros(1))
    dual = replace(first_dual(relaxation, situation, rows), cases=behind_others(relaxation, situation))
    again = dual.like(dual.tensors())
    assert len(dual.rates()) == len(dual.tensors())
    assert isinstance(again, Dual)
    assert all(first is second for first, second in zip(again.tensors(), dual.tensors(), strict=True))


def test_what_intervals_take_counts_where_staircases_read_the_inputs() -> None:
    """y rises from 0 to 4 with x; half of the slope is left to the interval of x, the other half to the box."""
    builder = NetworkBuilder(lower=[[1]], upper=[[8]])
    builder.step(Step(0, np.array([[2, 4, 6, 8]])))
    network = builder.build()
    values = network.interval(network.lower, network.upper)
    relaxation = Relaxation(NetworkHulls(network))
    situation = relaxation.situation([values])
    chord = behind_others(relaxation, situation)[1]
    halved = replace(chord, rest=torch.full_like(chord.rest, 0.25))
    rows = Rows({1: torch.ones(1, 1)}, torch.zeros(1))
    dual = replace(first_dual(relaxation, situation, rows), cases={1: halved})
    found = through(relaxation, situation, rows, dual)
    integer_rows = IntegerRows({1: np.full((1, 1), 1 << BITS)}, np.zeros(1, dtype=np.int64))
    exact = Certifier(relaxation.hulls, values).greatest(integer_rows, integer_multipliers(found, SCALE))
    assert exact is not None
    assert int(exact[0]) >= 4 << BITS
    assert float(relaxation.bound(situation, rows, found).bound[0]) >= 4
