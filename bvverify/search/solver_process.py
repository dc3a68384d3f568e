"""The child process in which a solver works for a stage: hard limits, and what they mean for the answer."""

from dataclasses import dataclass

from bvverify.child import Child, ChildCpuTimeout, ChildDied, ChildTimeout
from bvverify.closing import Closing
from bvverify.network import IntArray
from bvverify.search.decision import Decision, Obstacle, Outcome, Stage
from bvverify.solvers import Status


@dataclass(frozen=True, eq=False)
class Solved:
    """The child's reply."""

    status: Status
    """Whether some input violates the property."""
    witness: IntArray | None
    """With SAT: the network input that the model stands for."""
    reason: str = ""
    """With UNKNOWN: "memory", or what the solver said."""


class SolverProcess(Closing):
    """Answers the questions of one stage, one at a time.  The child process is reused until a limit kills it."""

    def __init__(
        self, module: str, *, stage: Stage, label: str, memory_bytes: int | None, cpu_seconds: float | None
    ) -> None:
        """Prepare the process that runs `module`, whose replies are `Solved`; `label` names its solver."""
        self._stage, self.label = stage, label
        self._child = Child(module, memory_bytes=memory_bytes, cpu_seconds=cpu_seconds)
        self._cpu_seconds = cpu_seconds

    def decide(self, request: object, *, seconds: float) -> Decision:
        """Return what the solver says about a request, or UNKNOWN with what stood in the way."""
        try:
            solved: Solved = self._child.request(request, seconds=seconds)
        except ChildCpuTimeout:
            return self._unknown(Obstacle.CPU, f"CPU time: {self._cpu_seconds:g} s")
        except ChildTimeout:
            return self._unknown(Obstacle.TIME, f"time: {seconds:g} s")
        except MemoryError:
            return self._unknown(Obstacle.MEMORY, "memory")
        except ChildDied as death:
            return self._unknown(Obstacle.CRASH, f"solver process ended: {death}")
        match solved.status:
            case Status.UNSAT:
                return Decision(Outcome.ROBUST, self._stage, self.label)
            case Status.SAT:
                return Decision(Outcome.VIOLATED, self._stage, self.label, witness=solved.witness)
            case Status.UNKNOWN:
                obstacle = Obstacle.MEMORY if solved.reason == "memory" else Obstacle.SOLVER
                return self._unknown(obstacle, solved.reason)

    def close(self) -> None:
        """End the child process."""
        self._child.close()

    def _unknown(self, obstacle: Obstacle, reason: str) -> Decision:
        return Decision(Outcome.UNKNOWN, self._stage, self.label, reason=reason, obstacle=obstacle)
