"""Stage `intervals`: exact integer intervals, one pass, no splitting."""

from collections.abc import Callable, Sequence

import numpy as np

from bvverify.network import IntArray, StepNetwork
from bvverify.network.exact import INT64_LIMIT, magnitude
from bvverify.queries import LevelBox, Overtaking, Robustness
from bvverify.search.claims import claim

Bounds = tuple[IntArray, IntArray]
Greatest = Callable[[int, IntArray, int], int | None]
"""From a value's number, the coefficients of a linear form in its elements and a constant to a number that the form
does not exceed in the region; None where none is known.
"""


def proved_by_intervals(network: StepNetwork, box: LevelBox, question: Robustness) -> bool:
    """Return whether intervals alone prove `question` for every input of `box`; they never refute."""
    return interval_gap(network, box, question) == 0


def interval_gap(network: StepNetwork, box: LevelBox, question: Robustness) -> int:
    """Return by how many output levels intervals miss a proof of `question` on `box`; see `bounds_gap`."""
    values = network.interval(box.lower, box.upper)
    return bounds_gap(
        network, values, question, lambda value, row, constant: greatest_on_box(values[value], row, constant)
    )


def greatest_on_box(bounds: Bounds, row: IntArray, constant: int) -> int | None:
    """Return the maximum of a linear form over the box of its elements; None if 64 bits do not suffice."""
    lower, upper = (end.reshape(-1) for end in bounds)
    if magnitude(row) * magnitude(lower, upper) * len(lower) > INT64_LIMIT:
        return None
    return int(np.where(row > 0, row * upper, row * lower).sum()) + constant


def bounds_gap(network: StepNetwork, values: Sequence[Bounds], question: Robustness, greatest: Greatest) -> int:
    """Return by how many output levels bounds miss a proof of `question`: 0 if they prove it, else the most levels by
    which the upper bound of a rival that was not excluded reaches too far.

    `values`: bounds of every value of the network; `greatest` bounds linear forms in them.
    """
    return max((levels for levels, _ in open_ways(network, values, question, greatest)), default=0)


def open_ways(
    network: StepNetwork, values: Sequence[Bounds], question: Robustness, greatest: Greatest
) -> list[tuple[int, list[Overtaking]]]:
    """Return the ways to violate `question` that bounds do not exclude, each after the output levels by which they
    miss it; see `bounds_gap`.
    """
    lower, upper = (end.reshape(-1) for end in values[-1])

    def excluded(overtaking: Overtaking) -> bool:
        implied = claim(network, values, overtaking)
        if implied is None:
            return True
        most = greatest(implied.value, implied.row, implied.constant)
        return most is not None and most < implied.threshold

    def excess(overtaking: Overtaking) -> int:
        return int(upper[overtaking.winner] - lower[overtaking.loser]) - overtaking.margin + 1

    # Every way has to be excluded, and one part of a way that is impossible excludes it.
    ways = [way for way in question.ways() if not any(map(excluded, way))]
    return [(max(1, min(map(excess, way))), way) for way in ways]
