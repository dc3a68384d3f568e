"""The command `bvverify run`."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bvverify.cli.options import JsonOption, StagesOption
from bvverify.cli.output import out, write_json
from bvverify.cli.regions import PatchOption
from bvverify.errors import UsageError
from bvverify.exit_codes import ExitCode, err, reported
from bvverify.queries import RegionKind, TieRule
from bvverify.search.decision import Outcome

if TYPE_CHECKING:
    from bvverify.runs.config import RunConfig
    from bvverify.runs.run import RunSummary
    from bvverify.runs.tally import Tally


def run(
    config: Annotated[
        Path | None, typer.Argument(help="TOML file with any of the options below as keys; options given here win.")
    ] = None,
    *,
    model: Annotated[list[Path] | None, typer.Option(help="Model file; several by repeating. Key `models`.")] = None,
    factory: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FUNCTION", help="Read the models as state_dicts into what this returns."),
    ] = None,
    inputs: Annotated[Path | None, typer.Option(help="npz file with `images` and, optionally, `labels`.")] = None,
    indices: Annotated[str | None, typer.Option(help="Which inputs, for example 0-99; all by default.")] = None,
    radius: Annotated[str | None, typer.Option(help="L-infinity radii with commas: 1,2,3. Default 1.")] = None,
    region: Annotated[RegionKind | None, typer.Option(help="What is perturbed; see `bvverify verify`.")] = None,
    clip: Annotated[str | None, typer.Option(help="For floats: LOW,HIGH, or `none`. Default 0,1.")] = None,
    patch: PatchOption = None,
    target: Annotated[
        str | None, typer.Option(help="Targets with commas, as engine/isa, engine or auto. Default auto.")
    ] = None,
    tie: Annotated[list[TieRule] | None, typer.Option(help="What equal largest outputs mean; repeatable.")] = None,
    solver: Annotated[str | None, typer.Option(help="bitwuzla (default), cvc5 or z3.")] = None,
    stages: StagesOption = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds per query, a hard limit. Default 60.")] = None,
    cpu_timeout: Annotated[float | None, typer.Option(help="Seconds of CPU time per query and process.")] = None,
    memory: Annotated[float | None, typer.Option(help="GiB of memory per process. Default 8.")] = None,
    store: Annotated[Path | None, typer.Option(help="SQLite file that takes the results. Default results.db.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Queries that are worked on at a time, on this machine. Default 2.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Dask scheduler, as tcp://host:8786 or a scheduler file, in place of workers.")
    ] = None,
    retry_unknown: Annotated[
        bool, typer.Option("--retry-unknown", help="Ask unknown queries again, though the limits are the same.")
    ] = False,
    json_path: JsonOption = None,
    reproducers: Annotated[
        Path, typer.Option(help="Folder for a reproducer, should the kernel contradict us.")
    ] = Path(),
) -> None:
    """Answer a whole plan: models x targets x inputs x radii x tie rules, kept in a results file.

    Each query runs in a child process with hard limits. Interrupt the run whenever you like: the same command
    goes on where it stopped, and asks unknown queries again if a limit is larger. `bvverify report` shows the results.

    Exit codes: 0 all robust, 1 some violated, 2 usage or something could not be run, 3 some unknown and none violated,
    4 internal error, 130 interrupted.
    """
    with reported():
        if factory is not None and model is None:
            raise UsageError("--factory belongs to --model; a file gives models as tables with path and factory")
        given = {
            "models": None if model is None else [_model(path, factory) for path in model],
            "inputs": inputs,
            "indices": indices,
            "radius": radius,
            "region": region,
            "clip": clip,
            "patch": patch,
            "target": target,
            "tie": tie,
            "solver": solver,
            "stages": stages,
            "timeout": timeout,
            "cpu_timeout": cpu_timeout,
            "memory": memory,
            "store": store,
            "workers": workers,
            "cluster": cluster,
        }
        from bvverify.runs.config import read_config

        plan = read_config(config, {name: value for name, value in given.items() if value is not None})
        summary = _run(plan, retry_unknown=retry_unknown, reproducers=reproducers)
        if json_path is not None:
            write_json(json_path, {**asdict(summary), "store": str(plan.store)})
        _show(summary, plan.store)
        raise typer.Exit(_exit_code(summary))


def _model(path: Path, factory: str | None) -> dict[str, str]:
    return {"path": str(path)} if factory is None else {"path": str(path), "factory": factory}


def _run(config: "RunConfig", *, retry_unknown: bool, reproducers: Path) -> "RunSummary":
    """Run with a progress display; an interrupt says how to go on."""
    from bvverify.runs.cluster import Cluster
    from bvverify.runs.executors import local_workforce
    from bvverify.runs.run import run as run_plan

    with ExitStack() as stack:
        if config.cluster is None:
            workforce = local_workforce(config.workers)
            stack.callback(workforce.executor.shutdown, cancel_futures=True)
        else:
            workforce = stack.enter_context(Cluster(config.cluster)).workforce()
        show = stack.enter_context(_progress())
        try:
            return run_plan(
                config.plan,
                store=config.store,
                workforce=workforce,
                retry_unknown=retry_unknown,
                reproducers=reproducers,
                progress=show,
            )
        except KeyboardInterrupt:
            err.print(
                f"what was decided is in {config.store}; the same command goes on from there",
                markup=False,
                soft_wrap=True,
            )
            raise


@contextmanager
def _progress() -> Iterator[Callable[["Tally"], None]]:
    """Show what is done, the rate, the time left and the verdicts so far."""
    columns = (
        TextColumn("{task.fields[counts]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, speed_estimate_period=300) as bars:
        bar = bars.add_task("run", counts="opening the models", rate="", total=None)
        started = time.monotonic()

        def show(tally: "Tally") -> None:
            counts = ", ".join(f"{tally.outcomes[outcome]} {outcome}" for outcome in Outcome)
            rate = (tally.done - tally.before) / max(time.monotonic() - started, 1e-3)
            bars.update(bar, completed=tally.done, total=tally.total, counts=counts, rate=f"{rate:.1f}/s")

        yield show


def _show(summary: "RunSummary", store: Path) -> None:
    for problem in summary.problems:
        err.print(f"not run: {problem}", markup=False, soft_wrap=True)
    done = summary.robust + summary.violated + summary.unknown
    out.print(
        f"{done} of {summary.total} queries: {summary.robust} robust, {summary.violated} violated, "
        f"{summary.unknown} unknown; {summary.before} were known; {summary.seconds:.1f} s"
    )
    out.print(f"results in {store}; `bvverify report {store} --out report/` shows them", markup=False, soft_wrap=True)


def _exit_code(summary: "RunSummary") -> ExitCode:
    if summary.problems:
        return ExitCode.USAGE
    if summary.violated:
        return ExitCode.SOME_VIOLATED
    return ExitCode.SOME_UNKNOWN if summary.unknown else ExitCode.ALL_ROBUST
