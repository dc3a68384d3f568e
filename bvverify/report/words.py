"""Results in words, as all forms of a report use them."""

import shlex
from datetime import UTC, datetime

from bvverify.report.results import Results, Series, State
from bvverify.runs.store import Result

REPLAYED = "replayed"
"""What a store holds of a witness that ran on the real kernel and failed there."""


def duration(seconds: float) -> str:
    """Return a time that took long or short."""
    if seconds < 0.9995:
        return "under 1 ms" if 0 < seconds < 5e-4 else f"{seconds * 1e3:.0f} ms"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


def moment(seconds: float) -> str:
    """Return a point in time as ISO 8601, in UTC."""
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC")


def series_name(series: Series, *, varying: set[str]) -> str:
    """Return what tells a series from others, of which the tie rule, region and clip only if they vary."""
    parts = [str(series.subject)]
    parts += [series.tie] if "tie" in varying else []
    parts += [region_name(series.region, series.clip)] if varying & {"region", "clip"} else []
    return ", ".join(parts)


def region_name(region: str, clip: str) -> str:
    """Return what is perturbed, and within which ends."""
    return f"{region} within [{clip.replace(',', ', ')}]" if clip else region


def common_columns(varying: set[str]) -> set[str]:
    """Return the columns of tables that hold the same for all queries."""
    common = set() if "tie" in varying else {"tie rule"}
    return common if varying & {"region", "clip"} else common | {"region"}


def input_name(result: Result) -> str:
    """Return the file and the place of an input."""
    return f"{result.source}[{result.position}]"


def what_happened(result: Result, results: Results) -> str:
    """Return the outcome of one query in a sentence."""
    label = f"label {result.label}"
    match State.of(result):
        case State.ROBUST:
            return f"robust: {label} within radius {result.radius}"
        case State.UNASKED:
            return "not yet asked"
        case State.UNKNOWN:
            gap = "" if result.gap is None else f"; the bounds miss a proof by {result.gap} output levels"
            return f"unknown: {result.reason or 'no reason given'}{gap}"
        case State.MISCLASSIFIED:
            return f"misclassified: {violation(result, results)}; {replay_remark(result)}"
        case State.VIOLATED:
            how = f"{violation(result, results)} within radius {result.radius}"
            return f"violated: {how}; {replay_remark(result)}"


def violation(result: Result, results: Results) -> str:
    """Return the label of a violated query, and the class of its witness."""
    found = results.witness_classes[result.query]
    tie = ", in a tie of the largest outputs" if found == result.label else ""
    return f"label {result.label}, predicted {found}{tie}"


def replay_remark(result: Result) -> str:
    """Return whether the witness ran on the real kernel."""
    return (
        "replayed on the real kernel" if result.replay == REPLAYED else f"not replayed: {result.replay or 'no reason'}"
    )


def ask_again(result: Result) -> str:
    """Return the command that asks one query again, given the model's and the inputs' files."""
    region, _, patch = result.region.partition(" patch ")
    options = {
        "inputs": result.source,
        "indices": str(result.position),
        "region": region,
        **({"patch": patch} if patch else {}),
        "radius": result.radius,
        **({"clip": result.clip or "none"} if region == "floats" else {}),
        "target": result.target,
        "tie": result.tie,
    }
    words = [
        "bvverify",
        "verify",
        result.model,
        *(word for name, value in options.items() for word in (f"--{name}", value)),
    ]
    return shlex.join(words)
