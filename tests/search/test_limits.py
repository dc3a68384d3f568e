"""The time limit is hard, whatever a solver is in, and the next question is answered."""

import time

import pytest

from bvverify.queries import LevelBox, Robustness, predicted_class
from bvverify.search import BitvectorSolver, Outcome, Stage, decide
from bvverify.solvers import installed

from .digits import digits, edges, images

LEEWAY = 1.5


def hard() -> tuple[LevelBox, Robustness]:
    """Every pixel of one image free by 12 levels: no solver answers this soon."""
    network, image = digits().network, images()[0]
    box = LevelBox.of((image - 12).clip(0), image + 12)
    return box, Robustness(int(predicted_class(network.evaluate(image[None]))[0]), network.outputs)


@pytest.mark.parametrize("name", installed())
def test_the_time_limit_holds_and_the_next_question_is_answered(name: str) -> None:
    network, easy = digits().network, edges(1)[0]
    with BitvectorSolver(name) as solver:
        for limit in (1.0, 2.0):
            solver.decide(network, easy.box, easy.question, seconds=60)  # the child process runs from here on
            started = time.perf_counter()
            decision = decide(network, *hard(), solver=solver, seconds=limit, stages=(Stage.BITVECTOR,))
            assert time.perf_counter() - started < limit + LEEWAY
            assert decision.outcome is Outcome.UNKNOWN
            assert decision.reason.startswith("time")
            assert decision.witness is None
            assert decision.solver.startswith(name)
        assert solver.decide(network, easy.box, easy.question, seconds=60).outcome is Outcome.VIOLATED
