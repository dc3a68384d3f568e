"""Exchanges of levels lead nearer to violations than rounding left to chance, and always to inputs of the box."""

import itertools
import math
import time
from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bvverify.network import IntArray, StepNetwork
from bvverify.queries import LevelBox, Overtaking
from bvverify.search.chain import Chain
from bvverify.search.exchange import ExchangeEffort, Exchanges
from bvverify.search.surrogate import Surrogate, boundary_distances
from tests.search.networks import first_levels, hidden

SEEDS = st.integers(0, 2**32 - 1)
SLOW = settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
WANTED = Overtaking(1, 0, 1)
EFFORT = ExchangeEffort(patience=10)


def posed(seed: int, *, layers: int = 2) -> tuple[StepNetwork, Chain, LevelBox, IntArray]:
    """Return a small chain, a box, and some inputs of the box."""
    random = np.random.default_rng(seed)
    network = hidden(random, layers)
    chain = Chain.of(network)
    assert chain is not None
    middle = random.integers(2, 8, 8)
    box = LevelBox.of(middle - 2, middle + 2)
    return network, chain, box, random.integers(box.lower, box.upper + 1, (10, 8))


@given(SEEDS, st.integers(1, 3))
@SLOW
def test_what_is_found_lies_in_the_box(seed: int, layers: int) -> None:
    _, chain, box, points = posed(seed, layers=layers)
    assert box.contains(Exchanges(chain, box).search(points[0], WANTED, EFFORT, deadline=math.inf))


def test_exchanges_lead_nearer_to_violations() -> None:
    """The outputs of the inputs that are found are compared before the last rounding."""
    nearer, further = 0, 0
    for seed in range(30):
        network, chain, box, points = posed(seed)
        found = Exchanges(chain, box).search(points[0], WANTED, EFFORT, deadline=math.inf)
        levels = first_levels(chain, np.stack([points[0], found]))
        before, after = Surrogate(network).rounded_outputs(chain.units.value, levels)
        gained = (after[1] - after[0]) - (before[1] - before[0])
        nearer, further = nearer + (gained > 0.2), further + (gained < -0.2)
    assert nearer > 10
    assert nearer > 3 * further


def test_exchanges_find_violations_from_where_they_are_furthest() -> None:
    """All inputs of a small box are looked at; the search starts where the other class leads by most."""
    found, possible = 0, 0
    for seed in range(60):
        network, chain, box, _ = posed(seed)
        box = LevelBox.of(box.lower + 1, box.upper - 1)
        inputs = box.lower + np.array(list(itertools.product(range(3), repeat=8)))
        outputs = network.evaluate(inputs)
        leads = outputs[:, 1] - outputs[:, 0]
        if leads.min() < 1 <= leads.max():
            possible += 1
            met = Exchanges(chain, box).search(inputs[leads.argmin()], WANTED, EFFORT, deadline=math.inf)
            reached = network.evaluate(met[None])[0]
            found += bool(reached[1] >= reached[0] + 1)
    assert found > possible / 3


@given(SEEDS)
@SLOW
def test_equal_seeds_lead_to_equal_inputs(seed: int) -> None:
    _, chain, box, points = posed(seed)
    effort = replace(EFFORT, seed=seed)
    first, second = (Exchanges(chain, box).search(points[0], WANTED, effort, deadline=math.inf) for _ in range(2))
    assert (first == second).all()


@given(SEEDS)
@SLOW
def test_without_time_levels_stay(seed: int) -> None:
    """Where an input that gives them is found again."""
    _, chain, box, points = posed(seed)
    exchanges, levels = Exchanges(chain, box), first_levels(chain, points[:1])
    now = time.monotonic()
    found = exchanges.search(points[0], WANTED, EFFORT, deadline=now)
    assert (found == exchanges.settled(levels[0], points[0], deadline=now)).all()


@given(SEEDS, st.integers(1, 2))
@SLOW
def test_outputs_behind_levels_are_those_of_the_network(seed: int, layers: int) -> None:
    """Stairs of equal steps are lines rounded to integers."""
    network, chain, _, points = posed(seed, layers=layers)
    outputs = Surrogate(network).rounded_outputs(chain.units.value, first_levels(chain, points))
    assert (np.clip(np.rint(outputs), 0, 12) == network.evaluate(points)).all()


@given(st.floats(-9, 9, width=32), st.floats(-9, 9, width=32), st.integers(-1, 2))
def test_neither_distance_from_boundaries_is_negative_where_the_winner_is_ahead(
    winner: float, loser: float, margin: int
) -> None:
    over, under = boundary_distances(np.float32([winner]), np.float32([loser]), margin)
    ahead = np.floor(winner + 0.5) >= np.floor(loser + 0.5) + margin
    if min(abs(over[0]), abs(under[0])) > 1e-4:
        assert (over[0] > 0 and under[0] > 0) == ahead
