"""Running a plan: every query is answered by a child process, and its verdict is kept before the next is taken.

The process of the run loads and lowers models, computes regions, replays witnesses and writes the store; child
processes search.  A crash, a hang or an exhausted memory costs one query.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bvverify.errors import BvverifyError, ModelFileError
from bvverify.evidence import Posed
from bvverify.load.inputs import Images, read_images
from bvverify.runs.executors import Workforce, local_workforce
from bvverify.runs.job import Answer, Job
from bvverify.runs.keys import settings_text
from bvverify.runs.plan import Plan
from bvverify.runs.queries import Asked, Section, open_sections, positions, targets
from bvverify.runs.store import Known, Store
from bvverify.runs.tally import Tally
from bvverify.runs.worker_process import answer_job
from bvverify.search import Decision, Obstacle, Outcome

_TRIES = 2
"""A query whose process crashed is asked once more: the crash may have come from outside."""


@dataclass(frozen=True)
class RunSummary:
    """What a run leaves."""

    total: int
    """Queries of the plan."""
    before: int
    """Queries that were not asked, for the store held an answer."""
    robust: int
    violated: int
    unknown: int
    problems: tuple[str, ...]
    """Models and targets that could not be run, and why, one line each."""
    seconds: float


def run(
    plan: Plan,
    *,
    store: str | Path,
    workers: int = 2,
    workforce: Workforce | None = None,
    retry_unknown: bool = False,
    reproducers: Path = Path(),
    progress: Callable[[Tally], None] | None = None,
) -> RunSummary:
    """Answer every query of `plan` that the file `store` does not answer yet, and keep the verdicts there.

    `workers` child processes of this machine search, or a `workforce` that the caller made and closes.  Unknown
    verdicts are asked again if some limit is larger than it was, if a process had crashed, or all of them with
    `retry_unknown`.  `progress` is called after every verdict.

    Raises `UsageError` for a store that cannot be used, `InputError` for unusable inputs, `SolverUnavailable`,
    `InternalError` if a verdict contradicts the kernel or an earlier verdict: then the run stops.  What was decided
    before any error or interrupt is in the store.
    """
    started = time.monotonic()
    images = _checked(plan)
    settings = settings_text(plan.solver, plan.stages)
    with ExitStack() as stack:
        results = stack.enter_context(Store(Path(store)))
        if workforce is None:
            workforce = local_workforce(workers)
            stack.callback(workforce.executor.shutdown, cancel_futures=True)
        asked = len(positions(plan, images)) * len(plan.radii) * len(plan.ties)
        tally = Tally(asked * len(plan.models) * len(targets(plan)))
        sections = open_sections(plan, images, tally.problems, reproducers=reproducers)
        runner = _Runner(plan, results, settings, workforce, tally, progress or (lambda _: None), retry_unknown)
        runner.go(sections)
    counts = tally.outcomes
    return RunSummary(
        total=tally.total,
        before=tally.before,
        robust=counts[Outcome.ROBUST],
        violated=counts[Outcome.VIOLATED],
        unknown=counts[Outcome.UNKNOWN],
        problems=tuple(tally.problems),
        seconds=time.monotonic() - started,
    )


def _checked(plan: Plan) -> Images:
    """Return the inputs, after what would end the run later on was looked at."""
    for source in plan.models:
        if not source.path.is_file():
            raise ModelFileError(f"{source.path}: no such model file")
    targets(plan)
    images = read_images(plan.inputs)
    positions(plan, images)
    return images


@dataclass(frozen=True, eq=False)
class _Pending:
    """One query that a worker has."""

    section: Section
    asked: Asked
    posed: Posed
    tries: int


class _Runner:
    """One run: queries on one side, verdicts in the store on the other, and what is under way in between."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        settings: str,
        workforce: Workforce,
        tally: Tally,
        progress: Callable[[Tally], None],
        retry_unknown: bool,
    ) -> None:
        self._plan, self._store, self._settings = plan, store, settings
        self._workforce, self._tally, self._progress = workforce, tally, progress
        self._retry_unknown = retry_unknown
        self._pending: dict[Future[Answer], _Pending] = {}
        self._shared: dict[Section, Any] = {}

    def go(self, sections: Iterator[Section]) -> None:
        """Answer all queries; the workers are kept busy across the sections."""
        try:
            for section in sections:
                self._shared[section] = self._workforce.share(section.subject.lowered.network)
                self._answer_section(section)
                self._close_finished(except_for=section)
            while self._pending:
                self._take_answers()
        finally:
            for future in self._pending:
                future.cancel()
            for section in self._shared:
                section.subject.close()

    def _answer_section(self, section: Section) -> None:
        still_open = [asked for asked in section.asked(self._store) if self._is_open(asked)]
        self._progress(self._tally)
        section.confirm(still_open)
        for asked in still_open:
            posed = section.pose(asked)
            if posed.decision is not None:
                self._keep(_Pending(section, asked, posed, 1), Answer(posed.decision, 0.0))
                continue
            while len(self._pending) >= 2 * self._workforce.width():
                self._take_answers()
            self._submit(_Pending(section, asked, posed, 1))

    def _is_open(self, asked: Asked) -> bool:
        """Return whether a query must be asked; count it as answered if not."""
        known = self._store.find(asked.key, self._settings)
        if known is None or self._asks_again(known):
            return True
        self._tally.before += 1
        self._tally.outcomes[known.outcome] += 1
        return False

    def _asks_again(self, known: Known) -> bool:
        if known.outcome is not Outcome.UNKNOWN:
            return False
        return self._retry_unknown or known.obstacle is Obstacle.CRASH or not known.limits.reach(self._plan.limits)

    def _submit(self, pending: _Pending) -> None:
        question, section = pending.asked.question, pending.section
        job = Job(section.network, pending.posed.box, question, self._plan.solver, self._plan.limits, self._plan.stages)
        self._pending[self._workforce.executor.submit(answer_job, self._shared[section], job)] = pending

    def _take_answers(self) -> None:
        """Wait until some query is answered; keep what is."""
        for future in wait(self._pending, return_when=FIRST_COMPLETED).done:
            pending, answer = self._pending.pop(future), _answer(future)
            if answer.decision.obstacle is Obstacle.CRASH and pending.tries < _TRIES:
                self._submit(replace(pending, tries=pending.tries + 1))
            else:
                self._keep(pending, answer)

    def _keep(self, pending: _Pending, answer: Answer) -> None:
        verdict = pending.section.subject.conclude(pending.posed, answer.decision, seconds=answer.seconds)
        outcome = self._store.add(pending.asked.key, self._settings, verdict, self._plan.limits)
        self._tally.outcomes[outcome] += 1
        self._progress(self._tally)

    def _close_finished(self, *, except_for: Section) -> None:
        """End the kernel processes of sections that wait for nothing any more."""
        busy = {pending.section for pending in self._pending.values()} | {except_for}
        for section in set(self._shared) - busy:
            section.subject.close()
            del self._shared[section]


def _answer(future: Future[Answer]) -> Answer:
    """Return what a worker answered; whatever went wrong around it counts as a crash."""
    try:
        return future.result()
    except BvverifyError:
        raise
    except Exception as error:  # an executor's own failure, such as a lost cluster worker
        reason = f"worker lost: {type(error).__name__}: {error}"
        return Answer(Decision(Outcome.UNKNOWN, "process", reason=reason, obstacle=Obstacle.CRASH), 0.0)
