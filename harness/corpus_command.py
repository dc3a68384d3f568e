"""The commands `corpus run` and `corpus add`."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bvverify.errors import UsageError
from bvverify.exit_codes import reported
from harness.case_file import read_case, write_case
from harness.corpus import FOLDER, case_paths, recorded_case, run_case
from harness.pool import KernelPool

app = typer.Typer(help="Known ways to get a quantized kernel wrong.", no_args_is_help=True)
console = Console()


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="Corpus: one folder for each bug or trap.")] = FOLDER,
) -> None:
    """Check every case on every target; exit code 1 if anything is wrong."""
    with reported(), KernelPool() as pool:
        counts: Counter[str] = Counter()
        for path in case_paths(folder):
            for outcome in run_case(read_case(path), pool):
                kind = "faults" if outcome.fault else "skipped" if outcome.skipped else "passed"
                counts[kind] += 1
                if outcome.fault:
                    where = f"{path.relative_to(folder)} on {outcome.target}, {outcome.check}"
                    console.print(f"{where}: {outcome.fault}", markup=False, soft_wrap=True)
        console.print(f"{counts['passed']} checks passed, {counts['skipped']} skipped, {counts['faults']} failed")
        raise typer.Exit(int(counts["faults"] > 0))


@app.command()
def add(
    case: Annotated[Path, typer.Argument(help="Case file with the model and the inputs; what it expects is ignored.")],
    name: Annotated[str, typer.Option(help="Name of the bug or trap, which names the folder.")],
    cause: Annotated[str, typer.Option(help="One line: what goes wrong where this case is not minded.")],
    upstream: Annotated[list[str] | None, typer.Option(help="Where it was reported; `ours` if nowhere.")] = None,
    folder: Annotated[Path, typer.Option(help="Corpus to add to.")] = FOLDER,
) -> None:
    """Record what this machine's kernels compute for CASE and keep it as a corpus entry."""
    with reported(), KernelPool() as pool:
        path = folder / name / "case.json"
        if path.exists():
            raise UsageError(f"{path}: is there already; choose another --name")
        given = read_case(case)
        recorded = recorded_case(name, cause, upstream or ["ours"], given.model, given.inputs, pool)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_case(path, recorded)
        console.print(f"wrote {path}", markup=False, soft_wrap=True)
