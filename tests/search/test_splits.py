"""Splits lose no input and meet none twice."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from bvverify.bounds.descent import Effort
from bvverify.bounds.hull import NetworkHulls
from bvverify.bounds.relaxation import Relaxation
from bvverify.queries import Overtaking
from bvverify.search.claim_bounds import ClaimBounds
from bvverify.search.claims import claim
from bvverify.search.splits import Split, best_split, halves
from bvverify.search.subproblem import Bounds, Subproblem
from tests.encode.questions import Question
from tests.networks import points_of
from tests.search.test_branch import pooled
from tests.search.test_campaign import question


def holds(problem: Subproblem, values: list[Bounds]) -> bool:
    """Return whether the values of the network at one input lie in a part that is not closed."""
    between = zip(values, problem.values, strict=True)
    return not problem.closed and all(
        bool((low <= exact).all() and (exact <= high).all()) for (exact, _), (low, high) in between
    )


def first_split(asked: Question, free_inputs: int) -> tuple[Subproblem, Split] | None:
    """Return a split of the box for a claim that holds at some input, None if there is nothing to split."""
    bounds = asked.network.interval(asked.box.lower, asked.box.upper)
    outputs = asked.network.evaluate(points_of(asked.box))
    relaxation = Relaxation(NetworkHulls(asked.network).around(bounds))
    for winner, loser in itertools.permutations(range(asked.network.outputs), 2):
        most = int((outputs[:, winner] - outputs[:, loser]).max())
        implied = claim(asked.network, bounds, Overtaking(winner, loser, most))
        assert implied is not None
        problem = Subproblem(list(bounds), None)
        ClaimBounds(relaxation, implied).descend([problem], Effort(5, 0.1, math.inf))
        if (split := best_split(relaxation.hulls, problem, free_inputs=free_inputs)) is not None:
            return problem, split
    return None


@pytest.mark.parametrize(("free_inputs", "kind"), [(0, "unit"), (64, "input")])
def test_every_input_is_in_one_half(free_inputs: int, kind: str) -> None:
    seen: Counter[str] = Counter()
    for asked in [question(np.random.default_rng(seed)) for seed in range(40)] + [pooled(seed) for seed in range(5)]:
        if (found := first_split(asked, free_inputs)) is None:
            continue
        problem, split = found
        parts = halves(asked.network, problem, split)
        points = points_of(asked.box)
        for point in points[:: 1 + len(points) // 50]:
            values = asked.network.interval(point, point)
            assert sum(holds(part, values) for part in parts) == 1
        seen["input" if split.sums == 0 else "unit"] += 1
    assert seen[kind] >= 12
    assert kind == "input" or seen["input"] == 0
