"""Stage `ilp`: a question as integer linear programs, solved one after the other in a child process with hard limits.

Its solver is CP-SAT, which computes in integers: where it finds a program infeasible, that counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bvverify.closing import Closing
from bvverify.encode.linear import encode_way
from bvverify.errors import NotLinear
from bvverify.network import StepNetwork
from bvverify.queries import LevelBox, Overtaking, Robustness
from bvverify.search.decision import Decision, Stage
from bvverify.search.intervals import Bounds
from bvverify.search.linear import Bounded, linear_bounds
from bvverify.search.solver_process import Solved, SolverProcess
from bvverify.solvers import Status
from bvverify.solvers.integer import CP_SAT, IntegerBackend, program_solver_version, solve_program


@dataclass(frozen=True, eq=False)
class OpenWay:
    """A way to violate a property, and bounds of all values of the network for the inputs that do so."""

    way: list[Overtaking]
    values: Sequence[Bounds]


@dataclass(frozen=True, eq=False)
class ProgramQuestion:
    """Request to the child."""

    network: StepNetwork
    box: LevelBox
    ways: list[OpenWay]


class ProgramSolver(Closing):
    """Answers questions with CP-SAT, one at a time; a context manager."""

    def __init__(self, *, memory_bytes: int | None = None, cpu_seconds: float | None = None) -> None:
        """Prepare the solver, with limits of memory and of CPU time per question; raise `SolverUnavailable` if it is
        not installed.
        """
        self._process = SolverProcess(
            "bvverify.search.ilp_worker",
            stage=Stage.ILP,
            label=f"{CP_SAT.name} {program_solver_version()}",
            memory_bytes=memory_bytes,
            cpu_seconds=cpu_seconds,
        )

    def decide(self, network: StepNetwork, box: LevelBox, ways: list[OpenWay], *, seconds: float) -> Decision:
        """Return the solver's answer about all ways, or UNKNOWN with what stood in the way.

        `seconds` of wall clock hold for building the programs and for solving them together.
        """
        return self._process.decide(ProgramQuestion(network, box, ways), seconds=seconds)

    def close(self) -> None:
        """End the child process."""
        self._process.close()


def ways_open_to_bounds(network: StepNetwork, box: LevelBox, question: Robustness) -> list[OpenWay]:
    """Return the ways to violate a property that linear bounds do not exclude; the one that they miss by most comes
    first.
    """
    return ways_left_open(linear_bounds(network, box, question))


def ways_left_open(bounded: Bounded) -> list[OpenWay]:
    """Return the ways that bounds do not exclude, in the same order."""
    return [OpenWay(way, bounded.values) for _, way in sorted(bounded.ways, key=lambda missed: -missed[0])]


def solve_programs(request: ProgramQuestion, backend: IntegerBackend) -> Solved:
    """Return whether some input of the box violates the property in one of the ways."""
    for open_ in request.ways:
        try:
            encoding = encode_way(request.network, request.box, open_.way, values=open_.values)
        except NotLinear as refusal:
            return Solved(Status.UNKNOWN, None, str(refusal))
        answer = solve_program(encoding.program, backend)
        if answer.solution is not None:
            return Solved(answer.status, encoding.input_levels(request.box, answer.solution))
        if answer.status is Status.UNKNOWN:
            return Solved(answer.status, None, answer.reason)
    return Solved(Status.UNSAT, None)
