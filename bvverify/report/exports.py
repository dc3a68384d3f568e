"""Results as tables for programs: CSV and JSON."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from typing import Any

from bvverify.report.results import Results, State
from bvverify.runs.job import Limits
from bvverify.runs.store import Result

FORMAT = 1
"""Version of the layout of `results.json`; it grows when a reader of an older one would go wrong."""


def results_as_json(results: Results) -> dict[str, Any]:
    """Return `format`, `file`, `summary` and `results`; the latter holds every query, without its arrays."""
    counts, finished = results.counts, results.finished()
    subjects = results.subjects()
    summary = {
        "queries": counts.total,
        **asdict(counts),
        "models": sorted({subject.model for subject in subjects}),
        "targets": sorted({subject.target for subject in subjects}),
        "seconds": results.seconds,
        "first_finished": None if finished is None else finished[0],
        "last_finished": None if finished is None else finished[1],
    }
    return {
        "format": FORMAT,
        "file": results.file,
        "summary": summary,
        "results": [_row(result, results) for result in results.results],
    }


def csv_lines(results: Results) -> Iterator[str]:
    """Yield a header and one record per query: the values of the JSON, with limits in columns of their own.

    What does not apply is empty; settings are JSON.
    """
    limits = [field.name for field in fields(Limits)]
    plain = [field.name for field in fields(Result) if field.name != "limits"]
    yield _record(["state", *plain, "witness_class", *(f"limit_{name}" for name in limits)])
    for result in results.results:
        row, allowed = _row(result, results), {} if result.limits is None else asdict(result.limits)
        values = [result.settings if name == "settings" else row[name] for name in ("state", *plain, "witness_class")]
        yield _record([*values, *(allowed.get(name) for name in limits)])


def _row(result: Result, results: Results) -> dict[str, Any]:
    return {
        "state": str(State.of(result)),
        **vars(result),
        "settings": _settings(result.settings),
        "outcome": None if result.outcome is None else str(result.outcome),
        "obstacle": None if result.obstacle is None else str(result.obstacle),
        "limits": None if result.limits is None else asdict(result.limits),
        "witness_class": results.witness_classes.get(result.query),
    }


def _settings(text: str) -> Any:
    """Return the settings as the object that their JSON means; None for a query without a verdict."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def _record(values: Sequence[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(values)
    return buffer.getvalue()
