"""What a results file says: its queries and verdicts, counted and grouped for reports."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from typing import TypeVar

from bvverify.runs.store import Result, Store
from bvverify.search.decision import Outcome

_Key = TypeVar("_Key")

MISCLASSIFIED = "misclassified"
"""The stage of a violation that the unperturbed input shows by itself."""


class State(StrEnum):
    """What is known about a query; each query is in one state."""

    ROBUST = "robust"
    VIOLATED = "violated"
    MISCLASSIFIED = "misclassified"
    """Violated, and by the unperturbed input: nothing had to be searched."""
    UNKNOWN = "unknown"
    UNASKED = "not yet asked"

    @classmethod
    def of(cls, result: Result) -> "State":
        """Return the state of one query."""
        if result.outcome is None:
            return cls.UNASKED
        if result.outcome is Outcome.VIOLATED and result.stage == MISCLASSIFIED:
            return cls.MISCLASSIFIED
        return cls(str(result.outcome))


@dataclass(frozen=True)
class Counts:
    """How many queries are in which state."""

    robust: int
    violated: int
    """Misclassified inputs among them."""
    misclassified: int
    unknown: int
    unasked: int

    @classmethod
    def of(cls, results: Iterable[Result]) -> "Counts":
        """Count queries."""
        states = Counter(State.of(result) for result in results)
        return cls(
            robust=states[State.ROBUST],
            violated=states[State.VIOLATED] + states[State.MISCLASSIFIED],
            misclassified=states[State.MISCLASSIFIED],
            unknown=states[State.UNKNOWN],
            unasked=states[State.UNASKED],
        )

    @property
    def total(self) -> int:
        """All queries."""
        return self.robust + self.violated + self.unknown + self.unasked

    def state(self, state: State) -> int:
        """Return how many queries are in one state, where misclassified inputs are a state of their own."""
        found = {
            State.ROBUST: self.robust,
            State.VIOLATED: self.violated - self.misclassified,
            State.MISCLASSIFIED: self.misclassified,
            State.UNKNOWN: self.unknown,
            State.UNASKED: self.unasked,
        }
        return found[state]


@dataclass(frozen=True)
class Subject:
    """One model on one target, as reports name them: what has a namesake is told apart."""

    model: str
    target: str

    def __str__(self) -> str:
        return f"{self.model} on {self.target}"


@dataclass(frozen=True)
class Series:
    """Queries that differ in input and radius only."""

    subject: Subject
    tie: str
    region: str
    clip: str
    results: tuple[Result, ...]

    def by_radius(self) -> list[tuple[str, tuple[Result, ...]]]:
        """Return the queries of each radius, the smallest first."""
        found = _grouped(self.results, lambda result: result.radius)
        return sorted(found.items(), key=lambda entry: Fraction(entry[0]))


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that a results file holds, but the arrays."""

    file: str
    """Name of the file."""
    results: tuple[Result, ...]
    witness_classes: dict[str, int]
    """By key of a violated query: the class that torch.argmax gives for its witness."""

    @cached_property
    def _namesakes(self) -> set[str]:
        """Names that several models have, and targets that occur with several runtimes."""
        contents: dict[str, set[str]] = defaultdict(set)
        for result in self.results:
            contents[result.model].add(result.model_sha256)
            contents[result.target].add(result.runtime)
        return {name for name, found in contents.items() if len(found) > 1}

    def subject(self, result: Result) -> Subject:
        """Return the model and the target of a query."""
        model = f"{result.model} ({result.model_sha256[:8]})" if result.model in self._namesakes else result.model
        target = f"{result.target} ({result.runtime})" if result.target in self._namesakes else result.target
        return Subject(model, target)

    def subjects(self) -> dict[Subject, tuple[Result, ...]]:
        """Return the queries about each model and target."""
        return _grouped(self.results, self.subject)

    def series(self) -> list[Series]:
        """Return the queries by everything but input and radius."""
        found = _grouped(self.results, lambda result: (self.subject(result), result.tie, result.region, result.clip))
        return [Series(*key, results) for key, results in found.items()]

    def varying(self) -> set[str]:
        """Return which of `tie`, `region` and `clip` are not the same for all queries."""
        return {name for name in ("tie", "region", "clip") if len({vars(result)[name] for result in self.results}) > 1}

    def having(self, state: State) -> tuple[Result, ...]:
        """Return the queries in one state."""
        return tuple(result for result in self.results if State.of(result) is state)

    def answered(self) -> list[Result]:
        """Return the queries with a verdict, each question once, however many inputs of the plan ask it."""
        return list({result.query: result for result in self.results if result.outcome is not None}.values())

    @property
    def counts(self) -> Counts:
        """Counts of all queries."""
        return Counts.of(self.results)

    @property
    def seconds(self) -> float:
        """Wall-clock time that all verdicts took together."""
        return sum(result.seconds for result in self.answered())

    def finished(self) -> tuple[float, float] | None:
        """Return when the first and the last verdict was given, in seconds since the epoch; None without any."""
        times = [result.finished for result in self.results if result.finished is not None]
        return (min(times), max(times)) if times else None


def read_results(store: Store, *, file: str) -> Results:
    """Return what the store holds now; `file` is what reports call it."""
    results = tuple(store.results())
    violated = {result.query: result for result in results if result.outcome is Outcome.VIOLATED}
    classes = {query: int(store.counterexample(result).outputs.argmax()) for query, result in violated.items()}
    return Results(file, results, classes)


def stages(results: Iterable[Result]) -> dict[tuple[str, str], tuple[Result, ...]]:
    """Return the answered queries by the stage and the solver that spoke last."""
    return _grouped((one for one in results if one.outcome is not None), lambda one: (one.stage, one.solver))


def obstacles(results: Iterable[Result]) -> dict[str, tuple[Result, ...]]:
    """Return the unknown queries by what stood in the way, the most frequent first."""
    unknown = [result for result in results if result.outcome is Outcome.UNKNOWN]
    found = _grouped(unknown, lambda result: "not said" if result.obstacle is None else str(result.obstacle))
    return dict(sorted(found.items(), key=lambda entry: -len(entry[1])))


def nearest_first(unknown: Iterable[Result]) -> list[Result]:
    """Return unknown queries, those that the bounds nearly prove first, those without bounds last."""
    return sorted(unknown, key=lambda result: (result.gap is None, result.gap or 0))


def spread(groups: Iterable[Sequence[Result]], limit: int) -> list[Result]:
    """Choose at most `limit` results evenly over the groups, and inputs that were not chosen yet where there are."""
    queues, chosen = [list(group) for group in groups], list[Result]()
    shown: Counter[str] = Counter()
    while (open_queues := [queue for queue in queues if queue]) and len(chosen) < limit:
        places = min(limit - len(chosen), len(open_queues))
        for place in range(places):
            queue = open_queues[place * len(open_queues) // places]
            best = min(queue, key=lambda result: shown[result.input])
            queue.remove(best)
            shown[best.input] += 1
            chosen.append(best)
    return chosen


def _grouped(results: Iterable[Result], key: Callable[[Result], _Key]) -> dict[_Key, tuple[Result, ...]]:
    found: dict[_Key, list[Result]] = defaultdict(list)
    for result in results:
        found[key(result)].append(result)
    return {name: tuple(group) for name, group in found.items()}
