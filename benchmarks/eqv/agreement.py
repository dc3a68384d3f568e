"""Do all stages and all backends agree?  Each is asked alone: `python -m benchmarks.eqv.agreement --help`.

Every variant writes into one results file, which refuses a robust beside a violated; the same command goes on where it
was stopped.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bvverify.errors import BvverifyError
from bvverify.runs.keys import settings_text
from bvverify.runs.plan import Plan
from bvverify.runs.run import run
from bvverify.runs.store import Store
from bvverify.search import Outcome, Stage
from bvverify.solvers import installed

HERE = Path(__file__).parent
NETWORKS = "FC1-100,CNN2"
console = Console()


@dataclass(frozen=True)
class Variant:
    """One way to answer the queries."""

    name: str
    plan: Plan


def variants(networks: str, seconds: float) -> list[Variant]:
    """Return one variant per stage, at the radii of the benchmark, and one per backend of bit-vectors at radius 1."""
    plan = Plan.of(
        models=[str(HERE / "models" / f"{name}.pt") for name in networks.split(",")],
        inputs=str(HERE / "images.npz"),
        radius=[1, 3, 6],
        target="fbgemm/avx512_vnni",
        timeout=seconds,
    )
    near = replace(plan, radii=plan.radii[:1])
    stages = [stage for stage in Stage if stage is not Stage.BITVECTOR]
    return [
        *(Variant(str(stage), replace(plan, stages=(stage,))) for stage in stages),
        *(
            Variant(f"bitvector, {solver}", replace(near, stages=(Stage.BITVECTOR,), solver=solver))
            for solver in installed()
        ),
    ]


def main(
    *,
    store: Annotated[Path, typer.Option(help="Results file; what it holds is not asked again.")] = Path("agreement.db"),
    networks: Annotated[str, typer.Option(help="Names, with commas.")] = NETWORKS,
    seconds: Annotated[float, typer.Option(help="Time limit of one query.")] = 5.0,
    workers: Annotated[int, typer.Option(min=1, help="Queries at a time.")] = 2,
    out: Annotated[Path, typer.Option(help="Markdown page to write.")] = Path("docs/mnist-agreement.md"),
) -> None:
    """Ask all variants, and count the queries that two or more of them decide; exit code 1 on a contradiction."""
    asked = variants(networks, seconds)
    try:
        for variant in asked:
            with console.status(variant.name):
                summary = run(variant.plan, store=store, workers=workers)
            console.print(f"{variant.name}: {summary.robust} robust, {summary.violated} violated", highlight=False)
        lines = table(store, asked, seconds)
    except BvverifyError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    out.write_text("\n".join(["# Do stages and backends agree?", "", *lines, ""]))


def table(path: Path, asked: list[Variant], seconds: float) -> list[str]:
    """Return how many queries each variant decides, and how many of them others decide as well."""
    with Store(path, create=False) as store:
        queries = {result.query for result in store.results()}
        settings = [settings_text(variant.plan.solver, variant.plan.stages) for variant in asked]
        known = {
            (query, name): found.outcome
            for query in queries
            for name in settings
            if (found := store.find(query, name)) is not None and found.outcome is not Outcome.UNKNOWN
        }
    times = Counter(query for query, _ in known)
    lines = [
        f"Each stage alone, {seconds:g} s per query; made by `python -m benchmarks.eqv.agreement`.",
        "",
        "| by | robust | violated | decided by others too |",
        "|---|---:|---:|---:|",
    ]
    for variant, name in zip(asked, settings, strict=True):
        decided = [query for query in queries if (query, name) in known]
        outcomes = Counter(known[query, name] for query in decided)
        shared = sum(times[query] > 1 for query in decided)
        lines.append(f"| {variant.name} | {outcomes[Outcome.ROBUST]} | {outcomes[Outcome.VIOLATED]} | {shared} |")
    several = sum(count > 1 for count in times.values())
    return [*lines, "", f"{several} of {len(queries)} queries were decided in two ways or more, none in contradiction."]


if __name__ == "__main__":
    typer.run(main)
