"""Time and memory against width and depth: `python -m benchmarks.scaling --help`.

Dense networks for MNIST are trained for a few epochs, quantized, and asked about the same images at one radius.
Networks and answers that are there already are not made again.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from benchmarks import training
from benchmarks.eqv import mnist
from benchmarks.training import Recipe
from bvverify.runs.plan import Plan
from bvverify.runs.run import run
from bvverify.runs.store import Store
from bvverify.search import Outcome

WIDTHS, DEPTHS = (100, 256, 512, 1024, 2048), (1, 2, 3, 4, 5, 6)
SHAPES = [*((2, width) for width in WIDTHS), *((depth, 100) for depth in DEPTHS if depth != 2)]
"""Hidden layers and their width."""
RECIPE = Recipe(epochs=4, decay=0.7)
STAGES = ["intervals", "bounds", "attack", "branch", "ilp"]
IMAGES = Path(__file__).parent / "eqv" / "images.npz"
console = Console()


@dataclass(frozen=True)
class Measured:
    """What was measured on one network."""

    depth: int
    width: int
    robust: int
    violated: int
    unknown: int
    median_seconds: float
    """Of all queries; unknown ones count with the time that they took."""
    most_seconds: float
    memory: float
    """Most memory of a process, in MiB."""


def main(
    *,
    mnist_path: Annotated[Path, typer.Option("--mnist", help="Directory with the four gzipped idx files.")],
    folder: Annotated[Path, typer.Option(help="Directory for networks and answers.")] = Path("scaling"),
    radius: Annotated[int, typer.Option(help="Radius in pixel levels.")] = 3,
    images: Annotated[int, typer.Option(min=1, max=100, help="Number of images.")] = 20,
    seconds: Annotated[float, typer.Option(help="Time limit of one query.")] = 30.0,
    out: Annotated[Path, typer.Option(help="Markdown page to write.")] = Path("docs/scaling.md"),
    plot: Annotated[Path, typer.Option(help="Plot to write.")] = Path("docs/scaling.svg"),
) -> None:
    """Measure every shape, then write the table and the plot."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for depth, width in SHAPES:
        path = folder / f"{depth}x{width}.pt"
        with console.status(f"{depth} hidden layers of {width}"):
            if not path.exists():
                try:
                    training.in_fresh_process(make, mnist_path, path, depth, width)
                except mnist.MnistError as error:
                    raise typer.BadParameter(str(error)) from None
            known = path.with_suffix(".json")
            if known.exists():
                measured = Measured(**json.loads(known.read_text()))
            else:
                measured = training.in_fresh_process(measure, path, depth, width, radius, images, seconds)
                known.write_text(json.dumps(asdict(measured)))
        console.print(measured, highlight=False)
        found.append(measured)
    lines = [
        f"# Scaling at radius {radius}",
        "",
        f"The first {images} test images, {seconds:g} s per query and one core each, two at a time; dense networks for",
        f"MNIST, {RECIPE.epochs} epochs of training. Made by `python -m benchmarks.scaling`.",
        "",
        *table(found),
        "",
        f"![Time and memory against width and depth]({plot.name})",
        "",
    ]
    out.write_text("\n".join(lines))
    draw(found, plot)


def make(mnist_path: Path, path: Path, depth: int, width: int) -> None:
    """Train, quantize and save one network."""
    training.make_deterministic(seed=0)
    examples = mnist.read_examples(mnist_path, "train", flat=True)
    network = training.dense_network([784, *[width] * depth, 10])
    training.train(network, examples, recipe=RECIPE, seed=0)
    training.save(training.quantize(network, examples.images[: training.CALIBRATION_IMAGES]), path)


def measure(path: Path, depth: int, width: int, radius: int, images: int, seconds: float) -> Measured:
    """Ask the queries about one network; the memory is that of the largest process that this one started."""
    plan = Plan.of(
        models=[str(path)],
        inputs=str(IMAGES),
        indices=f"0-{images - 1}",
        radius=[radius],
        target="fbgemm/avx512_vnni",
        stages=STAGES,
        timeout=seconds,
    )
    store = path.with_suffix(".db")
    run(plan, store=store, workers=2)
    with Store(store, create=False) as kept:
        results = [result for result in kept.results() if result.outcome is not None]
    outcomes = [result.outcome for result in results]
    times = [result.seconds for result in results]
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return Measured(
        depth,
        width,
        outcomes.count(Outcome.ROBUST),
        outcomes.count(Outcome.VIOLATED),
        outcomes.count(Outcome.UNKNOWN),
        median(times),
        max(times),
        memory,
    )


def table(found: Sequence[Measured]) -> list[str]:
    """Return one row per network."""
    lines = [
        "| hidden layers | width | robust | violated | unknown | median s | most s | memory in MiB |",
        "|" + "---:|" * 8,
    ]
    for one in found:
        counts = f"{one.robust} | {one.violated} | {one.unknown}"
        times = f"{one.median_seconds:.2f} | {one.most_seconds:.1f}"
        lines.append(f"| {one.depth} | {one.width} | {counts} | {times} | {one.memory:.0f} |")
    return lines


def draw(found: Sequence[Measured], path: Path) -> None:
    """Draw time and memory, against width on the left and against depth on the right."""
    figure = Figure(figsize=(8, 5.2), layout="constrained")
    grid = figure.subplots(2, 2, sharey="row")
    wide = [(one.width, one) for one in found if one.depth == 2]
    deep = sorted(((one.depth, one) for one in found if one.width == 100), key=lambda pair: pair[0])
    for column, (points, name) in enumerate(((wide, "width, 2 hidden layers"), (deep, "hidden layers of 100"))):
        places = [place for place, _ in points]
        time: Axes = grid[0][column]
        time.plot(places, [one.median_seconds for _, one in points], marker="o", label="median")
        time.plot(places, [one.most_seconds for _, one in points], marker="s", linestyle="--", label="most")
        time.set_yscale("log")
        memory: Axes = grid[1][column]
        memory.plot(places, [one.memory for _, one in points], marker="o")
        memory.set(xlabel=name, ylim=(0, None))
        for axes in (time, memory):
            axes.grid(alpha=0.3)
    grid[0][0].set_ylabel("seconds per query")
    grid[0][0].legend(fontsize="small")
    grid[1][0].set_ylabel("memory in MiB")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    typer.run(main)
