"""Targeted robustness: every stage decides exactly whether one class is ever predicted."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import bvverify as bv
from bvverify.network import NetworkBuilder
from bvverify.queries import LevelBox, Robustness
from bvverify.search import BitvectorSolver, Outcome, Stage, decide
from bvverify.search.intervals import interval_gap
from bvverify.search.linear import linear_gap
from bvverify.solvers import installed
from tests.encode.questions import Question, targeted_questions
from tests.networks import violates

unhurried = settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)


def decisions(stages: Iterable[Stage]) -> Counter[tuple[Outcome, str]]:
    """Compare with enumeration; return how often each stage decided what."""
    seen: Counter[tuple[Outcome, str]] = Counter()
    with BitvectorSolver(installed()[0]) as solver:

        @given(targeted_questions())
        @unhurried
        def agrees(asked: Question) -> None:
            decision = decide(asked.network, asked.box, asked.property, solver=solver, seconds=60, stages=tuple(stages))
            assert decision.outcome is (Outcome.VIOLATED if asked.violated() else Outcome.ROBUST)
            if decision.witness is not None:
                assert violates(asked.property, asked.network.evaluate(decision.witness[None])[0].tolist())
            seen[decision.outcome, decision.stage] += 1

        agrees()
    return seen


def test_the_solver_agrees_with_enumeration() -> None:
    seen = decisions([Stage.BITVECTOR])
    assert min(seen[Outcome.VIOLATED, "bitvector"], seen[Outcome.ROBUST, "bitvector"]) >= 20


def test_all_stages_together_agree_with_enumeration() -> None:
    seen = decisions(Stage)
    assert seen[Outcome.ROBUST, "intervals"] >= 20
    assert seen[Outcome.VIOLATED, "attack"] >= 20
    assert seen[Outcome.VIOLATED, "attack"] > 10 * seen[Outcome.VIOLATED, "bitvector"]


@given(targeted_questions())
@unhurried
def test_bounds_prove_only_what_holds(asked: Question) -> None:
    for gap in (interval_gap, linear_gap):
        if gap(asked.network, asked.box, asked.property) == 0:
            assert not asked.violated()


def staircase() -> tuple[bv.StepNetwork, LevelBox]:
    """Return outputs (3, x, 9 - x) for x in 0 to 5: class 1 overtakes class 0, but it is never ahead of class 2 as well
    below x = 5; class 0 never wins.
    """
    builder = NetworkBuilder(lower=[0], upper=[9])
    builder.dense([[0], [1], [-1]], [3, 0, 9])
    return builder.build(), LevelBox.of([0], [5])


@pytest.mark.parametrize("stages", [(Stage.INTERVALS, Stage.ATTACK), (Stage.BITVECTOR,), tuple(Stage)])
def test_overtaking_the_label_alone_violates_nothing(stages: tuple[Stage, ...]) -> None:
    network, box = staircase()
    below = LevelBox.of([0], [4])
    questions = [Robustness(2, 3, forbidden=1), Robustness(0, 3, forbidden=1)]
    assert [bv.verify_network(network, box, one, stages=stages).outcome for one in questions] == ["violated"] * 2
    if Stage.BITVECTOR in stages:
        assert [bv.verify_network(network, below, one, stages=stages).outcome for one in questions] == ["robust"] * 2
        assert bv.verify_network(network, box, Robustness(2, 3, forbidden=0), stages=stages).outcome == "robust"


def test_one_unbeaten_class_is_a_proof() -> None:
    """Class 1 overtakes the label 0, yet class 2 stays ahead of it by the intervals alone."""
    builder = NetworkBuilder(lower=[0], upper=[9])
    builder.dense([[0], [1], [1]], [3, 0, 10])
    asked = builder.build(), LevelBox.of([0], [9]), Robustness(0, 3, forbidden=1)
    assert interval_gap(*asked) == 0
    assert interval_gap(*asked[:2], Robustness(0, 3)) == 16


def test_the_closest_lead_is_that_of_the_class_ahead() -> None:
    network, _ = staircase()
    decision = bv.verify_network(network, LevelBox.of([2], [3]), Robustness(0, 3, forbidden=1), stages=[Stage.ATTACK])
    assert (decision.outcome, decision.closest) == (Outcome.UNKNOWN, 3.0)
    assert np.array_equal(network.evaluate([[3]]), [[3, 3, 6]])
