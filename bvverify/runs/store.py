"""The store of a run: one SQLite file that holds every query that was asked and every verdict that was given.

A verdict belongs to a query (`query_key`) and to the settings and versions that gave it (`settings_text`); the same
query on another subject, or another solver's answer to it, is another row.  Each verdict is committed when `add`
returns, so an interrupted run loses nothing that was decided, and several runs may write to one file.
"""

import io
import json
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.closing import Closing
from bvverify.errors import InternalError, UsageError
from bvverify.evidence.verdict import Verdict
from bvverify.runs.job import Limits
from bvverify.search.decision import Obstacle, Outcome

_APPLICATION = 0x62767672  # "bvvr"
_VERSION = 2
_BUSY_SECONDS = 30.0
_SCHEMA = """
CREATE TABLE subjects (
    id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, model TEXT NOT NULL, model_sha256 TEXT NOT NULL,
    target TEXT NOT NULL, runtime TEXT NOT NULL, network TEXT NOT NULL, replay_refusal TEXT
) STRICT;
CREATE TABLE inputs (digest TEXT PRIMARY KEY, content BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE items (
    id INTEGER PRIMARY KEY, subject INTEGER NOT NULL REFERENCES subjects, source TEXT NOT NULL,
    position INTEGER NOT NULL, region TEXT NOT NULL, radius TEXT NOT NULL, clip TEXT NOT NULL, tie TEXT NOT NULL,
    label INTEGER NOT NULL, prediction INTEGER NOT NULL, input TEXT NOT NULL REFERENCES inputs, query TEXT NOT NULL,
    UNIQUE (subject, source, position, query)
) STRICT;
CREATE TABLE verdicts (
    query TEXT NOT NULL, settings TEXT NOT NULL, outcome TEXT NOT NULL, stage TEXT NOT NULL, solver TEXT NOT NULL,
    seconds REAL NOT NULL, reason TEXT NOT NULL, obstacle TEXT, gap INTEGER, missing REAL, nodes INTEGER, closest REAL,
    limits TEXT NOT NULL, replay TEXT, witness BLOB, outputs BLOB, finished REAL NOT NULL,
    PRIMARY KEY (query, settings)
) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True)
class SubjectRow:
    """One model on one target, as the store describes it."""

    digest: str
    """Of the network, the input quantization, the target and the runtime."""
    model: str
    model_sha256: str
    target: str
    runtime: str
    network: str
    """SHA-256 of the StepNetwork."""
    replay_refusal: str | None


@dataclass(frozen=True, eq=False)
class Item:
    """One query of a plan: an input of a file, a region around it and a property."""

    source: str
    """File that holds the input."""
    position: int
    """The input's place in the file, from 0."""
    region: str
    radius: str
    """An exact fraction, in the unit of the region."""
    clip: str
    tie: str
    label: int
    prediction: int
    """The class of the unperturbed input."""
    image: npt.NDArray[Any]
    """The unperturbed input, uint8 pixels or float32."""
    input_digest: str
    query: str
    """Key of the query; see `query_key`."""


@dataclass(frozen=True)
class Known:
    """What the store holds for a query under some settings."""

    outcome: Outcome
    obstacle: Obstacle | None
    limits: Limits


@dataclass(frozen=True)
class Result:
    """One query with its verdict; `outcome` is None for a query that was not answered yet."""

    model: str
    model_sha256: str
    target: str
    runtime: str
    replay_refusal: str | None
    source: str
    position: int
    region: str
    radius: str
    clip: str
    tie: str
    label: int
    prediction: int
    input: str
    query: str
    settings: str
    """JSON: the solver and the versions that gave the verdict; empty without one."""
    outcome: Outcome | None
    stage: str
    solver: str
    seconds: float
    reason: str
    obstacle: Obstacle | None
    gap: int | None
    missing: float | None
    nodes: int | None
    closest: float | None
    limits: Limits | None
    replay: str | None
    finished: float | None
    """Seconds since the epoch."""


@dataclass(frozen=True, eq=False)
class Counterexample:
    """The arrays of a violated query."""

    original: npt.NDArray[Any]
    """The unperturbed input, uint8 pixels or float32 as its file holds it."""
    witness: npt.NDArray[np.float32]
    """The real input that violates the property."""
    outputs: npt.NDArray[np.int64]
    """The output bytes for the witness."""


