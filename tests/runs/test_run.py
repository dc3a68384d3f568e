"""Runs: the verdicts of a Verifier, kept, resumed, within limits."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bvverify as bv
from bvverify.errors import InputError, InternalError, ModelFileError, UsageError
from bvverify.load.inputs import read_images
from bvverify.queries import RegionKind
from bvverify.runs.executors import LocalExecutor, Workforce, local_workforce
from bvverify.runs.job import Answer, Job, Limits
from bvverify.runs.plan import ModelSource, Plan
from bvverify.runs.queries import Section
from bvverify.runs.run import run
from bvverify.runs.store import Result, Store
from bvverify.runs.worker_process import answer_job
from bvverify.search import Decision, Obstacle, Outcome

from .verdicts import verdict

DATA = Path(__file__).parents[1] / "data"
PLAN = Plan(
    models=(ModelSource(DATA / "digits.pt"),),
    inputs=DATA / "digits.npz",
    indices="0-5",
    radii=(Fraction(1, 1000), Fraction(1, 50)),
    region=RegionKind.FLOATS,
    targets=("fbgemm", "qnnpack"),
    limits=Limits(seconds=1.0),
)
EASY = replace(PLAN, radii=(Fraction(1, 1000),), targets=("fbgemm",))
HARD = replace(
    PLAN,
    indices="0",
    radii=(Fraction(1, 8),),
    targets=("fbgemm",),
    stages=(bv.Stage.INTERVALS, bv.Stage.BITVECTOR),
)
"""All 64 pixels free by several levels: no solver answers this soon."""


class Inline(Executor):
    """Answers in the caller's thread, with a function of the test's choice."""

    def __init__(self, answer: Callable[[Job], Answer]) -> None:
        self.jobs: list[Job] = []
        self._answer = answer

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        assert function is answer_job
        assert not options
        self.jobs.append(arguments[1])
        future: Future[Answer] = Future()
        try:
            future.set_result(self._answer(arguments[1]))
        except BaseException as error:
            future.set_exception(error)
        return future

    @property
    def workforce(self) -> Workforce:
        return Workforce(self, lambda: 1)


def robust(_: Job) -> Answer:
    return Answer(Decision(Outcome.ROBUST, "test"), 0.5)


def unknown(obstacle: Obstacle) -> Answer:
    return Answer(Decision(Outcome.UNKNOWN, "test", reason=f"because of {obstacle}", obstacle=obstacle), 0.5)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the inputs unconfirmed, which starts no kernel process; for tests of other things."""
    monkeypatch.setattr(Section, "confirm", lambda *_: None)


@pytest.fixture
def square(tmp_path: Path) -> Path:
    """Return the digits as images, which both models take."""
    with np.load(DATA / "digits.npz") as data:
        np.savez(tmp_path / "square.npz", images=data["images"].reshape(-1, 8, 8), labels=data["labels"])
    return tmp_path / "square.npz"


def results(store: Path) -> list[Result]:
    with Store(store, create=False) as opened:
        return list(opened.results())


def outcomes(store: Path) -> list[Outcome | None]:
    return [result.outcome for result in results(store)]


def test_the_verdicts_are_those_of_a_verifier(store: Path) -> None:
    summary = run(PLAN, store=store)
    found = results(store)
    assert (summary.total, summary.before, len(found)) == (24, 0, 24)
    images = read_images(DATA / "digits.npz")
    assert images.labels is not None
    model = bv.load_model(DATA / "digits.pt")
    for target in ("fbgemm", "qnnpack"):
        with bv.Verifier(model, target=bv.Target.parse(target), seconds=1.0) as verifier:
            mine = [result for result in found if result.target == str(verifier.lowered.target)]
            assert len(mine) == 12
            for result in mine:
                ball = bv.FloatBall(images.real[result.position], Fraction(result.radius), (Fraction(0), Fraction(1)))
                query = bv.Query(ball, bv.Robustness(int(images.labels[result.position]), 10))
                expected = verifier.verify(query)
                if Outcome.UNKNOWN not in (result.outcome, expected.outcome):
                    assert (result.stage, result.solver) == (expected.stage, expected.solver)
                assert result.prediction == expected.prediction
                if Outcome.UNKNOWN not in (result.outcome, expected.outcome):
                    assert result.outcome is expected.outcome
    counts = [summary.robust, summary.violated, summary.unknown]
    assert counts == [outcomes(store).count(outcome) for outcome in Outcome]
    assert summary.robust >= 12


