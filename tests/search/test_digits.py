"""On the digits network every solver says what enumeration says, in boxes on the edge between robust and violated."""

import numpy as np
import pytest

from bvverify.search import BitvectorSolver, Outcome, decide, proved_by_intervals
from bvverify.solvers import installed

from .digits import digits, edges

PAIRS = 105


def test_both_answers_are_well_represented() -> None:
    assert len(edges(PAIRS)) == 210
    robust = [edge for edge in edges(PAIRS) if not edge.violated]
    assert len(robust) == 105
    free = [int((edge.box.lower < edge.box.upper).sum()) for edge in edges(PAIRS)]
    assert min(free.count(n) for n in (1, 2, 3)) >= 30
    unproved = [edge for edge in robust if not proved_by_intervals(digits().network, edge.box, edge.question)]
    assert len(unproved) >= 30


@pytest.mark.parametrize("name", installed())
def test_solvers_agree_with_enumeration(name: str) -> None:
    network = digits().network
    with BitvectorSolver(name) as solver:
        for edge in edges(PAIRS):
            decision = solver.decide(network, edge.box, edge.question, seconds=60)
            assert decision.outcome is (Outcome.VIOLATED if edge.violated else Outcome.ROBUST)
            if decision.witness is not None:
                assert edge.box.contains(decision.witness)
                assert edge.question.violated_by(network.evaluate(decision.witness[None])).all()


def test_intervals_prove_no_violated_box() -> None:
    violated = [edge for edge in edges(PAIRS) if edge.violated]
    assert not any(proved_by_intervals(digits().network, edge.box, edge.question) for edge in violated)


def test_the_pipeline_agrees_with_enumeration() -> None:
    network = digits().network
    stages = set()
    with BitvectorSolver(installed()[0]) as solver:
        for edge in edges(PAIRS)[:60]:
            decision = decide(network, edge.box, edge.question, solver=solver, seconds=60)
            assert decision.outcome is (Outcome.VIOLATED if edge.violated else Outcome.ROBUST)
            stages.add(decision.stage)
    assert stages == {"intervals", "attack", "ilp"}


def test_an_edge_is_one_step_wide() -> None:
    for violated, robust in zip(edges(PAIRS)[::2], edges(PAIRS)[1::2], strict=True):
        assert violated.violated
        assert not robust.violated
        assert (violated.box.lower <= robust.box.lower).all()
        assert (violated.box.upper >= robust.box.upper).all()
        assert int(np.max([robust.box.lower - violated.box.lower, violated.box.upper - robust.box.upper])) == 1
