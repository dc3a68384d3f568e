"""Running mutants, each in a process of its own, which loads the mutated source without writing it anywhere."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bvverify.errors import InputError, InternalError
from harness.mutants.generated import generated_cases
from harness.mutants.mutant import ROOT, Mutant
from harness.mutants.recorded import Recorded, corpus_records, kernel_records
from harness.pool import KernelPool

_SECONDS = 600.0
"""A mutant that makes the checks take longer than this is noticed by that."""
_NETWORK_ROOMS = ("bvverify/network/", "bvverify/encode/", "bvverify/search/", "bvverify/queries/")


@dataclass(frozen=True)
class Fate:
    """What became of one mutant."""

    mutant: Mutant
    killer: str
    """The check that noticed it; empty if none did."""
    reason: str
    """What that check said."""
    checks: int
    """How many checks were made."""
    seconds: float


def record(pool: KernelPool) -> list[Recorded]:
    """Return what mutants are measured against: the corpus and random cases, with the kernels' bytes."""
    return [*corpus_records(), *kernel_records(list(generated_cases()), pool)]


def run_mutants(mutants: Sequence[Mutant], records: Sequence[Recorded], *, jobs: int = 1) -> Iterator[Fate]:
    """Yield the fate of each mutant, in their order.

    Raises `InternalError` if unmutated code fails a check, `InputError` for a mutant that does not apply or import.
    """
    for mutant in mutants:
        _compiled(mutant)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "records"
        path.write_bytes(pickle.dumps(list(records)))
        answer = _asked(path, None)
        if answer["killer"]:
            raise InternalError(f"code without a mutant fails {answer['killer']}: {answer['reason']}")
        with ThreadPoolExecutor(jobs) as executor:
            yield from executor.map(lambda mutant: _fate(path, mutant), mutants)


def _compiled(mutant: Mutant) -> None:
    try:
        compile(mutant.source(), mutant.file, "exec")
    except SyntaxError as error:
        raise InputError(f"mutant {mutant.name}: is not Python: {error}") from error


def _fate(path: Path, mutant: Mutant) -> Fate:
    answer = _asked(path, mutant)
    if "broken" in answer:
        raise InputError(f"mutant {mutant.name}: cannot be imported: {answer['broken']}")
    return Fate(mutant, answer["killer"], answer["reason"], answer["checks"], answer["seconds"])


def _asked(path: Path, mutant: Mutant | None) -> dict[str, Any]:
    """Return a worker's answer about one mutant, or about code without any."""
    order = {
        "module": mutant.module if mutant else "",
        "source": mutant.source() if mutant else "",
        "networks_first": mutant is not None and mutant.file.startswith(_NETWORK_ROOMS),
    }
    command = [sys.executable, "-m", "harness.mutants.worker", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        ended = subprocess.run(
            command, input=json.dumps(order), capture_output=True, text=True, env=environment, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return {
            "killer": "time",
            "reason": f"the checks take more than {_SECONDS:g} s",
            "checks": 0,
            "seconds": _SECONDS,
        }
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        return {"killer": "crash", "reason": f"exit status {ended.returncode}: {last}", "checks": 0, "seconds": 0.0}
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer
