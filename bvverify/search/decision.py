"""What a search stage says about a question."""

from dataclasses import dataclass
from enum import StrEnum

from bvverify.network import IntArray


class Outcome(StrEnum):
    """Answer to: does the property hold for every input of the region?"""

    ROBUST = "robust"
    VIOLATED = "violated"
    UNKNOWN = "unknown"


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
