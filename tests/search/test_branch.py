"""Branch and bound agrees with enumeration, whatever its budget."""

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bvverify.bounds.descent import Effort
from bvverify.bounds.hull import NetworkHulls
from bvverify.bounds.relaxation import Relaxation
from bvverify.network import Gather, Max, NetworkBuilder, Step, StepNetwork, shift_rule
from bvverify.queries import LevelBox, Overtaking, Robustness
from bvverify.search import Outcome, Stage, decide
from bvverify.search.bitvector import BitvectorSolver
from bvverify.search.branch import BranchBudget, Branched, Branching
from bvverify.search.claim_bounds import ClaimBounds
from bvverify.search.claims import claim
from bvverify.search.linear import linear_bounds
from bvverify.search.subproblem import Subproblem
from bvverify.solvers import installed
from tests.encode.questions import Question, questions, targeted_questions
from tests.networks import points_of, violates
from tests.search.digits import digits, edges
from tests.search.test_neighbourhood import convolution

SMALL = BranchBudget(
    nodes=12, first_steps=10, deep_descents=1, steps=6, split_steps=6, tighten_steps=5, rounds=2, free_inputs=0
)


def branched(question: Question, budget: BranchBudget) -> Branched:
    """Pursue all ways, also those that bounds exclude."""
    asked = question.network, question.box, question.property
    values = question.network.interval(question.box.lower, question.box.upper)
    search = Branching(*asked, question.property.ways(), values, budget=budget, deadline=time.monotonic() + 300)
    for part in (search.bound, search.deepen):
        if (found := part()).proved or found.witness is not None:
            return found
    return search.split(until=math.inf)


def agree(question: Question, found: Branched) -> None:
    if found.proved:
        assert not question.violated()
    if found.witness is not None:
        assert question.box.contains(found.witness)
        assert violates(question.property, question.network.evaluate(found.witness[None])[0].tolist())


@pytest.mark.parametrize("free_inputs", [0, 64])
def test_branch_and_bound_agrees_with_enumeration(free_inputs: int) -> None:
    seen: Counter[str] = Counter()

    @given(questions() | targeted_questions())
    @settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    def agrees(question: Question) -> None:
        found = branched(question, replace(SMALL, free_inputs=free_inputs))
        agree(question, found)
        seen["robust"] += not question.violated()
        seen["proved"] += found.proved
        seen["met"] += found.witness is not None

    agrees()
    assert seen["proved"] >= 0.6 * seen["robust"]
    assert seen["met"] >= 20


def pooled(seed: int) -> Question:
    """Return a question about maxima of stairs over pairs of sums, with a dense layer behind, near a violation."""
    random = np.random.default_rng(seed)
    builder = NetworkBuilder(lower=[0] * 4, upper=[4] * 4)
    builder.dense(random.integers(-5, 6, (8, 4)), random.integers(-5, 6, 8))
    builder.append(Step(0, np.sort(random.integers(-30, 40, (1, 6)), axis=1)), builder.value)
    windows = builder.append(Gather(np.arange(8).reshape(4, 2)), builder.value)
    builder.append(Max(), windows)
    weight = random.integers(-5, 6, (2, 4))
    network = builder.build()
    box = LevelBox.of([0] * 4, [4] * 4)
    most = int((network.evaluate(points_of(box)) @ (weight[1] - weight[0])).max())
    builder.dense(weight, [most + int(random.choice([-1, 0, 3, 6])), 0])
    return Question(builder.build(), box, Robustness(0, 2))


@pytest.mark.parametrize("free_inputs", [0, 4])
def test_maxima_of_sums_are_split_as_a_whole_or_at_inputs(free_inputs: int) -> None:
    proved = 0
    for seed in range(24):
        question = pooled(seed)
        found = branched(question, replace(SMALL, nodes=120, free_inputs=free_inputs))
        agree(question, found)
        assert not question.violated() or not found.proved
        proved += found.proved
    assert proved >= 6


def test_boxes_at_the_edge_of_robustness() -> None:
    proved = 0
    for edge in edges(40):
        found = branched(Question(digits().network, edge.box, edge.question), SMALL)
        assert not (found.proved and edge.violated)
        proved += found.proved
    assert proved >= 10


def test_equal_budgets_give_equal_answers() -> None:
    edge = next(edge for edge in edges(40) if not edge.violated)
    question = Question(digits().network, edge.box, edge.question)
    runs = [branched(question, SMALL) for _ in range(2)]
    assert runs[0].nodes == runs[1].nodes
    assert runs[0].missing == runs[1].missing


