"""What a solver said about one question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from bvverify.errors import InternalError


class Status(Enum):
    """The three things a solver can say."""

    SAT = "sat"
    UNSAT = "unsat"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Answer:
    """A status with what belongs to it.

    `model` maps the names that were asked for to unsigned integers (a Boolean is 0 or 1); it is there exactly when the
    status is SAT. `seconds` is the wall-clock time of the whole call. `reason` is there exactly when the status is
    UNKNOWN: "time" for the time limit, "memory", "interrupted", or what the solver said.
    """

    status: Status
    model: Mapping[str, int] | None
    seconds: float
    reason: str = ""

    def __post_init__(self) -> None:
        if (self.model is not None) != (self.status is Status.SAT):
            raise InternalError(f"a model belongs to SAT and to nothing else, not to {self.status.name}")
        if bool(self.reason) != (self.status is Status.UNKNOWN):
            raise InternalError(f"a reason belongs to UNKNOWN and to nothing else, not to {self.status.name}")
