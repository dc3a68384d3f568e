"""The part of a page that says what the verdicts rest on: models, runtimes, solvers, versions, limits."""

import json
from collections import Counter
from collections.abc import Iterator
from html import escape
from importlib.metadata import version

from bvverify.report.page import Markup, facts, table
from bvverify.report.results import Results
from bvverify.report.words import REPLAYED
from bvverify.runs.job import Limits
from bvverify.runs.store import Result


def how_this_was_made(results: Results) -> Iterator[str]:
    """Yield what the verdicts rest on."""
    yield "<h2>How this was made</h2>"
    rows = [
        [
            subject.model,
            subject.target,
            group[0].runtime,
            _replays(group),
            Markup(f"<code>{escape(group[0].model_sha256)}</code>"),
        ]
        for subject, group in results.subjects().items()
    ]
    yield from table(
        ("model", "target", "runtime", "replay", "SHA-256 of the model"),
        rows,
        texts=("model", "target", "runtime", "replay", "SHA-256 of the model"),
    )
    settings = Counter((result.settings, _limits(result.limits)) for result in results.answered())
    yield from table(
        ("settings", "limits", "verdicts"),
        ([_settings(text), limits, count] for (text, limits), count in settings.items()),
        texts=("settings", "limits"),
    )
    yield from facts([("results file", results.file), ("report by", f"bvverify {version('bvverify')}")])


def _replays(group: tuple[Result, ...]) -> str:
    if (refusal := group[0].replay_refusal) is not None:
        return f"not on the machine of the run: {refusal}"
    witnesses = {result.query: result.replay for result in group if result.replay is not None}
    replayed = sum(replay == REPLAYED for replay in witnesses.values())
    return f"{replayed:,} of {len(witnesses):,} counterexamples" if witnesses else "no counterexample to replay"


def _settings(text: str) -> str:
    """Return the settings of verdicts as words; as they are if they are not a JSON object."""
    try:
        return ", ".join(f"{name} {value}" for name, value in json.loads(text).items())
    except (ValueError, AttributeError):
        return text


def _limits(limits: Limits | None) -> str:
    if limits is None:
        return ""
    cpu = "" if limits.cpu_seconds is None else f", {limits.cpu_seconds:g} s of CPU time"
    return f"{limits.seconds:g} s{cpu}, {limits.memory_bytes / 2**30:.3g} GiB"
