from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from bvverify.errors import InternalError, SolverUnavailable, UsageError
from bvverify.network import Gather, Lookup, NetworkBuilder, Product, StepNetwork
from bvverify.queries import LevelBox, Robustness
from bvverify.search import (
    BitvectorSolver,
    Decision,
    Obstacle,
    Outcome,
    Stage,
    decide,
    known_status,
    proved_by_intervals,
    read_stages,
)
from bvverify.solvers import installed
from tests.encode.questions import Question, questions
from tests.networks import points_of, violates

PROVERS = (Stage.INTERVALS, Stage.BITVECTOR)


@pytest.fixture(scope="module", params=installed())
def solver(request: pytest.FixtureRequest) -> Iterator[BitvectorSolver]:
    with BitvectorSolver(request.param) as opened:
        yield opened


def test_decide_agrees_with_enumeration(solver: BitvectorSolver) -> None:
    seen: Counter[tuple[Outcome, str]] = Counter()

    @given(questions())
    @settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    def agrees(question: Question) -> None:
        decision = decide(question.network, question.box, question.property, solver=solver, seconds=60, stages=PROVERS)
        assert decision.outcome is (Outcome.VIOLATED if question.violated() else Outcome.ROBUST)
        assert (decision.witness is not None) == (decision.outcome is Outcome.VIOLATED)
        if decision.witness is not None:
            assert question.box.contains(decision.witness)
            assert violates(question.property, question.network.evaluate(decision.witness[None])[0].tolist())
        assert bool(decision.solver) == (decision.stage == "bitvector")
        seen[decision.outcome, decision.stage] += 1

    agrees()
    assert seen[Outcome.VIOLATED, "bitvector"] >= 20
    assert seen[Outcome.ROBUST, "intervals"] >= 20
    assert seen[Outcome.ROBUST, "bitvector"] >= 1


def test_all_stages_together_agree_with_enumeration() -> None:
    seen: Counter[tuple[Outcome, str]] = Counter()
    with BitvectorSolver(installed()[0]) as solver:

        @given(questions())
        @settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
        def agrees(question: Question) -> None:
            decision = decide(question.network, question.box, question.property, solver=solver, seconds=60)
            assert decision.outcome is (Outcome.VIOLATED if question.violated() else Outcome.ROBUST)
            if decision.witness is not None:
                assert question.box.contains(decision.witness)
                assert violates(question.property, question.network.evaluate(decision.witness[None])[0].tolist())
            seen[decision.outcome, decision.stage] += 1

        agrees()
    assert seen[Outcome.VIOLATED, "attack"] >= 40
    assert seen[Outcome.VIOLATED, "attack"] > 20 * seen[Outcome.VIOLATED, "bitvector"]


@pytest.mark.parametrize("stages", [(Stage.INTERVALS,), (Stage.BOUNDS,), (Stage.ATTACK,), (Stage.BOUNDS, Stage.ATTACK)])
def test_stages_that_do_not_decide_say_so(stages: tuple[Stage, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """A robust box that bounds cannot prove: the outputs are (x * x, x * x), one of them from a table."""
    monkeypatch.delattr(BitvectorSolver, "decide")
    builder = NetworkBuilder(lower=[0], upper=[9])
    squares = builder.append(Product(), 0, 0), builder.append(Lookup(0, [np.arange(10) ** 2]), 0)
    builder.append(Gather(np.array([0, 1])), *squares)
    with BitvectorSolver(installed()[0]) as solver:
        question = builder.build(), LevelBox.of([0], [9]), Robustness(0, 2)
        decision = decide(*question, solver=solver, seconds=5, stages=stages)
    assert (decision.outcome, decision.obstacle, decision.witness) == (Outcome.UNKNOWN, Obstacle.STAGES, None)
    assert decision.stage == stages[-1]
    assert decision.gap == (None if stages == (Stage.ATTACK,) else 81)
    assert decision.closest == (0.0 if Stage.ATTACK in stages else None)


def test_stages_are_read_in_their_order() -> None:
    assert read_stages("bitvector, intervals") == PROVERS
    with pytest.raises(UsageError, match="stage 'luck': expected intervals, bounds, attack"):
        read_stages("intervals,luck")


@given(questions())
@settings(max_examples=500)
def test_intervals_prove_only_what_holds(question: Question) -> None:
    if proved_by_intervals(question.network, question.box, question.property):
        assert not question.violated()


@given(questions())
def test_the_known_status_is_never_wrong(question: Question) -> None:
    sample = points_of(question.box)[0]
    status = known_status(question.network, question.box, question.property, sample)
    assert status in ("unknown", "sat" if question.violated() else "unsat")
    if question.property.violated_by(question.network.evaluate(sample[None])).all():
        assert status == "sat"


def small() -> tuple[StepNetwork, LevelBox, Robustness]:
    """Return outputs (x, 5 - x) for x in 0 to 9, asked about 0 to 6: class 0 is violated below 3."""
    builder = NetworkBuilder(lower=[0], upper=[9])
    builder.dense([[1], [-1]], [0, 5])
    return builder.build(), LevelBox(np.array([0]), np.array([6]), np.array([[0, 1]])), Robustness(0, 2)


def test_an_honest_witness_is_returned(solver: BitvectorSolver) -> None:
    decision = decide(*small(), solver=solver, seconds=60, stages=PROVERS)
    assert decision.outcome is Outcome.VIOLATED
    assert decision.witness in ([0], [2])


@pytest.mark.parametrize("witness", [[3], [6], [7], [1], [-1], [10], [0, 0], [[0]]])
def test_a_bogus_witness_is_an_internal_error(witness: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """It violates nothing, is outside of the box, missing in it, outside of the domain, or no input at all."""
    lie = Decision(Outcome.VIOLATED, "bitvector", "liar 1.0", witness=np.array(witness))
    monkeypatch.setattr(BitvectorSolver, "decide", lambda *_, **__: lie)
    with BitvectorSolver(installed()[0]) as liar, pytest.raises(InternalError, match=r"liar 1\.0"):
        decide(*small(), solver=liar, seconds=1, stages=PROVERS)


def test_a_violation_without_a_witness_is_an_internal_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BitvectorSolver, "decide", lambda *_, **__: Decision(Outcome.VIOLATED, "bitvector", "liar 1.0"))
    with BitvectorSolver(installed()[0]) as liar, pytest.raises(InternalError):
        decide(*small(), solver=liar, seconds=1, stages=PROVERS)


def test_intervals_need_no_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(BitvectorSolver, "decide")
    network, _, question = small()
    with BitvectorSolver(installed()[0]) as solver:
        decision = decide(network, LevelBox.of([3], [6]), question, solver=solver, seconds=1)
    assert (decision.outcome, decision.stage, decision.solver) == (Outcome.ROBUST, "intervals", "")


def test_an_unknown_solver_is_refused() -> None:
    with pytest.raises(SolverUnavailable, match="nonesuch"):
        BitvectorSolver("nonesuch")