@pytest.mark.usefixtures("no_kernel")
def test_a_second_run_asks_nothing(store: Path) -> None:
    first = run(EASY, store=store)
    executor = Inline(robust)
    second = run(EASY, store=store, workforce=executor.workforce)
    assert executor.jobs == []
    assert (second.before, second.robust) == (6, first.robust) == (6, 6)


@pytest.mark.usefixtures("no_kernel")
def test_more_queries_of_the_same_file_are_added(store: Path) -> None:
    executor = Inline(robust)
    run(EASY, store=store, workforce=executor.workforce)
    run(replace(EASY, indices="3-8"), store=store, workforce=executor.workforce)
    assert len(executor.jobs) == 9
    assert sorted(result.position for result in results(store)) == list(range(9))


@pytest.mark.usefixtures("no_kernel")
@pytest.mark.parametrize(
    "change",
    [
        {"solver": "z3"},
        {"stages": (bv.Stage.BITVECTOR,)},
        {"targets": ("qnnpack",)},
        {"ties": (bv.TieRule.ANY_TIE_VIOLATES,)},
        {"radii": (Fraction(1, 999),)},
        {"clip": (Fraction(-1), Fraction(1))},
    ],
)
def test_another_question_or_solver_is_asked(store: Path, change: dict[str, Any]) -> None:
    executor = Inline(robust)
    run(EASY, store=store, workforce=executor.workforce)
    run(replace(EASY, **change), store=store, workforce=executor.workforce)
    assert len(executor.jobs) == 12


@pytest.mark.parametrize(
    ("obstacle", "limits", "retry", "asked"),
    [
        (Obstacle.TIME, Limits(1.0), False, False),
        (Obstacle.TIME, Limits(0.5), False, False),
        (Obstacle.TIME, Limits(2.0), False, True),
        (Obstacle.MEMORY, Limits(1.0, memory_bytes=2**34), False, True),
        (Obstacle.SOLVER, Limits(1.0), True, True),
        (Obstacle.CRASH, Limits(1.0), False, True),
    ],
)
@pytest.mark.usefixtures("no_kernel")
def test_unknowns_are_asked_again_where_that_may_help(
    store: Path, obstacle: Obstacle, limits: Limits, retry: bool, asked: bool
) -> None:
    run(EASY, store=store, workforce=Inline(lambda _: unknown(obstacle)).workforce)
    executor = Inline(robust)
    summary = run(replace(EASY, limits=limits), store=store, workforce=executor.workforce, retry_unknown=retry)
    assert len(executor.jobs) == (6 if asked else 0)
    assert outcomes(store) == [Outcome.ROBUST if asked else Outcome.UNKNOWN] * 6
    assert summary.before == (0 if asked else 6)


@pytest.mark.usefixtures("no_kernel")
def test_a_crash_is_tried_once_more(store: Path) -> None:
    boxes: list[object] = []

    def first_crashes(job: Job) -> Answer:
        if any(job.box is box for box in boxes):
            return robust(job)
        boxes.append(job.box)
        raise RuntimeError("the worker is lost")

    executor = Inline(first_crashes)
    run(EASY, store=store, workforce=executor.workforce)
    assert len(executor.jobs) == 12
    assert outcomes(store) == [Outcome.ROBUST] * 6


@pytest.mark.usefixtures("no_kernel")
def test_a_crash_that_comes_back_is_unknown_with_its_reason(store: Path) -> None:
    def crash(_: Job) -> Answer:
        raise RuntimeError("out of order")

    executor = Inline(crash)
    run(EASY, store=store, workforce=executor.workforce)
    assert len(executor.jobs) == 12
    assert {(result.obstacle, result.reason) for result in results(store)} == {
        (Obstacle.CRASH, "worker lost: RuntimeError: out of order")
    }


