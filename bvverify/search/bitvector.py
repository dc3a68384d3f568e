"""Stage `bitvector`: the whole question as one bit-vector formula, solved in a child process with hard limits."""

from dataclasses import dataclass

from bvverify.child import Child, ChildCpuTimeout, ChildDied, ChildTimeout
from bvverify.closing import Closing
from bvverify.network import IntArray, StepNetwork
from bvverify.queries import LevelBox, Robustness
from bvverify.search.decision import Decision, Obstacle, Outcome, Stage
from bvverify.solvers import Answer, Status, backend, version


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

    def __init__(self, name: str, *, memory_bytes: int | None = None, cpu_seconds: float | None = None) -> None:
        """Prepare the solver `name`, with limits of memory and of CPU time per question; raise `SolverUnavailable` if
        it is unknown or not installed.
        """
        self._name = backend(name).name
        self._label = f"{name} {version(name)}"
        self._child = Child("bvverify.search.bitvector_worker", memory_bytes=memory_bytes, cpu_seconds=cpu_seconds)
        self._cpu_seconds = cpu_seconds

    @property
    def label(self) -> str:
        """The solver and its version."""
        return self._label

    def decide(self, network: StepNetwork, box: LevelBox, question: Robustness, *, seconds: float) -> Decision:
        """Return the solver's answer, or UNKNOWN with what stood in the way.

        `seconds` of wall clock hold for building the formula and for solving it together.
        """
        try:
            solved: Solved = self._child.request(Question(network, box, question, self._name), seconds=seconds)
        except ChildCpuTimeout:
            return self._unknown(Obstacle.CPU, f"CPU time: {self._cpu_seconds:g} s")
        except ChildTimeout:
            return self._unknown(Obstacle.TIME, f"time: {seconds:g} s")
        except MemoryError:
            return self._unknown(Obstacle.MEMORY, "memory")
        except ChildDied as death:
            return self._unknown(Obstacle.CRASH, f"solver process ended: {death}")
        match solved.answer.status:
            case Status.UNSAT:
                return Decision(Outcome.ROBUST, Stage.BITVECTOR, self._label)
            case Status.SAT:
                return Decision(Outcome.VIOLATED, Stage.BITVECTOR, self._label, witness=solved.witness)
            case Status.UNKNOWN:
                reason = solved.answer.reason
                return self._unknown(Obstacle.MEMORY if reason == "memory" else Obstacle.SOLVER, reason)

    def close(self) -> None:
        """End the child process."""
        self._child.close()

    def _unknown(self, obstacle: Obstacle, reason: str) -> Decision:
        return Decision(Outcome.UNKNOWN, Stage.BITVECTOR, self._label, reason=reason, obstacle=obstacle)
