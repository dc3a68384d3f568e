"""A comparison as tables for a terminal."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from bvverify.report.comparison_words import Compared, accuracy, outcomes, right_and_wrong, share, side_names, title


def comparison_tables(compared: Compared) -> Iterator[Table]:
    """Yield what differs, then the layers, and the verdicts if there are any."""
    yield _summary(compared)
    if compared.comparison.layers:
        yield _layers(compared)
    if compared.verdicts is not None:
        yield _verdicts(compared)


def _summary(compared: Compared) -> Table:
    comparison = compared.comparison
    count = len(comparison.positions)
    table = Table(title=Text(title(comparison)), show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("images", f"{count:,}")
    if comparison.incomparable is None:
        table.add_row("images whose output bytes differ", _part(int((comparison.distances > 0).sum()), count))
        table.add_row("output bytes that differ", _part(comparison.bytes_that_differ, comparison.first.outputs.size))
        table.add_row("largest difference of an output byte", f"{int(comparison.distances.max(initial=0)):,}")
    table.add_row("images whose predictions differ", _part(int(comparison.predictions_differ.sum()), count))
    for what, found in right_and_wrong(comparison):
        if found:
            table.add_row(Text(f"  {what}"), f"{found:,}")
    for side, name in zip((comparison.first, comparison.second), side_names(comparison), strict=True):
        if comparison.labels is not None:
            table.add_row(Text(f"labels predicted, {name}"), accuracy(side, comparison))
    if compared.verdicts is not None:
        table.add_row("verdicts that differ", _part(len(compared.verdicts_that_differ), len(compared.verdicts)))
        table.add_row("questions undecided on a side", _part(compared.undecided, len(compared.verdicts)))
    return table


def _layers(compared: Compared) -> Table:
    table = Table(title="layers")
    for heading in ("layer", "type", "output"):
        table.add_column(heading)
    for heading in ("images that differ", "bytes that differ", "largest"):
        table.add_column(heading, justify="right")
    count = len(compared.comparison.positions)
    for layer in compared.comparison.layers:
        numbers = (_part(layer.images, count), _part(layer.bytes, layer.compared), f"{layer.largest}")
        table.add_row(Text(layer.name), layer.kind, str(layer.shape), *numbers)
    return table


def _verdicts(compared: Compared) -> Table:
    table = Table(title="verdicts")
    for name in side_names(compared.comparison):
        table.add_column(Text(name))
    table.add_column("questions", justify="right")
    for (first, second), count in outcomes(compared.verdicts or ()).items():
        differ = {first, second} == {"robust", "violated"}
        table.add_row(first, second, f"{count:,}", style="red" if differ else None)
    return table


def _part(part: int, whole: int) -> str:
    return f"{part:,} ({share(part, whole)})"
