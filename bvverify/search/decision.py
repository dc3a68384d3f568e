"""What a search stage says about a question."""

from dataclasses import dataclass
from enum import StrEnum

from bvverify.network import IntArray


class Outcome(StrEnum):
    """Answer to: does the property hold for every input of the region?"""

    ROBUST = "robust"
    VIOLATED = "violated"
    UNKNOWN = "unknown"


class Stage(StrEnum):
    """A way to an answer, in the order in which they are tried."""

    INTERVALS = "intervals"
    """Exact integer intervals: proves."""
    BOUNDS = "bounds"
    """Linear bounds with back-substitution, in exact integers: proves."""
    ATTACK = "attack"
    """Gradients and integer steps: refutes."""
    BRANCH = "branch"
    """Relaxations with optimised multipliers, branch and bound, in exact integers: proves, and refutes in passing."""
    ILP = "ilp"
    """Integer linear programs for a solver: proves and refutes."""
    BITVECTOR = "bitvector"
    """One bit-vector formula for a solver: proves and refutes."""


class Obstacle(StrEnum):
    """What stood in the way of an answer."""

    TIME = "time"
    """The limit of wall-clock time."""
    CPU = "CPU time"
    """The limit of CPU time."""
    MEMORY = "memory"
    """The limit of memory."""
    SOLVER = "solver"
    """The solver gave up of its own accord."""
    STAGES = "stages"
    """None of the stages that were asked for decided it."""
    CRASH = "crash"
    """A process ended without an answer; another try may succeed."""


@dataclass(frozen=True, eq=False)
class Decision:
    """The answer of one stage, or of a pipeline of stages."""

    outcome: Outcome
    stage: str
    """The stage that decided, or the last one that was tried."""
    solver: str = ""
    """The solver whose answer this is, with its version; empty where none was needed."""
    witness: IntArray | None = None
    """For VIOLATED: an input of the network, int64 of its input shape, that violates the property."""
    reason: str = ""
    """For UNKNOWN: what was missing, for example `time: 60 s`."""
    obstacle: Obstacle | None = None
    """For UNKNOWN: the kind of `reason`."""
    gap: int | None = None
    """For UNKNOWN: by how many output levels the bounds miss a proof; None if no bounds were computed."""
    missing: float | None = None
    """For UNKNOWN: by how many output levels the best relaxation of an open sub-problem misses a proof, before the last
    rounding; None if stage `branch` was not reached.
    """
    nodes: int | None = None
    """For UNKNOWN: the sub-problems that stage `branch` looked at; None if it was not reached."""
    closest: float | None = None
    """For UNKNOWN: the least lead of the label over a rival that an attack met, in output levels before the last
    rounding; None without an attack.
    """
