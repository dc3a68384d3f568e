"""Exchanges keep to levels that inputs can give, and lead nearer to violations than rounding left to chance."""

import math

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bvverify.network import IntArray, StepNetwork
from bvverify.queries import LevelBox, Overtaking
from bvverify.search.dive import Chain
from bvverify.search.exchange import Reach, exchange
from bvverify.search.stairs import Stairs, unit_stairs
from bvverify.search.surrogate import Surrogate, boundary_distances
from tests.search.networks import hidden

SEEDS = st.integers(0, 2**32 - 1)
SLOW = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
WANTED = Overtaking(1, 0, 1)


def posed(seed: int, *, layers: int = 2) -> tuple[StepNetwork, Chain, LevelBox, list[Stairs], Reach]:
    random = np.random.default_rng(seed)
    network = hidden(random, layers)
    chain = Chain.of(network)
    assert chain is not None
    middle = random.integers(2, 8, 8)
    box = LevelBox.of(middle - 2, middle + 2)
    units = chain.units
    stairs = unit_stairs(chain.first, units.channel, units.offset[:, 0])
    return network, chain, box, stairs, Reach(stairs, units.weight[:, 0], units.inputs, box, random.random(6))


def inputs(box: LevelBox, seed: int, count: int) -> IntArray:
    return np.random.default_rng(seed).integers(box.lower, box.upper + 1, (count, 8))


def first_levels(network: StepNetwork, chain: Chain, points: IntArray) -> IntArray:
    (levels,) = network.evaluate_values(points, [chain.units.value])
    return np.asarray(levels.reshape(len(points), -1))


@given(SEEDS)
@SLOW
def test_levels_lie_between_their_ends(seed: int) -> None:
    network, chain, box, stairs, _ = posed(seed)
    points = inputs(box, seed, 20)
    sums = np.einsum("up,nup->nu", chain.units.weight[:, 0], points[:, chain.units.inputs])
    for level, total in zip(first_levels(network, chain, points), sums, strict=True):
        for unit, stair in enumerate(stairs):
            low, high = stair.between(int(level[unit]), room=0.0)
            assert low - 1e-9 <= stair.slope * total[unit] <= high + 1e-9
            if level[unit] < stair.top:
                assert np.isclose(stair.between(int(level[unit]) + 1, room=0.0)[0], high + stair.slope)


@given(SEEDS)
@SLOW
def test_levels_of_inputs_are_within_reach(seed: int) -> None:
    network, chain, box, _, reach = posed(seed)
    for level in first_levels(network, chain, inputs(box, seed, 5)):
        found = reach.missed(level, room=0.0, deadline=math.inf)
        assert found is not None
        assert found.total <= 1e-6


@given(SEEDS)
@SLOW
def test_prices_bound_what_other_levels_miss(seed: int) -> None:
    network, chain, box, _, reach = posed(seed)
    levels = first_levels(network, chain, inputs(box, seed, 1))[0]
    low, high = reach.ends(levels)
    random = np.random.default_rng(seed)
    here, there = (random.integers(low, high + 1) for _ in range(2))
    first, second = (reach.missed(at, room=0.01, deadline=math.inf) for at in (here, there))
    assert first is not None
    assert second is not None
    assert second.total >= first.total + first.prices @ (there - here) - 1e-5


@given(SEEDS, st.integers(1, 2))
@SLOW
def test_exchanged_levels_are_within_reach(seed: int, layers: int) -> None:
    network, chain, box, _, reach = posed(seed, layers=layers)
    levels = first_levels(network, chain, inputs(box, seed, 1))[0]
    found = exchange(
        Surrogate(network), chain.units.value, reach, levels, np.arange(6), WANTED, room=0.01, deadline=math.inf
    )
    before, after = (reach.missed(at, room=0.01, deadline=math.inf) for at in (levels, found))
    assert before is not None
    assert after is not None
    assert after.total <= max(1e-6, before.total) + 1e-6


def test_exchanges_lead_nearer_to_violations() -> None:
    """The outputs are compared before the last rounding, from the levels that were aimed at."""
    leads = []
    for seed in range(30):
        network, chain, box, _, reach = posed(seed)
        surrogate, value = Surrogate(network), chain.units.value
        levels = first_levels(network, chain, inputs(box, seed, 1))[0]
        found = exchange(surrogate, value, reach, levels, np.arange(6), WANTED, room=0.01, deadline=math.inf)
        before, after = surrogate.rounded_outputs(value, np.stack([levels, found]))
        leads.append((before[1] - before[0], after[1] - after[0]))
    assert sum(after > before + 0.2 for before, after in leads) > 5


@given(SEEDS)
@SLOW
def test_inputs_give_the_levels_that_they_are_sought_for(seed: int) -> None:
    """Whole inputs give them all: their sums miss nothing."""
    network, chain, box, _, reach = posed(seed)
    levels = first_levels(network, chain, inputs(box, seed, 1))[0]
    point = reach.inputs(levels, room=0.0, deadline=math.inf)
    assert point is not None
    assert (point >= box.lower - 1e-6).all()
    assert (point <= box.upper + 1e-6).all()
    assert np.abs(point - np.rint(point)).max() < 1e-5


@given(SEEDS, st.integers(1, 2))
@SLOW
def test_outputs_behind_levels_are_those_of_the_network(seed: int, layers: int) -> None:
    """Stairs of equal steps are lines rounded to integers."""
    network, chain, box, _, _ = posed(seed, layers=layers)
    points = inputs(box, seed, 10)
    outputs = Surrogate(network).rounded_outputs(chain.units.value, first_levels(network, chain, points))
    assert (np.clip(np.rint(outputs), 0, 12) == network.evaluate(points)).all()


@given(st.floats(-9, 9, width=32), st.floats(-9, 9, width=32), st.integers(-1, 2))
def test_neither_distance_from_boundaries_is_negative_where_the_winner_is_ahead(
    winner: float, loser: float, margin: int
) -> None:
    over, under = boundary_distances(np.float32([winner]), np.float32([loser]), margin)
    ahead = np.floor(winner + 0.5) >= np.floor(loser + 0.5) + margin
    if min(abs(over[0]), abs(under[0])) > 1e-4:
        assert (over[0] > 0 and under[0] > 0) == ahead


def test_no_exchange_without_time() -> None:
    network, chain, box, _, reach = posed(0)
    levels = first_levels(network, chain, inputs(box, 0, 1))[0]
    asked = Surrogate(network), chain.units.value, reach, levels, np.arange(6), WANTED
    assert (exchange(*asked, room=0.01, deadline=0.0) == levels).all()
    assert reach.inputs(levels, room=0.01, deadline=0.0) is None
