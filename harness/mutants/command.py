"""The command `mutants`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bvverify.errors import UsageError
from bvverify.exit_codes import reported
from harness.mutants.mutant import load_mutants
from harness.mutants.page import page
from harness.mutants.runner import record, run_mutants
from harness.pool import KernelPool

console = Console()


def main(
    *,
    jobs: Annotated[int, typer.Option(min=1, help="Mutants that run at a time.")] = 2,
    only: Annotated[list[str] | None, typer.Option(help="Only mutants whose name or file contains this text.")] = None,
    out: Annotated[Path | None, typer.Option(help="Markdown page to write, for example docs/mutants.md.")] = None,
) -> None:
    """Plant mistakes in the source, one at a time; exit code 1 if one of them goes unnoticed."""
    with reported():
        texts = only or [""]
        mutants = [mutant for mutant in load_mutants() if any(text in f"{mutant.name} {mutant.file}" for text in texts)]
        if not mutants:
            raise UsageError(f"--only {' '.join(texts)}: no mutant has such a name or file")
        with console.status("recording the kernels' bytes"), KernelPool() as pool:
            records = record(pool)
        fates = []
        for fate in run_mutants(mutants, records, jobs=jobs):
            fates.append(fate)
            outcome = f"noticed by {fate.killer}: {fate.reason}" if fate.killer else "NOT NOTICED"
            line = f"{fate.mutant.name} ({fate.seconds:.1f} s): {outcome}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        survivors = [fate.mutant.name for fate in fates if not fate.killer]
        console.print(f"{len(fates) - len(survivors)} of {len(fates)} mutants noticed", *survivors, sep="\n- ")
        if out is not None:
            out.write_text("".join(f"{line}\n" for line in page(fates)), encoding="utf-8")
        raise typer.Exit(int(bool(survivors)))