_RESULT_COLUMNS = """
    s.model, s.model_sha256, s.target, s.runtime, s.replay_refusal, i.source, i.position, i.region, i.radius, i.clip,
    i.tie, i.label, i.prediction, i.input, i.query, coalesce(v.settings, ''), v.outcome, coalesce(v.stage, ''),
    coalesce(v.solver, ''), coalesce(v.seconds, 0.0), coalesce(v.reason, ''), v.obstacle, v.gap, v.missing, v.nodes,
    v.closest, v.limits, v.replay, v.finished
"""


class Store(Closing):
    """The results file at `path`; a context manager, used by one thread."""

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        """Open the file; with `create`, make it if it is not there or empty.

        Raises `UsageError` if it cannot be opened, is damaged, or holds something else.
        """
        path = Path(path)
        self._path, self._creates = path, create
        if not create and not path.is_file():
            raise UsageError(f"{path}: no such results file; `bvverify run` makes one")
        place = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
        with self._errors():
            self._connection = sqlite3.connect(place, timeout=_BUSY_SECONDS, isolation_level=None, uri=True)
        try:
            with self._errors():
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def add_subject(self, row: SubjectRow) -> int:
        """Remember a subject and return its number."""
        with self._transaction():
            self._insert("subjects", asdict(row))
            found = self._connection.execute("SELECT id FROM subjects WHERE digest = ?", (row.digest,)).fetchone()
        return int(found[0])

    def add_items(self, subject: int, items: Iterable[Item]) -> None:
        """Remember queries of a plan."""
        with self._transaction():
            for item in items:
                self._insert("inputs", {"digest": item.input_digest, "content": pack(item.image)})
                columns = {name: value for name, value in vars(item).items() if name not in ("image", "input_digest")}
                self._insert("items", {"subject": subject, "input": item.input_digest, **columns})

    def find(self, query: str, settings: str) -> Known | None:
        """Return what is known about a query under these settings."""
        with self._errors():
            row = self._connection.execute(
                "SELECT outcome, obstacle, limits FROM verdicts WHERE query = ? AND settings = ?", (query, settings)
            ).fetchone()
        if row is None:
            return None
        return Known(Outcome(row[0]), None if row[1] is None else Obstacle(row[1]), Limits(**json.loads(row[2])))

    def add(self, query: str, settings: str, verdict: Verdict, limits: Limits) -> Outcome:
        """Keep a verdict; it is in the file when this returns.  Return the outcome that the file holds then.

        A decided verdict stays; an unknown one gives way to any later one.  Raises `InternalError` if the file says
        robust and the verdict violated, or the other way round, under whatever settings.
        """
        witness = verdict.witness
        values = {
            "query": query,
            "settings": settings,
            "outcome": str(verdict.outcome),
            "stage": verdict.stage,
            "solver": verdict.solver,
            "seconds": verdict.seconds,
            "reason": verdict.reason,
            "obstacle": None if verdict.obstacle is None else str(verdict.obstacle),
            "gap": verdict.gap,
            "missing": verdict.missing,
            "nodes": verdict.nodes,
            "closest": verdict.closest,
            "limits": json.dumps(asdict(limits)),
            "replay": None if witness is None else witness.replay,
            "witness": None if witness is None else pack(witness.real),
            "outputs": None if witness is None else pack(witness.outputs),
            "finished": time.time(),
        }
        with self._transaction():
            held = self._connection.execute("SELECT settings, outcome FROM verdicts WHERE query = ?", (query,))
            rows: dict[str, str] = dict(held.fetchall())
            for other, outcome in rows.items():
                if {outcome, str(verdict.outcome)} == {str(Outcome.ROBUST), str(Outcome.VIOLATED)}:
                    raise InternalError(
                        f"{self._path}: contradiction about query {query}: {outcome} by {other}, "
                        f"now {verdict.outcome} by {settings}; no verdict of either may be trusted"
                    )
            before = Outcome(rows.get(settings, Outcome.UNKNOWN))
            if before is not Outcome.UNKNOWN:
                return before
            columns = ", ".join(values)
            self._connection.execute(
                f"INSERT OR REPLACE INTO verdicts ({columns}) VALUES ({_marks(values)})", tuple(values.values())
            )
        return verdict.outcome

    def results(self) -> Iterator[Result]:
        """Yield every query, by model, target, tie rule, radius and position, with the verdict that says most.

        That is a decided one if there is any, else the latest.
        """
        order = "ORDER BY (v.outcome != 'unknown') DESC, v.finished DESC LIMIT 1"
        with self._errors():
            cursor = self._connection.execute(
                f"SELECT {_RESULT_COLUMNS} FROM items i JOIN subjects s ON s.id = i.subject LEFT JOIN verdicts v"
                " ON v.query = i.query AND v.settings ="
                f" (SELECT settings FROM verdicts v WHERE v.query = i.query {order})"
                " ORDER BY s.model, s.target, i.tie, i.region, i.id"
            )
            for row in cursor:
                yield _result(row)

    def counterexample(self, result: Result) -> Counterexample:
        """Return the arrays of a violated result."""
        with self._errors():
            row = self._connection.execute(
                "SELECT n.content, v.witness, v.outputs FROM verdicts v, inputs n"
                " WHERE v.query = ? AND v.settings = ? AND n.digest = ?",
                (result.query, result.settings, result.input),
            ).fetchone()
        if row is None or row[1] is None:
            raise UsageError(f"{self._path}: query {result.query} has no counterexample")
        return Counterexample(*(unpack(content) for content in row))

    def close(self) -> None:
        """Close the file; may be repeated."""
        self._connection.close()

    def _prepare(self) -> None:
        """Check what the file is, and lay it out if it is empty."""
        tables = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        application, version = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if (tables or not self._creates) and (application, version) != (_APPLICATION, _VERSION):
            what = "of another version of bvverify" if application == _APPLICATION else "not made by bvverify"
            raise UsageError(f"{self._path}: a database {what}; choose another file")
        if self._connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise UsageError(f"{self._path}: the results file is damaged; restore a copy or start a new one")
        if not self._creates:
            return  # the file may be write-protected
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        if not tables:
            with self._transaction():
                if not self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                    for statement in _SCHEMA.split(";\n"):
                        self._connection.execute(statement)
                    self._connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                    self._connection.execute(f"PRAGMA user_version = {_VERSION}")

    def _insert(self, table: str, values: dict[str, Any]) -> None:
        """Insert a row unless it is there already."""
        self._connection.execute(
            f"INSERT OR IGNORE INTO {table} ({', '.join(values)}) VALUES ({_marks(values)})", tuple(values.values())
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Do everything inside or nothing; other processes wait for their turn."""
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn SQLite's errors into one line that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            text = str(error)
            if "full" in text or "disk I/O error" in text:
                advice = "what was decided before is kept; make room and run again"
            elif "locked" in text:
                advice = "another run is holding it; wait for it or choose another file"
            elif "malformed" in text or "not a database" in text or "corrupt" in text:
                advice = "not a results file of bvverify, or a damaged one; choose another file"
            else:
                advice = "the results file cannot be used; check its folder and its permissions"
            raise UsageError(f"{self._path}: {text}; {advice}") from error


def pack(array: npt.NDArray[Any]) -> bytes:
    """Return an array as compressed npy bytes."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return zlib.compress(buffer.getvalue(), 1)


def unpack(content: bytes) -> npt.NDArray[Any]:
    """Return the array that `pack` was given."""
    array: npt.NDArray[Any] = np.load(io.BytesIO(zlib.decompress(content)), allow_pickle=False)
    return array


def _marks(values: Sequence[Any] | dict[str, Any]) -> str:
    return ", ".join("?" * len(values))


def _result(row: Sequence[Any]) -> Result:
    values = dict(zip((field.name for field in fields(Result)), row, strict=True))
    if (outcome := values["outcome"]) is not None:
        values["outcome"] = Outcome(outcome)
        values["limits"] = Limits(**json.loads(values["limits"]))
    if (obstacle := values["obstacle"]) is not None:
        values["obstacle"] = Obstacle(obstacle)
    return Result(**values)
