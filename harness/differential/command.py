"""The command `differential`: random layers against the real kernels, for a while or until stopped."""

import itertools
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bvverify.errors import UsageError
from bvverify.exit_codes import ExitCode, reported
from bvverify.kernels.target import TARGETS, Target
from harness.differential.compare import Tally, compare
from harness.differential.failures import write_failure
from harness.differential.operations import OPERATIONS, Operation
from harness.differential.table import Round, append_round, page, read_rounds, round_of
from harness.pool import KernelPool

console = Console()
_SEEDS = 20
"""Cases of one operation on one target in a round."""


class Profile(StrEnum):
    """How long to go on."""

    QUICK = "quick"
    THOROUGH = "thorough"
    FUZZ = "fuzz"


_MINUTES = {Profile.QUICK: 0.0, Profile.THOROUGH: 60.0, Profile.FUZZ: float("inf")}


def main(
    *,
    profile: Annotated[
        Profile,
        typer.Option(help="quick: every operation and target once; thorough: an hour; fuzz: on and on."),
    ] = Profile.QUICK,
    minutes: Annotated[float | None, typer.Option(min=0, help="Go on for so long instead.")] = None,
    operation: Annotated[
        list[str] | None, typer.Option(help="Only this operation of the table; may be given several times.")
    ] = None,
    targets: Annotated[str, typer.Option(help="Targets, with commas; all that run here by default.")] = "",
    store: Annotated[
        Path | None, typer.Option(help="File of rounds: those that it holds are skipped, new ones are added.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Markdown page to write about all rounds.")] = None,
    failures: Annotated[Path, typer.Option(help="Folder for shrunk cases that differ.")] = Path("failures"),
) -> None:
    """Compare random layers with the real kernels; exit code 1 if any byte differs.

    A case that differs is shrunk and written as a case file, which `corpus add` turns into a corpus entry.
    """
    with reported():
        chosen = _operations(operation or []), _targets(targets)
        deadline = time.monotonic() + 60 * (_MINUTES[profile] if minutes is None else minutes)
        rounds = read_rounds(store) if store else []
        done = {(row.operation, row.target, row.first) for row in rounds}
        interrupted = False
        with KernelPool() as pool, console.status("starting") as status:
            try:
                for cell, target, seeds in _cells(*chosen, deadline):
                    if (cell.name, str(target), seeds.start) in done:
                        continue
                    total = sum(row.bytes for row in rounds)
                    status.update(f"{cell.name} on {target}, seeds from {seeds.start}; {total:,} bytes so far")
                    tally = compare(pool, cell, target, seeds)
                    rounds.append(round_of(cell.name, str(target), seeds, tally))
                    _report(pool, cell, target, tally, failures)
                    if store:
                        append_round(store, rounds[-1])
            except KeyboardInterrupt:
                interrupted = True
        if out is not None:
            out.write_text("".join(f"{line}\n" for line in page(rounds)), encoding="utf-8")
        raise typer.Exit(_conclude(rounds, interrupted))


def _conclude(rounds: list[Round], interrupted: bool) -> int:
    wrong = sum(len(row.mismatches) for row in rounds)
    cases, total = sum(row.compared for row in rounds), sum(row.bytes for row in rounds)
    console.print(f"{cases:,} cases, {total:,} bytes compared, {wrong:,} cases differ")
    return ExitCode.INTERRUPTED if interrupted else int(wrong > 0)


def _cells(
    operations: list[Operation], targets: list[Target], deadline: float
) -> Iterator[tuple[Operation, Target, range]]:
    """Yield operation, target and seeds, round by round, until the deadline; the first round is always complete."""
    for number in itertools.count():
        for target, operation in itertools.product(targets, operations):
            if number and time.monotonic() >= deadline:
                return
            if operation.runs_on(target):
                yield operation, target, range(number * _SEEDS, (number + 1) * _SEEDS)
        if time.monotonic() >= deadline:
            return


def _report(pool: KernelPool, operation: Operation, target: Target, tally: Tally, folder: Path) -> None:
    for mismatch in tally.mismatches:
        console.print(
            f"{mismatch.operation} on {mismatch.target}, seed {mismatch.seed}: {mismatch.what}",
            markup=False,
            soft_wrap=True,
        )
    if tally.mismatches:
        path = write_failure(pool, operation, target, tally.mismatches[0].seed, folder)
        console.print(f"shrunk case: {path}" if path else "the case could not be shrunk", markup=False, soft_wrap=True)


def _operations(names: list[str]) -> list[Operation]:
    known = {operation.name: operation for operation in OPERATIONS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"unknown operation '{unknown[0]}'; known: {'; '.join(known)}")
    return [known[name] for name in names] or list(OPERATIONS)


def _targets(text: str) -> list[Target]:
    if text:
        return [Target.parse(name.strip()) for name in text.split(",")]
    return [target for target in TARGETS if target.unavailable() is None]
