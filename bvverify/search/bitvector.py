"""Stage `bitvector`: the whole question as one bit-vector formula, solved in a child process with hard limits."""

from dataclasses import dataclass

from bvverify.closing import Closing
from bvverify.network import StepNetwork
from bvverify.queries import LevelBox, Robustness
from bvverify.search.decision import Decision, Stage
from bvverify.search.ilp import ProgramSolver
from bvverify.search.solver_process import SolverProcess
from bvverify.solvers import backend, version


@dataclass(frozen=True, eq=False)
class Question:
    """Request to the child: everything that a solver needs to know."""

    network: StepNetwork
    box: LevelBox
    question: Robustness
    solver: str


class BitvectorSolver(Closing):
    """Answers questions with one solver, one at a time; a context manager."""

    def __init__(self, name: str, *, memory_bytes: int | None = None, cpu_seconds: float | None = None) -> None:
        """Prepare the solver `name`, with limits of memory and of CPU time per question; raise `SolverUnavailable` if
        it is unknown or not installed.
        """
        self._name = backend(name).name
        self._process = SolverProcess(
            "bvverify.search.bitvector_worker",
            stage=Stage.BITVECTOR,
            label=f"{name} {version(name)}",
            memory_bytes=memory_bytes,
            cpu_seconds=cpu_seconds,
        )
        self._memory_bytes, self._cpu_seconds = memory_bytes, cpu_seconds
        self._programs: ProgramSolver | None = None

    @property
    def label(self) -> str:
        """The solver and its version."""
        return self._process.label

    @property
    def programs(self) -> ProgramSolver:
        """The solver of stage `ilp`, under the same limits; `SolverUnavailable` if it is not installed."""
        if self._programs is None:
            self._programs = ProgramSolver(memory_bytes=self._memory_bytes, cpu_seconds=self._cpu_seconds)
        return self._programs

    def decide(self, network: StepNetwork, box: LevelBox, question: Robustness, *, seconds: float) -> Decision:
        """Return the solver's answer, or UNKNOWN with what stood in the way.

        `seconds` of wall clock hold for building the formula and for solving it together.
        """
        return self._process.decide(Question(network, box, question, self._name), seconds=seconds)

    def close(self) -> None:
        """End the child processes."""
        self._process.close()
        if self._programs is not None:
            self._programs.close()
