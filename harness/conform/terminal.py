"""What the command says when it is done."""

from rich.table import Table

from harness.conform.certificate import Conformance


def layer_table(outcome: Conformance) -> Table:
    """Return one row per layer."""
    table = Table(title=f"{outcome.subject.deployed.name} on {outcome.subject.target}")
    for number, heading in enumerate(("layer", "bytes", "different", "sides met", "missed", "impossible")):
        table.add_column(heading, justify="right" if number else "left")
    for layer in outcome.layers:
        total, count = layer.whole + layer.alone, layer.coverage
        table.add_row(
            layer.name,
            f"{total.compared:,}",
            f"[red]{total.different:,}[/]" if total.different else "0",
            "" if count is None else f"{count.hit:,} of {count.reachable:,}",
            "" if count is None else f"{count.missed:,}",
            "" if count is None else f"{count.unreachable:,}",
        )
    return table
