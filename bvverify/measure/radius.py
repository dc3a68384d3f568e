"""The largest radius at which a property holds, by bisection: what holds in a region holds in every smaller one."""

from collections.abc import Callable
from dataclasses import dataclass

from bvverify.errors import InternalError, UsageError
from bvverify.evidence import Posed, Subject, Verdict
from bvverify.queries import Query, Region, Robustness
from bvverify.search import Decision, Outcome


@dataclass(frozen=True, eq=False)
class LargestRadius:
    """What is known about the radii 0 to `maximum`, in steps of the region's unit."""

    maximum: int
    robust: int | None
    """The largest radius at which the property was proved; it holds at all smaller ones.  None if at none."""
    violated: int | None
    """The least radius at which a witness was found, which violates the property at all larger ones.  None if none."""
    verdicts: dict[int, Verdict]
    """The verdicts on the radii that were asked, in the order of asking."""

    @property
    def undecided(self) -> range:
        """The radii of which nothing is known; empty if the largest radius was found."""
        first = 0 if self.robust is None else self.robust + 1
        return range(first, self.maximum + 1 if self.violated is None else self.violated)

    @property
    def witness(self) -> Verdict | None:
        """The verdict on the least violated radius, with its witness."""
        return None if self.violated is None else self.verdicts[self.violated]


def largest_radius(
    subject: Subject,
    verify: Callable[[Query], Verdict],
    regions: Callable[[int], Region],
    question: Robustness,
    *,
    maximum: int,
    asked: Callable[[int, Verdict], None] | None = None,
) -> LargestRadius:
    """Bisect for the largest radius up to `maximum` at which `question` holds.

    `verify` answers queries about `subject`; `regions` gives the region of a radius, each within those of larger
    radii, around one input.  A radius whose verdict is unknown counts first as too large, so that the largest provable
    radius is looked for, and then as too small, so that the least violated one is.  A witness counts for the least
    radius whose region holds it.  `asked` is told of every verdict.  Raises `UsageError` for a negative `maximum`.
    """
    if maximum < 0:
        raise UsageError(f"largest radius {maximum}: must not be negative")
    return _Bisection(subject, verify, regions, question, maximum, asked).run()


class _Bisection:
    def __init__(
        self,
        subject: Subject,
        verify: Callable[[Query], Verdict],
        regions: Callable[[int], Region],
        question: Robustness,
        maximum: int,
        asked: Callable[[int, Verdict], None] | None,
    ) -> None:
        self._subject, self._verify = subject, verify
        self._regions, self._question = regions, question
        self._maximum, self._asked = maximum, asked
        self._robust, self._violated = -1, maximum + 1
        self._verdicts: dict[int, Verdict] = {}

    def run(self) -> LargestRadius:
        """Look for the largest provable radius, then for the least violated one."""
        least_unknown = self._maximum + 1
        while (end := min(least_unknown, self._violated)) - self._robust > 1:
            middle = (self._robust + end) // 2
            if self._ask(middle) is Outcome.UNKNOWN:
                least_unknown = middle
        most_unknown = -1
        while self._violated - (end := max(most_unknown, self._robust)) > 1:
            middle = (self._violated + end) // 2
            if self._ask(middle) is Outcome.UNKNOWN:
                most_unknown = middle
        return LargestRadius(
            maximum=self._maximum,
            robust=None if self._robust < 0 else self._robust,
            violated=None if self._violated > self._maximum else self._violated,
            verdicts=self._verdicts,
        )

    def _ask(self, radius: int) -> Outcome:
        """Ask about a radius, unless that was done, and take note of what the verdict says about all radii."""
        if radius not in self._verdicts:
            self._take(radius, self._verify(self._query(radius)))
        outcome = self._verdicts[radius].outcome
        if outcome is Outcome.ROBUST:
            self._robust = max(self._robust, radius)
        if outcome is Outcome.VIOLATED:
            self._violated = min(self._violated, self._lowered(radius))
        return outcome

    def _take(self, radius: int, verdict: Verdict) -> None:
        self._verdicts[radius] = verdict
        if self._asked is not None:
            self._asked(radius, verdict)

    def _query(self, radius: int) -> Query:
        return Query(self._regions(radius), self._question)

    def _lowered(self, radius: int) -> int:
        """Return the least radius whose region holds the witness found at `radius`, after a verdict on that radius."""
        verdict = self._verdicts[radius]
        assert verdict.witness is not None
        levels = verdict.witness.levels
        outside, inside, posed = -1, radius, None
        while inside - outside > 1:
            middle = (outside + inside) // 2
            smaller = self._subject.pose(self._query(middle))
            if smaller.box.contains(levels):
                inside, posed = middle, smaller
            else:
                outside = middle
        if inside <= self._robust:
            raise InternalError(f"a witness lies within radius {inside}, and radius {self._robust} was proved")
        if posed is not None:
            self._take(inside, self._concluded(posed, verdict))
        return inside

    def _concluded(self, posed: Posed, verdict: Verdict) -> Verdict:
        """Return the verdict that the witness of a larger radius is for this one, after a replay."""
        assert verdict.witness is not None
        decision = Decision(
            verdict.outcome, verdict.stage, verdict.solver, witness=verdict.witness.levels, reason=verdict.reason
        )
        return self._subject.conclude(posed, decision, seconds=0.0)
