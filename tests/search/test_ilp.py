"""Stage `ilp` decides, exactly, under hard limits; floats prove nothing."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from bvverify.network import Gather, NetworkBuilder, Product
from bvverify.queries import LevelBox, Robustness
from bvverify.search import BitvectorSolver, Obstacle, Outcome, Stage, decide
from bvverify.search.ilp import OpenWay, ProgramQuestion, ProgramSolver, solve_programs, ways_open_to_bounds
from bvverify.solvers import Status
from bvverify.solvers.integer import CP_SAT, INTEGER_BACKENDS, IntegerBackend, ProgramAnswer
from tests.encode.questions import Question, questions
from tests.networks import violates

from .digits import digits, edges
from .test_limits import LEEWAY, hard


@pytest.fixture(scope="module")
def solver() -> Iterator[BitvectorSolver]:
    with BitvectorSolver("bitwuzla") as opened:
        yield opened


def test_the_stage_agrees_with_enumeration(solver: BitvectorSolver) -> None:
    seen: Counter[Outcome] = Counter()

    @given(questions())
    @settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    def agrees(question: Question) -> None:
        decision = decide(
            question.network, question.box, question.property, solver=solver, seconds=60, stages=(Stage.ILP,)
        )
        seen[decision.outcome] += 1
        assert decision.stage == "ilp"
        assert decision.solver.startswith("cp-sat ")
        if decision.outcome is Outcome.UNKNOWN:
            assert decision.reason.endswith("is not linear")
            assert any(isinstance(node.operation, Product) for node in question.network.nodes)
        else:
            assert decision.outcome is (Outcome.VIOLATED if question.violated() else Outcome.ROBUST)
        if decision.witness is not None:
            assert question.box.contains(decision.witness)
            assert violates(question.property, question.network.evaluate(decision.witness[None])[0].tolist())

    agrees()
    assert min(seen[Outcome.VIOLATED], seen[Outcome.ROBUST]) >= 20


@pytest.mark.parametrize("backend", INTEGER_BACKENDS, ids=lambda backend: backend.name)
def test_questions_about_digits(backend: IntegerBackend) -> None:
    for edge in edges(6):
        ways = ways_open_to_bounds(digits().network, edge.box, edge.question)
        solved = solve_programs(ProgramQuestion(digits().network, edge.box, ways), backend)
        assert solved.status is (Status.SAT if edge.violated else Status.UNSAT)
        if solved.witness is not None:
            assert edge.box.contains(solved.witness)
            assert edge.question.violated_by(digits().network.evaluate(solved.witness[None]))[0]


def test_a_solver_that_gives_up_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    builder, box, question = copies(8)
    network = builder.build()
    (way,) = question.ways()
    request = ProgramQuestion(network, box, [OpenWay(way, network.interval(box.lower, box.upper))])
    assert solve_programs(request, CP_SAT).status is Status.UNSAT
    monkeypatch.setattr("bvverify.search.ilp.solve_program", lambda *_: ProgramAnswer(Status.UNKNOWN, reason="tired"))
    solved = solve_programs(request, CP_SAT)
    assert (solved.status, solved.witness, solved.reason) == (Status.UNKNOWN, None, "tired")


def test_the_time_limit_is_hard_and_the_next_question_is_answered() -> None:
    network, easy = digits().network, edges(1)[0]
    ways = ways_open_to_bounds(network, easy.box, easy.question)
    with BitvectorSolver("bitwuzla") as solver:
        solver.programs.decide(network, easy.box, ways, seconds=60)  # the child process runs from here on
        started = time.perf_counter()
        decision = decide(network, *hard(), solver=solver, seconds=0.1, stages=(Stage.ILP,))
        assert time.perf_counter() - started < 0.1 + LEEWAY
        assert (decision.outcome, decision.obstacle, decision.reason) == (Outcome.UNKNOWN, Obstacle.TIME, "time: 0.1 s")
        decision = solver.programs.decide(network, easy.box, ways, seconds=60)
        assert decision.outcome is Outcome.VIOLATED


def test_a_lack_of_memory_is_no_answer() -> None:
    random = np.random.default_rng(0)
    builder = NetworkBuilder(lower=[0] * 900, upper=[9] * 900)
    builder.dense(random.integers(-9, 10, (600, 900)), [0] * 600)
    builder.clamp(0, 255)
    builder.dense(random.integers(-9, 10, (2, 600)), [0, 0])
    network, box = builder.build(), LevelBox.of([0] * 900, [9] * 900)
    ways = ways_open_to_bounds(network, box, Robustness(0, 2))
    with ProgramSolver(memory_bytes=2**28) as solver:
        decision = solver.decide(network, box, ways, seconds=60)
    assert decision.outcome is Outcome.UNKNOWN
    assert decision.obstacle in (Obstacle.MEMORY, Obstacle.CRASH)


def copies(size: int) -> tuple[NetworkBuilder, LevelBox, Robustness]:
    """Return a network with outputs (s, s), where s is the sum of `size` bits, which no bound orders."""
    builder = NetworkBuilder(lower=[0] * size, upper=[1] * size)
    builder.dense([[1] * size] * 2, [0, 0])
    return builder, LevelBox.of([0] * size, [1] * size), Robustness(0, 2)


def test_programs_are_asked_before_bitvectors(solver: BitvectorSolver) -> None:
    builder, box, question = copies(8)
    stages = (Stage.INTERVALS, Stage.ILP, Stage.BITVECTOR)
    decision = decide(builder.build(), box, question, solver=solver, seconds=60, stages=stages)
    assert (decision.outcome, decision.stage) == (Outcome.ROBUST, "ilp")


def test_what_is_not_linear_is_left_to_bitvectors(solver: BitvectorSolver) -> None:
    builder, box, question = copies(8)
    both = builder.append(Product(), builder.value, builder.append(Gather([[1, 0]]), builder.value))
    builder.resume(both, np.arange(2))
    network = builder.build()
    decision = decide(network, box, question, solver=solver, seconds=60, stages=(Stage.ILP,))
    assert (decision.outcome, decision.obstacle) == (Outcome.UNKNOWN, Obstacle.SOLVER)
    decision = decide(network, box, question, solver=solver, seconds=60, stages=(Stage.ILP, Stage.BITVECTOR))
    assert (decision.outcome, decision.stage) == (Outcome.ROBUST, "bitvector")


def test_the_process_does_without_torch() -> None:
    code = "import sys; import bvverify.search.ilp_worker, bvverify.solvers.cpsat; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
