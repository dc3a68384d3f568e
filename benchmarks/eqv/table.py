"""The tables and the cactus plot of the EQV benchmark: `python -m benchmarks.eqv.table --help`."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bvverify.errors import UsageError
from bvverify.report.results import MISCLASSIFIED
from bvverify.runs.store import Result, Store
from bvverify.search import Outcome

HERE = Path(__file__).parent
EQV = {
    "FC1-100": (0, 2, 17, 15),
    "FC2-100": (3, 32, 73, 73),
    "FC2-256": (10, 55, 77, 50),
    "FC2-512": (15, 87, 92, 78),
    "FC3-100": (5, 72, 78, 54),
    "CNN1": (0, 4, 11, 10),
    "CNN2": (1, 3, 24, 21),
}
"""Queries that EQV left open within 300 s on 20 cores, at the four radii (Huang et al., AAAI 2024, Table 2)."""
RADII = ("3", "6", "9", "12")
PROOFS = ("intervals", "bounds", "branch", "ilp", "bitvector")
_SOONEST = 1e-3
"""Seconds; what took less is drawn here."""


@dataclass(frozen=True)
class Answer:
    """One query with its answer."""

    network: str
    radius: str
    image: int
    outcome: str
    """robust, violated, unknown, or what else a pipeline may say."""
    stage: str
    seconds: float

    @property
    def decided(self) -> bool:
        """Whether the answer is one of the two that count."""
        return self.outcome in (Outcome.ROBUST, Outcome.VIOLATED)

    @property
    def searched(self) -> bool:
        """Whether the unperturbed input did not decide already."""
        return self.stage != MISCLASSIFIED


def main(
    results: Annotated[Path, typer.Argument(help="Results file of `bvverify run benchmarks/eqv/plan.toml`.")],
    *,
    baseline: Annotated[Path | None, typer.Option(help="Lines that benchmarks.eqv.baseline wrote.")] = None,
    out: Annotated[Path, typer.Option(help="Markdown page to write.")] = Path("docs/mnist-results.md"),
    plot: Annotated[Path, typer.Option(help="Cactus plot to write.")] = Path("docs/mnist-cactus.svg"),
    verdicts: Annotated[Path, typer.Option("--csv", help="CSV file of all verdicts to write.")] = HERE / "results.csv",
) -> None:
    """Write the tables of a finished or unfinished run, its cactus plot, and the verdicts that they are made of."""
    try:
        with Store(results, create=False) as store:
            held = _each_once(result for result in store.results() if result.outcome is not None)
    except UsageError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    answers = [_answer(result) for result in held]
    lines = ["# The EQV benchmark: tables", "", *cells(answers), "", *medians(answers), "", *open_queries(held)]
    others = [] if baseline is None else list(read_baseline(baseline))
    if others:
        lines += ["", *compared(answers, others)]
    lines += ["", f"![Queries decided within a time]({plot.name})", ""]
    out.write_text("\n".join(lines))
    cactus(answers, others, plot)
    write_csv(held, verdicts)


def _each_once(results: Iterable[Result]) -> list[Result]:
    """Return one result per query: runs from several folders ask the same inputs under several names."""
    return list({(result.model, result.radius, result.position): result for result in results}.values())


def write_csv(results: Sequence[Result], path: Path) -> None:
    """Write one line per query: what was decided, by what, in which time and under which limit."""
    with path.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(
            ["network", "radius", "image", "outcome", "stage", "seconds", "limit", "missing", "closest", "nodes"]
        )
        for one in results:
            limit = None if one.limits is None else one.limits.seconds
            missing, closest = (None if figure is None else round(figure, 3) for figure in (one.missing, one.closest))
            name, seconds = Path(one.model).stem, round(one.seconds, 4)
            answer = [one.outcome, one.stage, seconds, limit, missing, closest, one.nodes]
            lines.writerow([name, one.radius, one.position, *answer])


def _answer(result: Result) -> Answer:
    network = Path(result.model).stem
    return Answer(network, result.radius, result.position, str(result.outcome), result.stage, result.seconds)


def cells(answers: Sequence[Answer]) -> Iterator[str]:
    """Yield the table of networks and radii: what decided how many, what is open, and what EQV left open."""
    outcomes = "violated | misclassified | unknown | EQV unknown"
    yield f"| network | r | {' | '.join(PROOFS)} | {outcomes} | median s | most s |"
    yield "|---|" + "---:|" * (len(PROOFS) + 7)
    open_, theirs, asked = 0, 0, 0
    for network, published in EQV.items():
        for radius, timeouts in zip(RADII, published, strict=True):
            cell = [answer for answer in answers if (answer.network, answer.radius) == (network, radius)]
            if not cell:
                continue
            proofs = Counter(answer.stage for answer in cell if answer.outcome == Outcome.ROBUST)
            violated = Counter(answer.searched for answer in cell if answer.outcome == Outcome.VIOLATED)
            unknown = sum(not answer.decided for answer in cell)
            open_, theirs, asked = open_ + unknown, theirs + timeouts, asked + len(cell)
            figures = [*(proofs[stage] for stage in PROOFS), violated[True], violated[False], unknown, timeouts]
            partly = "" if len(cell) == 100 else f" (of {len(cell)})"
            yield f"| {network} | {radius}{partly} | {' | '.join(map(str, figures))} | {_times(cell)} |"
    yield f"| all {asked} | {'| ' * (len(PROOFS) + 2)}| {open_} | {theirs} | | |"


def _times(cell: Sequence[Answer]) -> str:
    decided = [answer.seconds for answer in cell if answer.decided and answer.searched]
    return f"{median(decided):.2f} | {max(decided):.1f}" if decided else "- | -"


def medians(answers: Sequence[Answer]) -> Iterator[str]:
    """Yield the median time of decided queries, per radius."""
    yield "| r | decided | median s | 90 % within s |"
    yield "|---:|---:|---:|---:|"
    for radius in RADII:
        seconds = sorted(answer.seconds for answer in answers if answer.radius == radius and answer.decided)
        if seconds:
            yield f"| {radius} | {len(seconds)} | {median(seconds):.3f} | {seconds[int(0.9 * len(seconds))]:.2f} |"


def open_queries(results: Sequence[Result]) -> Iterator[str]:
    """Yield the unknown queries with what is missing."""
    yield "Unknown queries, with what is missing: by how many output levels the best bound fails, how near the best"
    yield "attack came (a violation needs about half a level at most), and how many sub-problems were looked at."
    yield ""
    yield "| network | r | image | bound fails by | attack misses by | nodes | last stage |"
    yield "|---|---:|---:|---:|---:|---:|---|"
    unknown = [result for result in results if result.outcome is Outcome.UNKNOWN]
    for one in sorted(unknown, key=lambda one: (Path(one.model).stem, int(one.radius), one.position)):
        name, nodes = Path(one.model).stem, "-" if one.nodes is None else one.nodes
        figures = " | ".join("-" if figure is None else f"{figure:.2f}" for figure in (one.missing, one.closest))
        yield f"| {name} | {one.radius} | {one.position} | {figures} | {nodes} | {one.stage} |"


def read_baseline(path: Path) -> Iterator[Answer]:
    """Yield the answers of the EQV-style pipeline; what floats prove counts as robust."""
    for line in path.read_text().splitlines():
        said = json.loads(line)
        outcome, stage = said["outcome"], said["stage"]
        if outcome == "misclassified":
            outcome, stage = str(Outcome.VIOLATED), MISCLASSIFIED
        elif outcome.startswith("robust"):
            outcome = str(Outcome.ROBUST)
        yield Answer(said["network"], str(said["radius"]), said["image"], outcome, stage, said["seconds"])


def compared(answers: Sequence[Answer], others: Sequence[Answer]) -> Iterator[str]:
    """Yield how our answers compare with the EQV-style pipeline's on the queries that both were asked."""
    ours = {(one.network, one.radius, one.image): one for one in answers}
    pairs = [
        (ours[key], other)
        for other in others
        if (key := (other.network, other.radius, other.image)) in ours and other.searched
    ]
    both = [(one, other) for one, other in pairs if one.decided and other.decided]
    yield f"Beside the EQV-style pipeline, on {len(pairs)} queries that both were asked and the input does not decide:"
    yield ""
    yield "| decided by | queries | median s ours | median s EQV-style | median ratio | contradictions |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name, found in (
        ("both", both),
        ("both, EQV-style by integer programs", [pair for pair in both if pair[1].stage == "highs"]),
    ):
        if found:
            ratio = median(other.seconds / max(one.seconds, _SOONEST) for one, other in found)
            contradicting = sum(one.outcome != other.outcome for one, other in found)
            yield (
                f"| {name} | {len(found)} | {median(one.seconds for one, _ in found):.3f}"
                f" | {median(other.seconds for _, other in found):.3f} | {ratio:.1f} | {contradicting} |"
            )
    for name, count in (
        ("ours alone", sum(one.decided and not other.decided for one, other in pairs)),
        ("EQV-style alone", sum(other.decided and not one.decided for one, other in pairs)),
        ("neither", sum(not one.decided and not other.decided for one, other in pairs)),
    ):
        yield f"| {name} | {count} | | | | |"


def cactus(answers: Sequence[Answer], others: Sequence[Answer], path: Path) -> None:
    """Draw how many queries were decided within how much time, one line per network."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, network in enumerate(EQV):
        seconds = sorted(max(a.seconds, _SOONEST) for a in answers if a.network == network and a.decided)
        if seconds:
            axes.plot(seconds, range(1, len(seconds) + 1), label=network, linestyle=("-", "--")[number % 2])
    if others:
        known = {(one.network, one.radius, one.image) for one in others}
        for name, found, style in (
            ("sample, ours", [a for a in answers if (a.network, a.radius, a.image) in known], "-"),
            ("sample, EQV-style", others, ":"),
        ):
            seconds = sorted(max(one.seconds, _SOONEST) for one in found if one.decided)
            axes.plot(seconds, range(1, len(seconds) + 1), label=name, linestyle=style, color="black")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
    axes.set(xlabel="time per query in seconds", ylabel="queries decided", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    typer.run(main)