@pytest.mark.usefixtures("no_kernel")
def test_an_internal_error_of_a_worker_stops_the_run(store: Path) -> None:
    def contradict(_: Job) -> Answer:
        raise InternalError("cannot be trusted")

    with pytest.raises(InternalError, match="cannot be trusted"):
        run(EASY, store=store, workforce=Inline(contradict).workforce)


@pytest.mark.usefixtures("no_kernel")
def test_a_contradiction_with_the_store_stops_the_run(store: Path) -> None:
    run(EASY, store=store, workforce=Inline(lambda _: unknown(Obstacle.CRASH)).workforce)
    with Store(store) as opened:
        opened.add(results(store)[3].query, "{}", verdict(Outcome.VIOLATED), EASY.limits)
    with pytest.raises(InternalError, match="contradiction"):
        run(EASY, store=store, workforce=Inline(robust).workforce)
    assert outcomes(store)[:2] == [Outcome.ROBUST] * 2
    assert outcomes(store)[3] is Outcome.VIOLATED


def test_misclassified_inputs_are_violated_without_a_search(store: Path, tmp_path: Path) -> None:
    data = np.load(DATA / "digits.npz")
    np.savez(tmp_path / "wrong.npz", images=data["images"][:3], labels=(data["labels"][:3] + 1) % 10)
    executor = Inline(robust)
    plan = replace(EASY, inputs=tmp_path / "wrong.npz", indices="")
    summary = run(plan, store=store, workforce=executor.workforce)
    assert (executor.jobs, summary.violated) == ([], 3)
    found = results(store)
    assert {(result.stage, result.replay) for result in found} == {("misclassified", "replayed")}
    with Store(store) as opened:
        shown = opened.counterexample(found[0])
    assert (shown.witness == data["images"][0]).all()
    assert shown.outputs.argmax() == found[0].prediction


def test_without_labels_the_prediction_is_asked_about(store: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", images=np.load(DATA / "digits.npz")["images"][:4])
    run(replace(EASY, inputs=tmp_path / "plain.npz", indices=""), store=store)
    assert all(result.label == result.prediction for result in results(store))
    assert outcomes(store) == [Outcome.ROBUST] * 4


@pytest.mark.usefixtures("no_kernel")
def test_what_a_target_refuses_is_told_and_the_others_are_run(store: Path, square: Path) -> None:
    models = (ModelSource(DATA / "digits_conv.pt"), *EASY.models)
    plan = replace(EASY, inputs=square, models=models, targets=("onednn/avx2", "fbgemm"))
    summary = run(plan, store=store, workforce=Inline(robust).workforce)
    (problem,) = summary.problems
    assert problem.startswith("digits_conv.pt on onednn/avx2: ")
    assert (summary.total, summary.robust + summary.violated) == (24, 18)


@pytest.mark.usefixtures("no_kernel")
def test_a_model_that_vanishes_half_way_costs_its_own_queries(store: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.pt"
    second.write_bytes((DATA / "digits_conv.pt").read_bytes())
    plan = replace(EASY, models=(*EASY.models, ModelSource(second)))
    summary = run(
        plan,
        store=store,
        workforce=Inline(robust).workforce,
        progress=lambda tally: second.unlink(missing_ok=True) if tally.done else None,
    )
    assert summary.problems == (f"second.pt: {second}: No such file or directory",)
    assert (summary.total, summary.robust) == (12, 6)


def test_wrong_plans_end_before_anything_is_made(store: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"not an archive")
    for change, error in (
        ({"models": (ModelSource(tmp_path / "none.pt"),)}, ModelFileError),
        ({"inputs": tmp_path / "none.npz"}, InputError),
        ({"inputs": tmp_path / "broken.npz"}, InputError),
        ({"indices": "0-1000"}, UsageError),
        ({"targets": ("fbgem",)}, UsageError),
        ({"solver": "yices"}, bv.BvverifyError),
    ):
        with pytest.raises(error) as caught:
            run(replace(EASY, **change), store=store)  # type: ignore[arg-type]  # a mapping of fields
        assert "\n" not in str(caught.value)
        assert not store.exists()


@pytest.mark.usefixtures("no_kernel")
def test_models_with_one_name_are_told_apart_by_their_paths(store: Path, square: Path, tmp_path: Path) -> None:
    (tmp_path / "digits.pt").write_bytes((DATA / "digits_conv.pt").read_bytes())
    plan = replace(EASY, inputs=square, models=(*EASY.models, ModelSource(tmp_path / "digits.pt")))
    run(plan, store=store, workforce=Inline(robust).workforce)
    assert {result.model for result in results(store)} == {str(DATA / "digits.pt"), str(tmp_path / "digits.pt")}


@pytest.mark.usefixtures("no_kernel")
def test_progress_counts_every_verdict(store: Path) -> None:
    seen = []
    run(EASY, store=store, workforce=Inline(robust).workforce, progress=lambda tally: seen.append(tally.done))
    assert seen == [0, *range(1, 7)]


@pytest.mark.parametrize(
    ("limits", "obstacle", "reason"),
    [
        (Limits(seconds=0.7), Obstacle.TIME, "time: 0.7 s"),
        (Limits(seconds=60, cpu_seconds=1), Obstacle.CPU, "CPU time: 1 s"),
    ],
)
@pytest.mark.usefixtures("no_kernel")
def test_limits_are_hard_and_say_which(store: Path, limits: Limits, obstacle: Obstacle, reason: str) -> None:
    started = time.monotonic()
    run(replace(HARD, limits=limits), store=store, workers=1)
    assert time.monotonic() - started < 30
    (result,) = results(store)
    assert (result.outcome, result.obstacle, result.reason) == (Outcome.UNKNOWN, obstacle, reason)
    assert result.gap is not None
    assert result.gap > 0


@pytest.mark.usefixtures("no_kernel")
def test_exhausted_memory_costs_one_query(store: Path) -> None:
    plan = replace(HARD, radii=(Fraction(1, 1000), Fraction(1, 8)), limits=Limits(60, memory_bytes=2**28))
    run(plan, store=store, workers=1)
    easy, hard = results(store)
    assert easy.outcome is Outcome.ROBUST
    assert hard.outcome is Outcome.UNKNOWN
    assert hard.obstacle in (Obstacle.MEMORY, Obstacle.CRASH)


@pytest.fixture
def local() -> Iterator[Workforce]:
    workforce = local_workforce(2)
    yield workforce
    workforce.executor.shutdown()


@pytest.mark.usefixtures("no_kernel")
def test_an_executor_of_the_callers_serves_several_runs(store: Path, local: Workforce, tmp_path: Path) -> None:
    run(EASY, store=store, workforce=local)
    run(EASY, store=tmp_path / "again.db", workforce=local)
    assert outcomes(store) == outcomes(tmp_path / "again.db") == [Outcome.ROBUST] * 6


def test_shutting_down_ends_what_is_under_way() -> None:
    executor = LocalExecutor(1)
    subject = bv.lower(bv.load_model(DATA / "digits.pt").model, bv.Target.parse("fbgemm"))
    center = subject.quantizer.levels(np.load(DATA / "digits.npz")["images"][:1].astype(np.float32))[0]
    box = bv.LevelBox.of((center - 20).clip(0), (center + 20).clip(0, 127))
    job = Job("network", box, bv.Robustness(0, 10), "bitwuzla", Limits(seconds=600), (bv.Stage.BITVECTOR,))
    future = executor.submit(answer_job, subject.network, job)
    stop = threading.Timer(2, lambda: executor.shutdown(cancel_futures=True))
    stop.start()
    assert future.result(timeout=60).decision.obstacle is Obstacle.CRASH
    stop.join()
