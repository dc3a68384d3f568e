"""Job: one question for a child process, and the limits that hold for it."""

from dataclasses import asdict, dataclass

from bvverify.errors import UsageError
from bvverify.queries import LevelBox, Robustness
from bvverify.search import ALL_STAGES, Decision, Stage


@dataclass(frozen=True)
class Limits:
    """What one query may use; all three are hard."""

    seconds: float = 60.0
    """Wall-clock time, from when a worker takes up the query."""
    cpu_seconds: float | None = None
    """CPU time of each process that works on the query, in whole seconds of its life; None for no limit."""
    memory_bytes: int = 8 * 2**30
    """Address space of each process that works on the query."""

    def __post_init__(self) -> None:
        if not self.seconds > 0 or not (self.cpu_seconds is None or self.cpu_seconds > 0):
            raise UsageError("limits: seconds must be positive")
        if self.memory_bytes < 2**28:
            raise UsageError("limits: a query needs at least 0.25 GiB of memory")

    def reach(self, other: "Limits") -> bool:
        """Return whether nothing is allowed less than `other` allows."""
        mine, theirs = (
            [float("inf") if value is None else float(value) for value in asdict(limits).values()]
            for limits in (self, other)
        )
        return all(own >= wanted for own, wanted in zip(mine, theirs, strict=True))


@dataclass(frozen=True, eq=False)
class Job:
    """Does `question` hold for every input of `box`, on the network with this digest?"""

    network: str
    box: LevelBox
    question: Robustness
    solver: str
    limits: Limits
    stages: tuple[Stage, ...] = ALL_STAGES


@dataclass(frozen=True, eq=False)
class Answer:
    """The decision on one job, and how many seconds of wall-clock time it took."""

    decision: Decision
    seconds: float
