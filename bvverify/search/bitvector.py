"""Stage `bitvector`: the whole question as one bit-vector formula, solved in a child process with hard limits."""

from dataclasses import dataclass

from bvverify.child import Child, ChildDied, ChildTimeout
from bvverify.closing import Closing
from bvverify.network import IntArray, StepNetwork
from bvverify.queries import LevelBox, Robustness
from bvverify.search.decision import Decision, Outcome
from bvverify.solvers import Answer, Status, backend, version

STAGE = "bitvector"


@dataclass(frozen=True, eq=False)
class Question:
    """Request to the child: everything that a solver needs to know."""

    network: StepNetwork
    box: LevelBox
    question: Robustness
    solver: str


@dataclass(frozen=True, eq=False)
class Solved:
    """The child's reply."""

    answer: Answer
    witness: IntArray | None
    """With SAT: the network input that the model stands for."""


class BitvectorSolver(Closing):
    """Answers questions with one solver, one at a time; a context manager.  The child process is reused until a
    limit kills it.
    """

    def __init__(self, name: str, *, memory_bytes: int | None = None) -> None:
        """Prepare the solver `name`; raise `SolverUnavailable` if it is unknown or not installed."""
        self._name = backend(name).name
        self._label = f"{name} {version(name)}"
        self._child = Child("bvverify.search.bitvector_worker", memory_bytes=memory_bytes)

    def decide(self, network: StepNetwork, box: LevelBox, question: Robustness, *, seconds: float) -> Decision:
        """Return the solver's answer, or UNKNOWN with the reason: time, memory, or what the solver said.

        `seconds` of wall clock hold for building the formula and for solving it together.
        """
        try:
            solved: Solved = self._child.request(Question(network, box, question, self._name), seconds=seconds)
        except ChildTimeout:
            return self._unknown(f"time: {seconds:g} s")
        except MemoryError:
            return self._unknown("memory")
        except ChildDied as death:
            return self._unknown(f"solver process ended: {death}")
        match solved.answer.status:
            case Status.UNSAT:
                return Decision(Outcome.ROBUST, STAGE, self._label)
            case Status.SAT:
                return Decision(Outcome.VIOLATED, STAGE, self._label, witness=solved.witness)
            case Status.UNKNOWN:
                return self._unknown(solved.answer.reason)

    def close(self) -> None:
        """End the child process."""
        self._child.close()

    def _unknown(self, reason: str) -> Decision:
        return Decision(Outcome.UNKNOWN, STAGE, self._label, reason=reason)