def test_forms_from_joint_bounds_hold_wherever_claims_do() -> None:
    """What integers certify of a claim, a form in the inputs, is not negative at any input for which it holds."""
    seen: Counter[str] = Counter()
    for seed in range(40):
        random = np.random.default_rng(seed)
        network = convolution(random)
        center = random.integers(1, 9, network.lower.shape)
        reach = np.zeros(center.size, dtype=np.int64)
        reach[random.permutation(center.size)[:6]] = 1
        box = LevelBox.of(center - reach.reshape(center.shape), center + reach.reshape(center.shape))
        values, points = network.interval(box.lower, box.upper), points_of(box)
        relaxation = Relaxation(NetworkHulls(network).around(values))
        for winner, loser in ((0, 1), (1, 2), (2, 0)):
            implied = claim(network, values, Overtaking(winner, loser, int(random.integers(-12, 9))))
            if implied is None:
                continue
            bounds, problem = ClaimBounds(relaxation, implied), Subproblem(list(values), None)
            bounds.descend([problem], Effort(5, 0.1, math.inf))
            if not bounds.add_joints(problem):
                continue
            bounds.descend([problem], Effort(20, 0.1, math.inf))
            certified = bounds.certified_form(problem)
            assert certified is not None
            form, constant = certified
            (reached,) = network.evaluate_values(points, [implied.value])
            holding = reached.reshape(len(points), -1) @ implied.row + implied.constant >= implied.threshold
            assert (points[holding].reshape(-1, len(form)) @ form + constant >= 0).all()
            seen["joint"] += 1
            seen["holding"] += bool(holding.any())
            seen["closed"] += problem.closed
    assert min(seen["joint"], seen["holding"]) >= 20
    assert seen["closed"] >= 2


def bump(width: int, place: int) -> tuple[StepNetwork, LevelBox, Robustness]:
    """Return a network whose second output beats the first for one sum of the inputs only: `place`."""
    builder = NetworkBuilder(lower=[0] * width, upper=[9] * width)
    builder.dense([[1] * width, [1] * width], [-place, -place - 1])
    builder.step(shift_rule(multiplier=np.array([1, 1]), shift=0, zero_point=1, lower=0, upper=1))
    builder.dense([[0, 0], [2, -2]], [1, 0])
    return builder.build(), LevelBox.of([0] * width, [9] * width), Robustness(0, 2)


@pytest.mark.parametrize("place", [0, 1, 17, 26, 27])
def test_a_lone_counterexample_is_never_called_robust(place: int) -> None:
    """All surrogates are flat around it, so that gradients do not find it."""
    network, box, property_ = bump(3, place)
    budget = BranchBudget(nodes=60, first_steps=20, steps=10)
    agree(Question(network, box, property_), branched(Question(network, box, property_), budget))
    with BitvectorSolver(installed()[0]) as solver:
        asked: Sequence[Stage] = (Stage.BOUNDS, Stage.BRANCH, Stage.BITVECTOR)
        assert decide(network, box, property_, solver=solver, seconds=60, stages=asked).outcome is Outcome.VIOLATED


def test_a_bump_beyond_the_box_is_excluded() -> None:
    network, box, property_ = bump(3, 28)
    assert branched(Question(network, box, property_), SMALL).proved


@pytest.mark.parametrize("size", [2**20, 2**34, 2**40, 2**44])
@pytest.mark.parametrize("label", [0, 1])
def test_huge_accumulators_prove_nothing_wrong(size: int, label: int) -> None:
    builder = NetworkBuilder(lower=[0, 0], upper=[3, 3])
    builder.dense([[size, -size], [3, 2 * size]], [0, 5])
    builder.step(Step(0, np.array([[-size, 0, size, 2 * size], [size, 2 * size, 4 * size, 6 * size]])))
    builder.dense([[1, -1], [-1, 1]], [0, 0])
    builder.step(Step(0, np.array([[0], [0]])))
    question = Question(builder.build(), LevelBox.of([0, 0], [3, 1]), Robustness(label, 2))
    agree(question, branched(question, SMALL))


@given(questions(), st.integers(1, 3))
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_a_search_without_time_proves_nothing_wrong(question: Question, nodes: int) -> None:
    asked = question.network, question.box, question.property
    bounded = linear_bounds(*asked)
    ways = [way for _, way in bounded.ways]
    search = Branching(*asked, ways, bounded.values, budget=BranchBudget(nodes=nodes), deadline=time.monotonic())
    for found in (search.bound(), search.deepen(), search.split(until=math.inf)):
        agree(question, found)


def test_the_pipeline_says_what_is_missing() -> None:
    edge = next(edge for edge in edges(105) if not edge.violated and edge.box.lower.size)
    with BitvectorSolver(installed()[0]) as solver:
        stages = (Stage.BRANCH,)
        decision = decide(digits().network, edge.box, edge.question, solver=solver, seconds=0.0, stages=stages)
    if decision.outcome is Outcome.UNKNOWN:
        assert decision.nodes is not None
        assert decision.missing is not None
        assert decision.missing > 0
