"""Stage `intervals`: exact integer intervals, one pass, no splitting.

The last layer is not bounded output by output: a rival that overtakes the label needs a high accumulator of its own
and, at the same time, a low one of the label, and a weighted difference of the two is one linear form in the values
before the last layer.
"""

from collections.abc import Callable, Sequence

import numpy as np

from bvverify.network import Affine, IntArray, Step, StepNetwork
from bvverify.network.exact import INT64_LIMIT, magnitude
from bvverify.queries import LevelBox, Overtaking, Robustness

_SCALE = 2**16
"""Accumulator differences are weighted with integers up to about this size."""

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
    lower, upper = (end.reshape(-1) for end in values[-1])

    def excess(overtaking: Overtaking) -> int:
        winner, loser, margin = overtaking
        return int(upper[winner] - lower[loser]) - margin + 1

    # Every way has to be excluded, and one part of a way that is impossible excludes it.
    missed = [(min(map(excess, way)), way) for way in question.ways()]
    missed = [(levels, way) for levels, way in missed if levels > 0]
    if missed and (last := _last_layer(network, values, greatest)) is not None:
        missed = [(levels, way) for levels, way in missed if not any(map(last.excludes, way))]
    return max((levels for levels, _ in missed), default=0)


class _LastLayer:
    """A dense layer and its staircase, with the bounds around them."""

    def __init__(self, affine: Affine, step: Step, source: int, accumulator: Bounds, greatest: Greatest) -> None:
        self._weight, self._offset = affine.weight[0], affine.offset
        self._step = step
        self._source, self._greatest = source, greatest
        self._accumulator = accumulator
        self._weights = _level_weights(step)

    def excludes(self, overtaking: Overtaking) -> bool:
        """Return whether y[rival] - y[label] >= margin is impossible, for a winner `rival` and a loser `label`.

        It holds only if, for v = y[label], acc[label] < t[label](v + 1) and acc[rival] >= t[rival](v + margin).
        """
        rival, label, margin = overtaking
        weights = self._weights[rival], self._weights[label]
        greatest = self._greatest_difference(rival, label, weights)
        low, high = self._levels(label)
        return greatest is not None and all(
            self._excluded(label, rival, level, level + margin, weights, greatest) for level in range(low, high + 1)
        )

    def _excluded(
        self, label: int, rival: int, level: int, wanted: int, weights: tuple[int, int], greatest: int
    ) -> bool:
        least_rival = max(self._threshold(rival, wanted), int(self._accumulator[0][rival]))
        most_label = min(self._threshold(label, level + 1) - 1, int(self._accumulator[1][label]))
        if least_rival > int(self._accumulator[1][rival]) or most_label < int(self._accumulator[0][label]):
            return True
        return greatest < weights[0] * least_rival - weights[1] * most_label

    def _greatest_difference(self, rival: int, label: int, weights: tuple[int, int]) -> int | None:
        """Return the maximum of weights[0] * acc[rival] - weights[1] * acc[label] over the values before the layer."""
        if 2 * _SCALE * (magnitude(self._weight) + magnitude(self._offset)) > INT64_LIMIT:
            return None
        row = weights[0] * self._weight[rival] - weights[1] * self._weight[label]
        constant = weights[0] * int(self._offset[rival]) - weights[1] * int(self._offset[label])
        return self._greatest(self._source, row, constant)

    def _levels(self, channel: int) -> tuple[int, int]:
        row = self._step.thresholds[channel]
        ends = [int(bound[channel]) for bound in self._accumulator]
        low, high = (self._step.base + int(np.searchsorted(row, end, side="right")) for end in ends)
        return low, high

    def _threshold(self, channel: int, level: int) -> int:
        """Return the least accumulator whose output is at least `level`."""
        index = level - self._step.base - 1
        if index < 0:
            return -INT64_LIMIT
        return int(self._step.thresholds[channel][index]) if index < self._step.levels else INT64_LIMIT


def _last_layer(network: StepNetwork, values: Sequence[Bounds], greatest: Greatest) -> _LastLayer | None:
    """Return the last layer if it is a dense one with a staircase, else None."""
    if len(network.nodes) < 2:
        return None
    last, before = network.nodes[-1], network.nodes[-2]
    if not (isinstance(last.operation, Step) and isinstance(before.operation, Affine)):
        return None
    if (
        last.inputs != (len(network.nodes) - 1,)
        or network.values[-1].shape != (1, len(last.operation.thresholds))
        or len(before.operation.weight) != 1
    ):
        return None
    accumulator = values[-2][0].reshape(-1), values[-2][1].reshape(-1)
    return _LastLayer(before.operation, last.operation, before.inputs[0], accumulator, greatest)


def _level_weights(step: Step) -> list[int]:
    """Return a positive integer per channel, about inverse to the number of accumulator units in one output level.

    Any positive integers are sound; these make one level weigh about the same in every channel.
    """
    spacings = []
    for row in step.thresholds:
        inside = row[(row > -INT64_LIMIT) & (row < INT64_LIMIT)]
        spacings.append((int(inside[-1]) - int(inside[0])) / (len(inside) - 1) if len(inside) > 1 else 0.0)
    smallest = min((spacing for spacing in spacings if spacing > 0), default=1.0)
    return [max(1, round(_SCALE * smallest / spacing)) if spacing > 0 else 1 for spacing in spacings]
