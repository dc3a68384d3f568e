"""Claims: what a violation by one rival would imply, as linear inequalities that bounds can contradict.

A rival that overtakes the label needs a high accumulator of its own and, at the same time, a low one of the label. A
weighted difference of the two is one linear form in the values before the last layer, which loses less than bounding
the outputs one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bvverify.network import Affine, IntArray, Step, StepNetwork
from bvverify.network.exact import INT64_LIMIT, magnitude
from bvverify.queries import Overtaking

_SCALE = 2**16
"""Accumulator differences are weighted with integers up to about this size."""

Bounds = tuple[IntArray, IntArray]


@dataclass(frozen=True, eq=False)
class Claim:
    """A violation implies row . value + constant >= threshold, for a value of the network, flat."""

    value: int
    """The number of the value: 0 is the input, i + 1 the result of node i."""
    row: IntArray
    """int64 [elements]"""
    constant: int
    threshold: int
    unit: float
    """About how much of the form is one output level."""


def claim(network: StepNetwork, values: Sequence[Bounds], overtaking: Overtaking) -> Claim | None:
    """Return what overtaking implies, or None if `values`, bounds of all values, exclude it."""
    lower, upper = (end.reshape(-1) for end in values[-1])
    if int(upper[overtaking.winner] - lower[overtaking.loser]) < overtaking.margin:
        return None
    if (last := _last_layer(network)) is not None:
        return _through_layer(last, values, overtaking)
    row = np.zeros(lower.size, dtype=np.int64)
    row[overtaking.winner], row[overtaking.loser] = 1, -1
    return Claim(len(network.nodes), row, 0, overtaking.margin, 1.0)


@dataclass(frozen=True, eq=False)
class Boundaries:
    """An overtaking happens if, for some level of the outputs, the winner's accumulator reaches it and the loser's does
    not: at one of L levels neither of the two forms rows . value + constants is negative.
    """

    value: int
    rows: IntArray
    """int64 [2, elements]"""
    constants: IntArray
    """int64 [L, 2]"""
    unit: float
    """About how much of either form is one output level."""


def boundaries(network: StepNetwork, overtaking: Overtaking) -> Boundaries | None:
    """Return the boundaries of the levels of a network's last layer, None if that is no dense one with a staircase."""
    if (last := _last_layer(network)) is None:
        return None
    rival, label, margin = overtaking
    weights, spacings = _level_weights(last.step)
    offset, base = last.affine.offset, last.step.base
    ends = [
        (last.threshold(rival, level + margin), last.threshold(label, level + 1) - 1)
        for level in range(base, base + last.step.levels + 1)
    ]
    kept = [(reach, stay) for reach, stay in ends if -INT64_LIMIT < reach < INT64_LIMIT > stay + 1 > -INT64_LIMIT]
    if not kept:
        return None
    constants = [
        (weights[rival] * (int(offset[rival]) - reach), weights[label] * (stay - int(offset[label])))
        for reach, stay in kept
    ]
    rows = np.stack([weights[rival] * last.affine.weight[0, rival], -weights[label] * last.affine.weight[0, label]])
    return Boundaries(last.source, rows, np.array(constants), max(1.0, weights[rival] * spacings[rival]))


@dataclass(frozen=True, eq=False)
class _LastLayer:
    """A dense layer and its staircase at the end of a network."""

    affine: Affine
    step: Step
    source: int
    """The value that the layer reads."""

    def levels(self, channel: int, accumulators: tuple[int, int]) -> tuple[int, int]:
        row = self.step.thresholds[channel]
        low, high = (self.step.base + int(np.searchsorted(row, end, side="right")) for end in accumulators)
        return low, high

    def threshold(self, channel: int, level: int) -> int:
        """Return the least accumulator whose output is at least `level`."""
        index = level - self.step.base - 1
        if index < 0:
            return -INT64_LIMIT
        return int(self.step.thresholds[channel][index]) if index < self.step.levels else INT64_LIMIT


def _last_layer(network: StepNetwork) -> _LastLayer | None:
    """Return the last layer if it is a dense one with a staircase and leaves room for weighted differences."""
    if len(network.nodes) < 2:
        return None
    last, before = network.nodes[-1], network.nodes[-2]
    if not (isinstance(last.operation, Step) and isinstance(before.operation, Affine)):
        return None
    if (
        last.inputs != (len(network.nodes) - 1,)
        or network.values[-1].shape != (1, len(last.operation.thresholds))
        or len(before.operation.weight) != 1
        or 2 * _SCALE * (magnitude(before.operation.weight) + magnitude(before.operation.offset)) > INT64_LIMIT
    ):
        return None
    return _LastLayer(before.operation, last.operation, before.inputs[0])


def _through_layer(last: _LastLayer, values: Sequence[Bounds], overtaking: Overtaking) -> Claim | None:
    """Return the claim about the accumulators: for v = y[label], acc[label] < t[label](v + 1) and
    acc[rival] >= t[rival](v + margin); the least difference of the two over all v that the bounds allow.
    """
    rival, label, margin = overtaking
    weights, spacings = _level_weights(last.step)
    ends = [end.reshape(-1) for end in values[-2]]
    (label_low, label_high), (rival_low, rival_high) = (
        (int(ends[0][channel]), int(ends[1][channel])) for channel in (label, rival)
    )
    low, high = last.levels(label, (label_low, label_high))
    least: int | None = None
    for level in range(low, high + 1):
        of_rival = max(last.threshold(rival, level + margin), rival_low)
        of_label = min(last.threshold(label, level + 1) - 1, label_high)
        if of_rival > rival_high or of_label < label_low:
            continue
        needed = weights[rival] * of_rival - weights[label] * of_label
        least = needed if least is None else min(least, needed)
    if least is None:
        return None
    weight, offset = last.affine.weight[0], last.affine.offset
    return Claim(
        last.source,
        weights[rival] * weight[rival] - weights[label] * weight[label],
        weights[rival] * int(offset[rival]) - weights[label] * int(offset[label]),
        least,
        max(1.0, weights[rival] * spacings[rival]),
    )


def _level_weights(step: Step) -> tuple[list[int], list[float]]:
    """Return a positive integer per channel, about inverse to the number of accumulator units in one output level, and
    these numbers.

    Any positive integers are sound; these make one level weigh about the same in every channel.
    """
    spacings = []
    for row in step.thresholds:
        inside = row[(row > -INT64_LIMIT) & (row < INT64_LIMIT)]
        spacings.append((int(inside[-1]) - int(inside[0])) / (len(inside) - 1) if len(inside) > 1 else 0.0)
    smallest = min((spacing for spacing in spacings if spacing > 0), default=1.0)
    weights = [max(1, round(_SCALE * smallest / spacing)) if spacing > 0 else 1 for spacing in spacings]
    return weights, spacings
