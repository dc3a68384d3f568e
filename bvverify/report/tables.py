"""Results as tables for a terminal."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from bvverify.evidence import Verdict
from bvverify.kernels.inspection import Inspection
from bvverify.kernels.target import TARGETS, Target
from bvverify.report.results import Counts, Results

_STYLES = {"robust": "green", "violated": "red", "unknown": "yellow"}


def verdict_table(rows: Sequence[tuple[int, str, Verdict]], *, title: str) -> Table:
    """Return one row per query: (index, radius, verdict)."""
    table = Table(title=title)
    for heading in ("input", "radius", "label", "verdict", "stage", "seconds", "replay", "remark"):
        table.add_column(heading, justify="right" if heading in ("input", "radius", "label", "seconds") else "left")
    for index, radius, verdict in rows:
        name = str(verdict.outcome)
        replay = verdict.witness.replay if verdict.witness else ""
        remark = verdict.reason or (_witness_remark(verdict) if verdict.witness else "")
        table.add_row(
            str(index),
            radius,
            str(verdict.label),
            f"[{_STYLES[name]}]{name}[/]",
            f"{verdict.stage}/{verdict.solver.partition(' ')[0]}" if verdict.solver else verdict.stage,
            f"{verdict.seconds:.2f}",
            replay,
            remark,
        )
    return table


def counts_table(results: Results) -> Table:
    """Return one row per model and target, and one for all: how many queries have which outcome."""
    table = Table(title=Text(results.file))
    for heading in ("model", "target"):
        table.add_column(heading, overflow="fold")
    for heading in ("robust", "violated", "unknown", "not asked"):
        table.add_column(heading, justify="right", style=_STYLES.get(heading))
    rows = [(subject.model, subject.target, Counts.of(group)) for subject, group in results.subjects().items()]
    for model, target, counts in [*rows, ("all", "", results.counts)]:
        numbers = (counts.robust, counts.violated, counts.unknown, counts.unasked)
        table.add_row(Text(model), Text(target), *(f"{number:,}" for number in numbers))
    table.rows[-1].style = "bold"
    return table


def layer_table(inspection: Inspection) -> Table:
    """Return one row per layer: what the file says of it, and its accumulators."""
    table = Table(title=f"{inspection.name}: layers, input {inspection.input_shape}")
    for heading in (
        "layer",
        "type",
        "output",
        "scale",
        "zero point",
        "weight",
        "accumulator",
        "pairs that can saturate",
    ):
        table.add_column(heading)
    for layer in inspection.layers:
        table.add_row(
            layer.name,
            layer.kind,
            str(layer.output_shape),
            "" if layer.scale is None else f"{layer.scale:.6g}",
            "" if layer.zero_point is None else str(layer.zero_point),
            layer.weight,
            "" if layer.accumulator is None else f"{layer.accumulator[0]} to {layer.accumulator[1]}",
            "" if layer.saturating_pairs is None else f"{layer.saturating_pairs} of {layer.pairs}",
        )
    return table


def support_table(inspection: Inspection) -> Table:
    """Return one row per target: whether it is modelled for this model, and whether this machine can run it."""
    table = Table(title=f"{inspection.name}: targets")
    for heading in ("target", "verification", "replay here"):
        table.add_column(heading)
    for support in inspection.targets:
        table.add_row(
            support.target,
            "[green]exact[/]" if support.refusal is None else f"[red]refused[/]: {support.refusal}",
            "" if support.refusal else "yes" if support.unavailable is None else f"no: {support.unavailable}",
        )
    return table


def target_table(detected: Target | None) -> Table:
    """Return one row per known target."""
    table = Table(title="targets")
    for heading in ("target", "runtime", "this machine", "forced by"):
        table.add_column(heading)
    for target in TARGETS:
        reason = target.unavailable()
        here = "runs it" if reason is None else f"cannot: {reason}"
        table.add_row(
            f"[bold]{target}[/]" if target == detected else str(target),
            target.runtime,
            f"{here}, PyTorch's default" if target == detected else here,
            " ".join(f"{name}={value}" for name, value in target.environment().items()),
        )
    return table


def _witness_remark(verdict: Verdict) -> str:
    assert verdict.witness is not None
    return f"classified as {int(verdict.witness.outputs.argmax())}"
