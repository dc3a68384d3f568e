"""What a search stage says about a question."""

from dataclasses import dataclass
from enum import StrEnum

from bvverify.network import IntArray


class Outcome(StrEnum):
    """Answer to: does the property hold for every input of the region?"""

    ROBUST = "robust"
    VIOLATED = "violated"
    UNKNOWN = "unknown"


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
