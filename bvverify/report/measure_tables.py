"""Largest radii and output ranges as tables for a terminal."""

from collections.abc import Sequence

from rich.table import Table

from bvverify.measure import LargestRadius, RegionRanges


def radius_table(rows: Sequence[tuple[int, int, LargestRadius]], *, title: str) -> Table:
    """Return one row per input: (index, label, what was found)."""
    table = Table(title=title)
    for heading in ("input", "label", "robust up to", "violated from", "undecided", "asked", "seconds", "replay"):
        table.add_column(heading, justify="left" if heading in ("undecided", "replay") else "right")
    for index, label, found in rows:
        witness = found.witness.witness if found.witness else None
        table.add_row(
            str(index),
            str(label),
            f"[green]{found.robust}[/]" if found.robust is not None else "",
            f"[red]{found.violated}[/]" if found.violated is not None else "",
            f"[yellow]{_span(found.undecided)}[/]" if found.undecided else "",
            str(len(found.verdicts)),
            f"{sum(verdict.seconds for verdict in found.verdicts.values()):.2f}",
            witness.replay if witness else "",
        )
    return table


def range_table(rows: Sequence[tuple[int, str, RegionRanges]], *, title: str) -> Table:
    """Return one row per output of each region: (index, radius, ranges)."""
    table = Table(title=title)
    for heading in ("input", "radius", "output", "proved", "attained", "exact", "replay"):
        table.add_column(heading, justify="left" if heading in ("exact", "replay") else "right")
    for index, radius, region in rows:
        for one in region.ranges:
            names = {(True, True): "[green]both ends[/]", (True, False): "least", (False, True): "greatest"}
            table.add_row(
                str(index),
                radius,
                str(one.output),
                f"{one.proved[0]} to {one.proved[1]}",
                f"{one.attained[0]} to {one.attained[1]}",
                names.get(one.exact, ""),
                region.replay,
            )
    return table


def _span(radii: range) -> str:
    return str(radii[0]) if len(radii) == 1 else f"{radii[0]} to {radii[-1]}"
