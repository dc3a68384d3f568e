"""Measure loading, evaluation and queries, and write the table: `python -m benchmarks.speed --help`.

Figures of one run belong together: compare them as ratios, on an otherwise idle machine.
"""

# ruff: noqa: E402  # the number of threads must be set before numpy is imported

from __future__ import annotations

import io
import os
import platform
import statistics
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track

from bvverify.kernels.lower import LoweredModel, lower
from bvverify.kernels.target import Target
from bvverify.load import DeployedModel, load_model
from bvverify.load.inputs import Images, read_images
from bvverify.network import StepNetwork
from bvverify.queries import LevelBox, PixelBall, Robustness
from bvverify.search import BitvectorSolver, Outcome, Stage, decide, proved_by_intervals
from bvverify.solvers import names

HERE = Path(__file__).parent
DIGITS = HERE.parent / "tests" / "data"
TARGET = Target.parse("fbgemm/avx512_vnni")
console = Console()


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    figure: str
    remark: str = ""


def main(
    *,
    inputs: Annotated[Path, typer.Option(help="npz file with MNIST test images, 10,000 for comparable figures.")],
    repeat: Annotated[int, typer.Option(min=1, help="Runs of each measurement; the median is reported.")] = 7,
    patches: Annotated[int, typer.Option(min=1, help="Digits queries per solver and size.")] = 12,
    seconds: Annotated[float, typer.Option(help="Time limit of one bit-vector query.")] = 20.0,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Measure everything and print it."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module=r"torch\.")
    torch.backends.quantized.engine = "fbgemm"
    model = load_model(HERE / "eqv" / "models" / "FC2-512.pt")
    images = read_images(inputs).shaped(model.model.input_shape)
    rows = [
        *loading(repeat),
        *evaluation(model, images, repeat),
        *interval_queries(repeat),
        *bitvector_queries(patches, seconds),
    ]
    lines = list(page(rows))
    console.print("\n".join(lines), markup=False, soft_wrap=True)
    if out is not None:
        out.write_text("\n".join(lines) + "\n")


def loading(repeat: int) -> Iterator[Row]:
    """Yield the time to load and lower FC2-512."""
    path = HERE / "eqv" / "models" / "FC2-512.pt"
    taken = _median(lambda: lower(load_model(path).model, TARGET), repeat)
    yield Row("load and lower FC2-512", f"{taken:.3f} s")


def evaluation(model: DeployedModel, images: Images, repeat: int) -> Iterator[Row]:
    """Yield the time of `evaluate` and of torch's quantized inference, measured in turn in one process."""
    network = lower(model.model, TARGET)
    module = torch.jit.load(io.BytesIO(model.script)).eval()
    real = images.real
    levels = network.quantizer.levels(real)
    with torch.inference_mode():
        tensor = torch.from_numpy(real)
        module(tensor)
        network.network.evaluate(levels)
        pairs = [
            (_seconds(lambda: network.network.evaluate(levels)), _seconds(lambda: module(tensor)))
            for _ in range(repeat)
        ]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    yield Row(
        f"evaluate, FC2-512, {len(real):,} images", f"{ours * 1e3:.0f} ms", f"{ratio:.2f} times torch's inference"
    )
    yield Row(f"torch's quantized inference, same {len(real):,} images", f"{theirs * 1e3:.0f} ms", "one core, fbgemm")


def interval_queries(repeat: int) -> Iterator[Row]:
    """Yield the time of queries that intervals decide, region included."""
    for name in ("FC1-100", "FC2-512"):
        model = load_model(HERE / "eqv" / "models" / f"{name}.pt")
        lowered = lower(model.model, TARGET)
        data = read_images(HERE / "eqv" / "images.npz").shaped(model.model.input_shape)
        assert data.labels is not None
        times = []
        for image, label in zip(data.images, data.labels.tolist(), strict=True):
            start = perf_counter()
            box = PixelBall(image, 1).levels(lowered.quantizer)
            if proved_by_intervals(lowered.network, box, Robustness(label, 10)):
                times.append(perf_counter() - start)
        if times:
            figure = f"{statistics.median(times) * 1e3:.1f} ms"
            yield Row(
                f"query decided by intervals, {name}, r = 1",
                figure,
                f"median of {len(times)}, most {max(times) * 1e3:.1f} ms",
            )
        else:
            yield Row(f"query decided by intervals, {name}, r = 1", "none decided")


def bitvector_queries(patches: int, seconds: float) -> Iterator[Row]:
    """Yield, per solver, how many digits queries with a free 4x4 patch it decides, and how fast."""
    model = load_model(DIGITS / "digits.pt")
    lowered = lower(model.model, TARGET)
    for spread in (2, 4):
        questions = list(_patch_questions(lowered, patches, spread))
        for name in names():
            with BitvectorSolver(name) as solver:
                results = [
                    _timed_decision(lowered.network, box, question, solver, seconds)
                    for box, question in track(questions, f"{name}, {spread} levels", console=console, transient=True)
                ]
            decided = [taken for outcome, taken in results if outcome is not Outcome.UNKNOWN]
            median = f"median {statistics.median(decided):.2f} s, most {max(decided):.2f} s" if decided else ""
            yield Row(
                f"digits, 4x4 pixels free by {spread} levels, {name}",
                f"{len(decided)} of {len(questions)} in {seconds:g} s",
                f"{median}; {sum(outcome is Outcome.VIOLATED for outcome, _ in results)} violated",
            )


def page(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown page."""
    yield "# Speed of evaluation and of bit-vectors"
    yield ""
    yield f"Made by `python -m benchmarks.speed` on one core of {_processor()}, Python {platform.python_version()},"
    yield f"numpy {np.__version__}, {TARGET.runtime}; target {TARGET}. Figures of one run belong together."
    yield ""
    yield "| what | figure | remark |"
    yield "|---|---|---|"
    for row in rows:
        yield f"| {row.what} | {row.figure} | {row.remark} |"


def _patch_questions(lowered: LoweredModel, count: int, spread: int) -> Iterator[tuple[LevelBox, Robustness]]:
    """Yield questions that intervals leave open: a random 4x4 patch of an image, each pixel free by `spread` levels."""
    data = read_images(DIGITS / "digits.npz")
    assert data.labels is not None
    levels = lowered.quantizer.levels(data.real)
    generator = np.random.default_rng(0)
    found = 0
    while found < count:
        index = int(generator.integers(len(levels)))
        top, left = generator.integers(0, 5, size=2)
        free = np.zeros((8, 8), dtype=bool)
        free[top : top + 4, left : left + 4] = True
        change = np.where(free.reshape(-1), spread, 0)
        box = LevelBox.of(np.maximum(levels[index] - change, 0), np.minimum(levels[index] + change, 255))
        question = Robustness(int(data.labels[index]), 10)
        correct = not question.violated_by(lowered.network.evaluate(levels[index][None]))[0]
        if correct and not proved_by_intervals(lowered.network, box, question):
            found += 1
            yield box, question


def _timed_decision(
    network: StepNetwork, box: LevelBox, question: Robustness, solver: BitvectorSolver, seconds: float
) -> tuple[Outcome, float]:
    start = perf_counter()
    stages = (Stage.INTERVALS, Stage.BITVECTOR)
    decision = decide(network, box, question, solver=solver, seconds=seconds, stages=stages)
    return decision.outcome, perf_counter() - start


def _median(action: Callable[[], object], repeat: int) -> float:
    return statistics.median(_seconds(action) for _ in range(repeat))


def _seconds(action: Callable[[], object]) -> float:
    start = perf_counter()
    action()
    return perf_counter() - start


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "this machine")


if __name__ == "__main__":
    typer.run(main)
