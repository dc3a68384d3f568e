"""Dives end with levels that lead to violations where rounding decides."""

import math
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bvverify.network import IntArray
from bvverify.queries import LevelBox, Overtaking
from bvverify.search.attack import AttackBudget, Attacked, Near, attack
from bvverify.search.chain import Chain
from bvverify.search.dive import DiveEffort, _Program, dive
from bvverify.search.exchange import Exchanges
from tests.search.digits import Edge, digits, edges
from tests.search.networks import hidden

EFFORT = DiveEffort(part=0.2, room=0.01)
NO_STEPS = AttackBudget(starts=1, sign_steps=1, smooth_steps=0, integer_steps=1)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_dives_end_with_a_level_of_each_first_unit(seed: int, layers: int) -> None:
    random = np.random.default_rng(seed)
    network = hidden(random, layers)
    start = random.integers(2, 8, 8)
    box = LevelBox.of(start - 2, start + 2)
    chain = Chain.of(network)
    assert chain is not None
    levels = dive(chain, box, start, Overtaking(1, 0, 1), effort=EFFORT, deadline=time.monotonic() + 60)
    if levels is not None:
        assert levels.shape == (6,)
        assert (levels >= 0).all()
        assert (levels <= 12).all()


def attacked(edge: Edge) -> tuple[Attacked, IntArray, Overtaking]:
    """Return what an attack of no steps gives: the input that it came to, and the way that it wants."""
    found = attack(digits().network, edge.box, edge.question, budget=NO_STEPS, deadline=math.inf)
    assert found.nearest is not None
    start = edge.box.allowed(found.nearest.point.astype(np.int64)[None])[0]
    return found, start, {way[0].winner: way[0] for way in edge.question.ways()}[found.nearest.rival]


def test_dives_find_violations_where_an_attack_of_no_steps_does_not() -> None:
    """Around nothing but the middle of the box, on edges between robust and violated."""
    network = digits().network
    chain = Chain.of(network)
    assert chain is not None
    dived, plain = 0, 0
    violated = [edge for edge in edges(60) if edge.violated]
    for edge in violated:
        first, start, wanted = attacked(edge)
        plain += first.witness is not None
        levels = dive(chain, edge.box, start, wanted, effort=EFFORT, deadline=time.monotonic() + 60)
        if levels is not None:
            point = Exchanges(chain, edge.box).settled(levels, start, deadline=math.inf)
            near = [Near(point.astype(np.float32), wanted.winner)]
            found = attack(network, edge.box, edge.question, budget=NO_STEPS, deadline=math.inf, near=near)
            dived += found.witness is not None
            assert found.witness is None or edge.box.contains(found.witness)
    assert violated
    assert dived > plain


def test_first_units_that_miss_their_levels_retreat() -> None:
    """Inputs are looked for that reach the levels of all first units."""
    chain = Chain.of(digits().network)
    assert chain is not None
    dived = 0
    for edge in [edge for edge in edges(20) if edge.violated]:
        _, start, wanted = attacked(edge)
        program = _Program(chain, edge.box, start, wanted, EFFORT, math.inf)
        if program.promising() and program.fix_levels():
            dived += 1
            assert not any(unit.first and unit.misses() for unit in program._units)
    assert dived


def test_no_dive_without_time() -> None:
    network = hidden(np.random.default_rng(0), 1)
    chain = Chain.of(network)
    assert chain is not None
    start = np.full(8, 4)
    box = LevelBox.of(start - 2, start + 2)
    assert dive(chain, box, start, Overtaking(1, 0, 1), effort=EFFORT, deadline=time.monotonic()) is None


@pytest.mark.parametrize("layers", [1, 2])
def test_lines_beside_stairs_allow_what_the_start_does(layers: int) -> None:
    """A start that already violates is never called hopeless."""
    random = np.random.default_rng(5)
    for _ in range(20):
        network = hidden(random, layers)
        start = random.integers(2, 8, 8)
        outputs = network.evaluate(start[None])[0]
        first, second = (int(place) for place in np.argsort(-outputs, kind="stable")[:2])
        if outputs[first] > outputs[second]:
            chain = Chain.of(network)
            assert chain is not None
            box = LevelBox.of(start - 2, start + 2)
            assert dive(chain, box, start, Overtaking(first, second, 1), effort=EFFORT, deadline=math.inf) is not None
