"""How far a run has come."""

from collections import Counter
from dataclasses import dataclass, field

from bvverify.search import Outcome


@dataclass(eq=False)
class Tally:
    """Counts of a run's queries, kept up to date while it goes on."""

    total: int
    """Queries of the plan."""
    before: int = 0
    """Queries that were not asked, for the store held an answer."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    """Verdicts of the plan's queries, of this run and of those before."""
    problems: list[str] = field(default_factory=list)
    """What could not be run, and why, one line each."""

    @property
    def done(self) -> int:
        """Queries that have a verdict."""
        return self.outcomes.total()
