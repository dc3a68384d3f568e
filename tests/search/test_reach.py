"""What inputs are said to reach they reach, and levels that inputs give are found again."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bvverify.network import IntArray
from bvverify.queries import LevelBox
from bvverify.search.chain import Chain
from bvverify.search.reach import Approach, Reach
from bvverify.search.stairs import Stairs
from tests.search.networks import first_levels, hidden

SEEDS = st.integers(0, 2**32 - 1)
SLOW = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
ROOM = 0.03


def posed(seed: int) -> tuple[Chain, LevelBox, Stairs, Reach, IntArray]:
    """Return a small chain, a box, what its first layer reaches, and some inputs of the box."""
    random = np.random.default_rng(seed)
    chain = Chain.of(hidden(random, 1))
    assert chain is not None
    middle = random.integers(2, 8, 8)
    box = LevelBox.of(middle - 2, middle + 2)
    stairs = Stairs.of(chain.first, chain.units.channel, chain.units.offset[:, 0])
    points = random.integers(box.lower, box.upper + 1, (20, 8))
    return chain, box, stairs, Reach(chain.units, stairs, box, room=ROOM), points


def sums_of(chain: Chain, points: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.einsum("up,nup->nu", chain.units.weight[:, 0], points[:, chain.units.inputs])


@given(SEEDS)
@SLOW
def test_sums_lie_between_the_ends_of_their_levels(seed: int) -> None:
    chain, _, stairs, _, points = posed(seed)
    levels, sums = first_levels(chain, points), sums_of(chain, points)
    for level, total in zip(levels.tolist(), sums.tolist(), strict=True):
        for unit in range(6):
            low, high = stairs.between(unit, level[unit], room=0.0)
            assert low - 1e-9 <= stairs.slope[unit] * total[unit] <= high + 1e-9
            if level[unit] < stairs.top:
                assert np.isclose(stairs.between(unit, level[unit] + 1, room=0.0)[0], high + stairs.slope[unit])


@given(SEEDS)
@SLOW
def test_lines_begin_where_levels_begin_to_rise(seed: int) -> None:
    """Where all steps are equally wide the line through them reaches each level where it ends."""
    _, _, stairs, _, _ = posed(seed)
    for unit in range(6):
        low, _ = stairs.between(unit, stairs.base + 3, room=0.0)
        assert np.isclose(low - stairs.slope[unit] * stairs.start[unit], 2)


@given(SEEDS)
@SLOW
def test_inputs_come_near_to_levels_that_inputs_give(seed: int) -> None:
    """All at once, from the middle of the box."""
    chain, box, _, reach, points = posed(seed)
    levels = first_levels(chain, points)
    middle = (box.lower + box.upper) // 2
    found = reach.approach(levels, reach.start(middle), steps=2000)
    assert found.missed.max() <= ROOM + 0.05


@given(SEEDS)
@SLOW
def test_what_is_missed_is_what_points_miss(seed: int) -> None:
    """Of any levels: nothing is said to be nearer than it is, and points lie in the box."""
    chain, box, stairs, reach, points = posed(seed)
    levels = np.random.default_rng(seed).integers(0, 13, (20, 6))
    found = reach.approach(levels, reach.start(points[0]), steps=30)
    assert (np.abs(found.point) <= 1).all()
    inputs = (box.lower + box.upper) / 2 + found.point * (box.upper - box.lower) / 2
    sums = stairs.slope * sums_of(chain, inputs)
    for row in range(20):
        ends = np.array([stairs.between(unit, int(levels[row, unit]), room=ROOM) for unit in range(6)])
        missed = np.maximum(np.maximum(ends[:, 0] - sums[row], sums[row] - ends[:, 1]), 0).max()
        assert np.isclose(found.missed[row], missed, atol=2e-5)  # sums of up to forty levels, in 24 bits


@given(SEEDS)
@SLOW
def test_rows_are_approached_alone(seed: int) -> None:
    """What is found for some levels does not depend on the others."""
    chain, _, _, reach, points = posed(seed)
    levels, start = first_levels(chain, points), reach.start(points[0])
    together = reach.approach(levels, start, steps=20)
    rows = np.array([3, 1])
    again = reach.approach(levels[rows], together.only(rows), steps=20)
    once = reach.approach(levels, together, steps=20).only(rows)
    np.testing.assert_allclose(again.point, once.point, atol=1e-5)  # products of fewer rows may add up in another order


def test_settled_inputs_give_the_levels_that_inputs_came_near_to() -> None:
    """Not always: there are few inputs, and each moves the sums by much; never outside the box."""
    kept = 0
    for seed in range(50):
        chain, box, _, reach, points = posed(seed)
        levels = first_levels(chain, points[:1])
        found: Approach = reach.approach(levels, reach.start(points[1]), steps=500)
        settled = reach.settled(levels[0], found.point[0], deadline=math.inf)
        assert box.contains(settled)
        kept += bool((first_levels(chain, settled[None]) == levels).all())
    assert kept > 25


def test_moves_mend_what_rounding_breaks() -> None:
    """Points between inputs, rounded, give other levels; moves lead back to them."""
    mended, broken = 0, 0
    for seed in range(50):
        chain, box, _, reach, points = posed(seed)
        levels = first_levels(chain, points[:1])
        found = reach.approach(levels, reach.start(points[1]), steps=500)
        rounded = np.rint((box.lower + box.upper) / 2 + found.point[0] * (box.upper - box.lower) / 2).astype(np.int64)
        if (first_levels(chain, rounded[None]) != levels).any():
            broken += 1
            settled = reach.settled(levels[0], found.point[0], deadline=math.inf)
            mended += bool((first_levels(chain, settled[None]) == levels).all())
    assert broken
    assert mended > broken / 3
