"""Splits lose no input and meet none twice."""

import math
from collections import Counter

import pytest
from hypothesis import HealthCheck, assume, given, settings

from bvverify.bounds.descent import Effort
from bvverify.bounds.hull import NetworkHulls
from bvverify.bounds.relaxation import Relaxation
from bvverify.search.claim_bounds import ClaimBounds
from bvverify.search.claims import claim
from bvverify.search.splits import best_split, halves
from bvverify.search.subproblem import Bounds, Subproblem
from tests.encode.questions import Question, questions
from tests.networks import points_of
from tests.search.test_branch import pooled


def holds(problem: Subproblem, values: list[Bounds]) -> bool:
    """Return whether the values of the network at one input lie in a part that is not closed."""
    between = zip(values, problem.values, strict=True)
    return not problem.closed and all(
        bool((low <= exact).all() and (exact <= high).all()) for (exact, _), (low, high) in between
    )


def kind_of_split(question: Question, few_inputs: int) -> str:
    """Split the box of a question, look where its inputs went, and return what was split."""
    network, box = question.network, question.box
    bounds = network.interval(box.lower, box.upper)
    claims = [found for way in question.property.ways() for part in way if (found := claim(network, bounds, part))]
    relaxation = Relaxation(NetworkHulls(network).around(bounds))
    for implied in claims:
        problem = Subproblem(list(bounds), None)
        ClaimBounds(relaxation, implied).descend([problem], Effort(5, 0.1, math.inf))
        if (split := best_split(relaxation.hulls, problem, few_inputs=few_inputs)) is not None:
            break
    else:
        return "none"
    parts = halves(network, problem, split)
    for point in points_of(box):
        values = network.interval(point, point)
        assert sum(holds(part, values) for part in parts) == 1
    return "input" if split.sums == 0 else "unit"


@pytest.mark.parametrize(("few_inputs", "kind"), [(0, "unit"), (64, "input")])
def test_every_input_is_in_one_half(few_inputs: int, kind: str) -> None:
    seen: Counter[str] = Counter()

    @given(questions())
    @settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    def in_one_half(question: Question) -> None:
        assume(len(points_of(question.box)) <= 400)
        seen[kind_of_split(question, few_inputs)] += 1

    in_one_half()
    print(seen)
    assert seen[kind] >= 10
    assert {kind_of_split(pooled(seed), few_inputs) for seed in range(3)} == {kind}
