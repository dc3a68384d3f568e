"""A file of answers, one JSON object per line, so that what was proved once is not proved again."""

import fcntl
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from bvverify.closing import Closing
from bvverify.errors import UsageError
from bvverify.solvers import Status


@dataclass(frozen=True)
class Counterexample:
    """An accumulator to which the pipeline and the thresholds give different bytes; for an addition, with the two
    bytes whose sum it stands for.
    """

    accumulator: int
    computed: int
    """By the pipeline."""
    claimed: int
    """By the thresholds."""
    operands: tuple[int, int] | None = None


@dataclass(frozen=True)
class Entry:
    """What `solver` in `version` said about the obligation with this SHA-256.

    `status`: "unsat" (proved), "sat" (then there is a counterexample) or "unknown" (then there is a reason).
    """

    obligation: str
    solver: str
    version: str
    status: str
    seconds: float
    reason: str = ""
    counterexample: Counterexample | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What was asked, and whom."""
        return self.obligation, self.solver, self.version


class Store(Closing):
    """The answers of this run and, where there is a file, of those before; a context manager.

    A last line that an interrupted run left unfinished is dropped.  UsageError for a file that cannot be used, that
    another run is using, or that holds something else.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._entries: dict[tuple[str, str, str], Entry] = {}
        self._file: BinaryIO | None = None
        if path is not None:
            try:
                self._file = path.open("a+b")
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self.close()
                raise UsageError(f"{path}: another run is using this store; wait for it or choose another") from error
            except OSError as error:
                raise UsageError(f"{path}: the store cannot be opened ({error.strerror})") from error
            try:
                self._load(path, self._file)
            except BaseException:
                self.close()
                raise

    def find(self, key: tuple[str, str, str]) -> Entry | None:
        """Return the answer to a question, unless there is none or it was unknown."""
        return self._entries.get(key)

    def add(self, entry: Entry) -> None:
        """Keep an answer; it is in the file when this returns."""
        if self._file is not None:
            self._file.write(json.dumps(asdict(entry)).encode() + b"\n")
            self._file.flush()
        self._remember(entry)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _remember(self, entry: Entry) -> None:
        if entry.status != Status.UNKNOWN.value:
            self._entries[entry.key] = entry

    def _load(self, path: Path, file: BinaryIO) -> None:
        file.seek(0)
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                fields = json.loads(line)
                if fields["counterexample"] is not None:
                    fields["counterexample"] = _counterexample(**fields["counterexample"])
                entry = Entry(**fields)
                Status(entry.status)
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(
                    f"{path}, line {number}: not an answer of prove-lowering; choose another file"
                ) from error
            self._remember(entry)
        if len(whole) < len(content) and not content[len(whole) :].startswith(b"{"):
            raise UsageError(f"{path}: not a store of prove-lowering; choose another file")
        file.truncate(len(whole))


def _counterexample(operands: list[int] | None = None, **fields: int) -> Counterexample:
    return Counterexample(**fields, operands=None if operands is None else (operands[0], operands[1]))
