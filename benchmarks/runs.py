"""Measure what runs cost beside the search, and write the table: `python -m benchmarks.runs --help`.

Figures of one run belong together: compare them as ratios, on an otherwise idle machine.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Annotated

os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console

from bvverify.evidence import Verdict
from bvverify.kernels.lower import lower
from bvverify.kernels.target import Target
from bvverify.load import load_model
from bvverify.load.inputs import Images, read_images
from bvverify.queries import LevelBox, PixelBall, Robustness
from bvverify.runs.job import Job, Limits
from bvverify.runs.plan import Plan
from bvverify.runs.run import run
from bvverify.runs.store import Item, Store, SubjectRow
from bvverify.runs.worker_process import WorkerProcess
from bvverify.search import Outcome, proved_by_intervals
from harness.conform.certificate import cpu_model

MODEL = Path(__file__).parent / "eqv" / "models" / "FC1-100.pt"
console = Console()
Row = tuple[str, str, str]


def main(
    *,
    inputs: Annotated[Path, typer.Option(help="npz file with MNIST test images, 2,000 or more.")],
    queries: Annotated[int, typer.Option(min=10, help="Queries of the run.")] = 1000,
    rows: Annotated[int, typer.Option(min=1000, help="Results in the store.")] = 100_000,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Measure everything and print it."""
    warnings.filterwarnings("ignore", module=r"torch\.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = [*starts(), *overhead(inputs, queries, folder), *storing(rows, folder)]
    lines = [
        "# Speed of runs",
        "",
        f"Made by `python -m benchmarks.runs` on two cores of {cpu_model()}, Python {platform.python_version()}.",
        "",
        "| what | figure | remark |",
        "|---|---|---|",
        *(f"| {what} | {figure} | {remark} |" for what, figure, remark in table),
    ]
    console.print("\n".join(lines), markup=False, soft_wrap=True)
    if out is not None:
        out.write_text("\n".join(lines) + "\n")


def starts() -> Iterator[Row]:
    """Measure how long a worker process takes until it answers its first job."""
    lowered = lower(load_model(MODEL).model, Target.parse("fbgemm/avx512_vnni"))
    box = LevelBox.of(lowered.network.lower, lowered.network.lower)
    job = Job("network", box, Robustness(0, 10), "bitwuzla", Limits())
    seconds = []
    for _ in range(7):
        with WorkerProcess() as process:
            started = perf_counter()
            process.answer(lowered.network, job)
            seconds.append(perf_counter() - started)
    remark = f"median of {len(seconds)}, most {max(seconds):.2f} s; the network handed over and one job answered"
    yield "start of a torch-free child", f"{statistics.median(seconds):.2f} s", remark


def overhead(inputs: Path, queries: int, folder: Path) -> Iterator[Row]:
    """Measure a run of queries that intervals decide, and the same run again."""
    images = read_images(inputs)
    indices = ",".join(str(index) for index in decided_by_intervals(images, queries))
    plan = Plan.of(models=str(MODEL), inputs=str(inputs), indices=indices, target="fbgemm/avx512_vnni")
    first = run(plan, store=folder / "run.db", workers=2)
    assert (first.robust, first.before) == (queries, 0)
    with Store(folder / "run.db") as store:
        searching = sum(result.seconds for result in store.results())
    each = (first.seconds - searching / 2) / queries * 1000
    remark = f"{first.seconds:.1f} s with two workers, of which each searched {searching / 2:.1f} s"
    yield f"overhead per query, {queries:,} queries of FC1-100, r = 1", f"{each:.1f} ms", remark
    second = run(plan, store=folder / "run.db", workers=2)
    assert second.before == queries
    yield "the same run again, all known", f"{second.seconds:.2f} s", "the model loaded and lowered once more"


def decided_by_intervals(images: Images, wanted: int) -> list[int]:
    """Return the first images around which intervals prove robustness at radius 1."""
    lowered = lower(load_model(MODEL).model, Target.parse("fbgemm/avx512_vnni"))
    shaped = images.shaped(lowered.network.input_shape)
    assert shaped.labels is not None
    found: list[int] = []
    for index, (image, label) in enumerate(zip(shaped.images, shaped.labels.tolist(), strict=True)):
        ball = PixelBall(image, 1)
        outputs = lowered.network.evaluate(lowered.quantizer.levels(ball.center())[None])
        question = Robustness(label, 10)
        if not question.violated_by(outputs)[0] and proved_by_intervals(
            lowered.network, ball.levels(lowered.quantizer), question
        ):
            found.append(index)
        if len(found) == wanted:
            return found
    raise SystemExit(f"{images.name}: only {len(found)} of its images are decided by intervals")


def storing(rows: int, folder: Path) -> Iterator[Row]:
    """Measure adding results one by one, and looking all of them up."""
    verdict = Verdict(Outcome.ROBUST, "fbgemm/avx2", "intervals", "", 0.001, "", 3, 3, None)
    settings, limits = "{}", Limits()
    image = np.zeros(784, dtype=np.uint8)
    with Store(folder / "many.db") as store:
        subject = store.add_subject(SubjectRow("s", "m.pt", "0", "fbgemm/avx2", "torch", "n", None))
        started = perf_counter()
        store.add_items(subject, (_item(number, image) for number in range(rows)))
        yield f"noting {rows:,} queries", f"{perf_counter() - started:.1f} s", "one transaction"
        tenths = []
        for tenth in range(10):
            started = perf_counter()
            for number in range(tenth * rows // 10, (tenth + 1) * rows // 10):
                store.add(f"query {number}", settings, verdict, limits)
            tenths.append((perf_counter() - started) / (rows // 10) * 1e6)
        remark = f"each committed; first tenth {tenths[0]:.0f}, last tenth {tenths[-1]:.0f} µs"
        yield f"adding {rows:,} verdicts", f"{sum(tenths) / 10:.0f} µs each", remark
    started = perf_counter()
    with Store(folder / "many.db") as store:
        opened = perf_counter() - started
        assert all(store.find(f"query {number}", settings) for number in range(rows))
        found = perf_counter() - started - opened
        started = perf_counter()
        assert sum(1 for _ in store.results()) == rows
        read = perf_counter() - started
    yield f"opening the file with {rows:,} results", f"{opened:.2f} s", "its integrity checked"
    yield "looking one verdict up, to resume", f"{found / rows * 1e6:.0f} µs", f"{found:.1f} s for all"
    yield "reading all results, for a report", f"{read:.1f} s", ""


def _item(number: int, image: npt.NDArray[np.uint8]) -> Item:
    return Item(
        source="x.npz",
        position=number,
        region="pixels",
        radius="1",
        clip="",
        tie="lowest-index",
        label=3,
        prediction=3,
        image=image,
        input_digest=f"input {number % 10_000}",
        query=f"query {number}",
    )


if __name__ == "__main__":
    typer.run(main)
