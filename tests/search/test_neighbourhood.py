"""Neighbourhoods lead to violations of convolutions, stay in the box, and know what an overtaking takes."""

import math
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bvverify.encode.linear import encode_forms
from bvverify.errors import NotLinear
from bvverify.network import NetworkBuilder, Step, StepNetwork, Window
from bvverify.queries import LevelBox, Overtaking, Robustness, TieRule
from bvverify.search.claims import boundaries
from bvverify.search.neighbourhood import NeighbourhoodEffort, Neighbourhoods
from bvverify.solvers.cpsat import maximize
from tests.encode.questions import Question, questions
from tests.networks import points_of

PATIENT = settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
EFFORT = NeighbourhoodEffort(inputs=6, work=0.2, patience=8)


def convolution(random: np.random.Generator) -> StepNetwork:
    """Return a pooled convolution of 16 pixels, and three outputs with finely stepped staircases."""
    builder = NetworkBuilder(lower=np.zeros((1, 4, 4), dtype=np.int64), upper=np.full((1, 4, 4), 9, dtype=np.int64))
    builder.conv2d(random.integers(-5, 6, (2, 1, 2, 2)).tolist(), [0, 0], window=Window(kernel=(2, 2), stride=(1, 1)))
    builder.step(Step(0, random.integers(-20, 20, (2, 1)) + 9 * np.arange(8)))
    builder.max_pool2d(Window(kernel=(2, 2), stride=(1, 1)))
    builder.reshape((8,))
    builder.dense(random.integers(-9, 10, (3, 8)).tolist(), random.integers(-20, 21, 3).tolist())
    builder.step(Step(0, random.integers(-120, -60, (3, 1)) + 7 * np.arange(40)))
    return builder.build()


def asked(random: np.random.Generator, network: StepNetwork) -> tuple[np.ndarray, LevelBox, Robustness]:
    """Return an input, a box around it without some levels, and whether its first class stays the first."""
    start = random.integers(2, 8, (1, 4, 4))
    missing = np.array([[0, int(start.reshape(-1)[0]) + 1], [5, int(start.reshape(-1)[5]) - 1]])
    box = LevelBox(start - 2, start + 2, missing)
    label = int(network.evaluate(start[None])[0].reshape(-1).argmax())
    return start, box, Robustness(label, 3, TieRule.LOWEST_INDEX)


@given(st.integers(0, 2**32 - 1))
@PATIENT
def test_what_is_found_lies_in_the_box_and_is_nearer(seed: int) -> None:
    random = np.random.default_rng(seed)
    network = convolution(random)
    start, box, question = asked(random, network)
    for way in question.ways():
        neighbourhoods = Neighbourhoods.of(network, box, question, way[0])
        assert neighbourhoods is not None
        found = neighbourhoods.search(start, EFFORT, deadline=time.monotonic() + 60)
        assert box.contains(found)
        before, after = neighbourhoods._met(start), neighbourhoods._met(found)
        assert after.lead >= before.lead or after.least >= before.least


def test_violations_are_found_where_random_inputs_are_none() -> None:
    found = 0
    for seed in range(30):
        random = np.random.default_rng(seed)
        network = convolution(random)
        start, box, question = asked(random, network)
        inputs = box.allowed(random.integers(box.lower, box.upper + 1, (300, *start.shape)))
        if question.violated_by(network.evaluate(inputs)).any():
            continue
        for way in question.ways():
            neighbourhoods = Neighbourhoods.of(network, box, question, way[0])
            assert neighbourhoods is not None
            met = neighbourhoods.search(start, EFFORT, deadline=math.inf)
            if question.violated_by(network.evaluate(met[None]))[0]:
                found += 1
                break
    assert found >= 5


def test_no_neighbourhoods_where_sums_read_everything() -> None:
    builder = NetworkBuilder(lower=[0] * 80, upper=[9] * 80)
    for width, read in ((4, 80), (2, 4)):
        builder.dense(np.ones((width, read), dtype=np.int64), [0] * width)
        builder.step(Step(0, np.arange(1, 9)[None] * 40))
    network = builder.build()
    box = LevelBox.of(network.lower, network.upper)
    assert Neighbourhoods.of(network, box, Robustness(0, 2, TieRule.LOWEST_INDEX), Overtaking(1, 0, 1)) is None


def test_no_search_without_time() -> None:
    random = np.random.default_rng(0)
    network = convolution(random)
    start, box, question = asked(random, network)
    neighbourhoods = Neighbourhoods.of(network, box, question, question.ways()[0][0])
    assert neighbourhoods is not None
    assert (neighbourhoods.search(start, EFFORT, deadline=time.monotonic()) == start).all()


@given(st.integers(0, 2**32 - 1), st.integers(0, 2))
@PATIENT
def test_overtaking_is_to_reach_a_boundary(seed: int, margin: int) -> None:
    random = np.random.default_rng(seed)
    network = convolution(random)
    wanted = Overtaking(int(random.integers(2)), 2, margin)
    aims = boundaries(network, wanted)
    assert aims is not None
    points = random.integers(0, 10, (300, 1, 4, 4))
    hidden, outputs = network.evaluate_values(points, [aims.value, len(network.nodes)])
    forms = hidden.reshape(len(points), -1) @ aims.rows.T
    reached = (forms[:, None] + aims.constants >= 0).all(axis=2).any(axis=1)
    outputs = outputs.reshape(len(points), -1)
    overtakes = outputs[:, wanted.winner] - outputs[:, wanted.loser] >= margin
    # Where the loser is at its highest or lowest level, no boundary need be between the two.
    inner = (outputs[:, wanted.loser] > 0) & (outputs[:, wanted.loser] < 40)
    assert not (reached & ~overtakes).any()
    assert not (overtakes & inner & ~reached).any()


@given(questions())
@PATIENT
def test_programs_find_the_greatest_forms(question: Question) -> None:
    network, box = question.network, question.box
    points = points_of(box)
    size = network.values[-1].lower.size
    rows, constants = np.zeros((2, size), dtype=np.int64), np.array([3, -2])
    rows[0, 0], rows[1, -1] = 2, -3
    values = network.interval(box.lower, box.upper)
    try:
        made = encode_forms(network, box, len(network.nodes), rows, constants, values=values)
    except NotLinear:
        return
    reached = network.evaluate(points).reshape(len(points), -1) @ rows.T + constants
    for objective, greatest in (
        (dict.fromkeys(made.forms, 1), reached.sum(axis=1).max()),
        ({made.least: 1}, np.minimum(reached.min(axis=1), 0).max()),
    ):
        best = maximize(made.encoding.program, objective, {}, work=math.inf, seconds=60.0)
        assert best is not None
        assert best.optimal
        assert sum(factor * int(best.solution[place]) for place, factor in objective.items()) == greatest
        assert box.contains(made.encoding.input_levels(box, best.solution))


@pytest.mark.parametrize("size", [1, 5, 12, 99])
def test_neighbourhoods_are_as_large_as_asked(size: int) -> None:
    random = np.random.default_rng(1)
    network = convolution(random)
    _, box, question = asked(random, network)
    neighbourhoods = Neighbourhoods.of(network, box, question, question.ways()[0][0])
    assert neighbourhoods is not None
    chosen = neighbourhoods._neighbourhood(random, size)
    assert len(chosen) == len(set(chosen.tolist()))
    assert len(chosen) >= min(size, 16)
