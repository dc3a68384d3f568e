"""The conformance table: what was compared, for each operation and target."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bvverify.errors import InputError
from bvverify.kernels.target import RUNTIME, TARGETS
from harness.differential.compare import Mismatch, Tally
from harness.differential.operations import OPERATIONS


@dataclass(frozen=True)
class Round:
    """The outcome of a run of seeds of one operation on one target."""

    operation: str
    target: str
    first: int
    """First seed."""
    seeds: int
    compared: int
    bytes: int
    unavailable: int
    refused: dict[str, int] = field(default_factory=dict)
    mismatches: tuple[Mismatch, ...] = ()


def round_of(operation: str, target: str, seeds: range, tally: Tally) -> Round:
    """Return what is kept of a tally."""
    counts = tally.compared, tally.bytes, tally.unavailable
    return Round(operation, target, seeds.start, len(seeds), *counts, dict(tally.refused), tuple(tally.mismatches))


def append_round(store: Path, row: Round) -> None:
    """Add a round to a file of JSON lines."""
    with store.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row)) + "\n")


def read_rounds(store: Path) -> list[Round]:
    """Return the rounds of a file; a last line that an interruption cut off is left out."""
    if not store.exists():
        return []
    lines = store.read_text(encoding="utf-8").split("\n")
    complete = lines[:-1]
    try:
        rows = [json.loads(line) for line in complete]
        return [Round(**{**row, "mismatches": tuple(Mismatch(**one) for one in row["mismatches"])}) for row in rows]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{store}: not a file of conformance rounds ({error}); choose another --store") from error


def page(rounds: Sequence[Round]) -> Iterator[str]:
    """Yield the lines of a Markdown page about rounds."""
    total = sum(row.bytes for row in rounds)
    wrong = sum(len(row.mismatches) for row in rounds)
    yield "# Conformance"
    yield ""
    yield "Random layers, computed by the lowered network and by the real kernels of"
    yield f"{RUNTIME}, whose instruction set was forced by the environment: every byte that a"
    yield "kernel computed was compared. Models are random around one operation, with scales and zero points at which"
    yield "ties occur, weights and activations at their ends, and shapes that leave vector remainders. Cases that"
    yield "lowering refuses are counted with their reasons below."
    yield "Made by `python -m harness differential`."
    yield ""
    yield f"**{total:,} bytes compared, {wrong:,} cases differ.**"
    yield ""
    yield "| operation | target | cases | bytes compared | cases that differ | refused |"
    yield "|---|---|---|---|---|---|"
    for operation in OPERATIONS:
        for target in TARGETS:
            rows = [row for row in rounds if (row.operation, row.target) == (operation.name, str(target))]
            if rows:
                yield _line(operation.name, str(target), rows)
    yield f"| all | | {sum(row.compared for row in rounds):,} | {total:,} | {wrong:,} | |"
    yield ""
    yield "## Reasons for refusals"
    yield ""
    yield "| reason | cases |"
    yield "|---|---|"
    for reason, count in _reasons(rounds).most_common():
        yield f"| {reason} | {count:,} |"


def _line(operation: str, target: str, rows: Iterable[Round]) -> str:
    rows = list(rows)
    compared, total = sum(row.compared for row in rows), sum(row.bytes for row in rows)
    wrong = sum(len(row.mismatches) for row in rows)
    refused = sum(sum(row.refused.values()) for row in rows)
    unavailable = sum(row.unavailable for row in rows)
    note = f"{refused:,}" + (f" and {unavailable:,} not runnable here" if unavailable else "")
    return f"| {operation} | {target} | {compared:,} | {total:,} | {wrong:,} | {note} |"


def _reasons(rounds: Sequence[Round]) -> Counter[str]:
    """Return how often each reason was given, numbers in it left out."""
    counts: Counter[str] = Counter()
    for row in rounds:
        for reason, count in row.refused.items():
            counts[_general(reason)] += count
    return counts


def _general(reason: str) -> str:
    words = reason.replace("|", "/").split(" ")
    return " ".join("…" if any(letter.isdigit() for letter in word) and "/" not in word else word for word in words)
