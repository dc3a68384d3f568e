"""Surrogate: a real function near a StepNetwork, with gradients.  It guides a search and proves nothing.

Each staircase is replaced by the line through its thresholds, cut at its ends, minus `roughness` times a sine that
bends the line towards the stairs (roughness 0: the line itself; 1: flat at every level).  With integer inputs and
exact values in between, the same slopes are the straight-through gradient of EQV (Huang et al., AAAI 2024).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.network import ALWAYS, NEVER, Affine, Clamp, Gather, Lookup, Max, Product, Step, StepNetwork
from bvverify.network.operations import Operation

Reals = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Line:
    """The line of a staircase, per channel: level = slope * accumulator + offset, between low and high."""

    slope: Reals
    offset: Reals
    low: Reals
    high: Reals

    def levels(self, accumulators: Reals) -> Reals:
        """Return where on the line accumulators (..., C) lie; the level that is put out is the nearest integer."""
        return accumulators * self.slope + self.offset


class Surrogate:
    """The surrogate of one network."""

    def __init__(self, network: StepNetwork) -> None:
        self._network = network
        self._lines = [
            _line(node.operation, network.values[node.inputs[0]].magnitude)
            if isinstance(node.operation, Step)
            else None
            for node in network.nodes
        ]
        self._weights = [
            node.operation.weight.astype(np.float32) if isinstance(node.operation, Affine) else None
            for node in network.nodes
        ]
        self._readers = [
            _Readers.of(node.operation, sum(network.values[source].lower.size for source in node.inputs))
            if isinstance(node.operation, Gather)
            else None
            for node in network.nodes
        ]

    def values(self, inputs: Reals, *, roughness: float) -> list[Reals]:
        """Return every value for real inputs (n, *input_shape): the inputs, and the result of each node."""
        values = [inputs]
        for index, node in enumerate(self._network.nodes):
            sources = [values[source] for source in node.inputs]
            values.append(self._apply(index, node.operation, sources, roughness))
        return values

    def exact_values(self, inputs: npt.NDArray[np.int64]) -> list[Reals]:
        """Return every value that the network computes for integer inputs (n, *input_shape)."""
        wanted = range(len(self._network.values))
        return [value.astype(np.float32) for value in self._network.evaluate_values(inputs, wanted)]

    def outputs(self, values: Sequence[Reals]) -> Reals:
        """Return the outputs (n, outputs) before the last rounding, if a staircase ends the network."""
        line, node = self._lines[-1], self._network.nodes[-1]
        if line is None:
            return values[-1].reshape(len(values[0]), -1)
        rows = values[node.inputs[0]]
        return line.levels(rows.reshape(-1, len(line.slope))).reshape(len(values[0]), -1)

    def rounded_outputs(self, value: int, levels: npt.NDArray[np.int64]) -> Reals:
        """Return the outputs (n, outputs) before the last rounding where a value has levels (n, U) and dense layers
        with staircases follow; what is between them is rounded.
        """
        found = levels.astype(np.float32)
        for index in range(value, len(self._network.nodes)):
            operation, line = self._network.nodes[index].operation, self._lines[index]
            if isinstance(operation, Affine):
                found = _dense(self._weights[index], operation, found)
            elif line is not None:
                found = line.levels(found)
                if index + 1 < len(self._network.nodes):
                    found = np.clip(np.rint(found), line.low, line.high)
        return found

    def input_gradient(self, values: Sequence[Reals], wanted: Reals, *, roughness: float) -> Reals:
        """Return the gradient of sum(wanted * outputs) in the inputs, at values that `values` or `exact_values` gave.

        The last staircase is taken as its line, without ends.
        """
        gradients: list[Reals | None] = [None] * len(values)
        gradients[-1] = wanted.reshape(values[-1].shape)
        for index in reversed(range(len(self._network.nodes))):
            node, gradient = self._network.nodes[index], gradients[index + 1]
            if gradient is None:
                continue
            sources = [values[source] for source in node.inputs]
            last = index == len(self._network.nodes) - 1
            for source, part in zip(
                node.inputs, self._pull(index, node.operation, sources, gradient, roughness, last), strict=True
            ):
                held = gradients[source]
                gradients[source] = part if held is None else held + part
        found = gradients[0]
        return np.zeros_like(values[0]) if found is None else found

    def _apply(self, index: int, operation: Operation, sources: list[Reals], roughness: float) -> Reals:
        if isinstance(operation, Step):
            line = self._lines[index]
            assert line is not None
            rows = sources[0].reshape(-1, len(line.slope))
            levels = np.clip(line.levels(rows), line.low, line.high)
            if roughness:
                levels -= np.float32(roughness / (2 * np.pi)) * np.sin(np.float32(2 * np.pi) * levels)
            return levels.reshape(sources[0].shape)
        if isinstance(operation, Lookup):
            return _interpolated(operation, sources[0])[0]
        return np.asarray(operation.apply(*sources), dtype=np.float32)

    def _pull(
        self, index: int, operation: Operation, sources: list[Reals], gradient: Reals, roughness: float, last: bool
    ) -> list[Reals]:
        """Return the gradient in each source of one node, from the gradient in its result."""
        match operation:
            case Step():
                line = self._lines[index]
                assert line is not None
                levels = line.levels(sources[0].reshape(-1, len(line.slope)))
                slope = np.broadcast_to(line.slope, levels.shape)
                if not last:
                    slope = slope * ((levels > line.low - 0.5) & (levels < line.high + 0.5))
                    if roughness:
                        slope = slope * (1 - np.float32(roughness) * np.cos(np.float32(2 * np.pi) * levels))
                return [gradient * slope.reshape(gradient.shape)]
            case Affine():
                return [_transposed(self._weights[index], gradient).reshape(sources[0].shape)]
            case Gather():
                return _scattered(self._readers[index], sources, gradient)
            case Clamp():
                return [gradient * ((sources[0] > operation.lower) & (sources[0] < operation.upper))]
            case Max():
                chosen = sources[0].argmax(axis=-1)[..., None]
                part = np.zeros_like(sources[0])
                np.put_along_axis(part, chosen, gradient[..., None], axis=-1)
                return [part]
            case Lookup():
                return [gradient * _interpolated(operation, sources[0])[1]]
            case Product():
                return [gradient * sources[1], gradient * sources[0]]


def boundary_distances(winner: Reals, loser: Reals, margin: Reals | int) -> tuple[Reals, Reals]:
    """Return by how much winners are above, and losers below, the boundaries of the level at which the winner would
    most nearly be ahead by `margin` levels, for outputs before the last rounding: it is where neither is negative.
    """
    level = np.rint((winner + loser - margin) / 2)
    above, below = winner - (level + margin - 0.5), level + 0.5 - loser
    return np.asarray(above, dtype=np.float32), np.asarray(below, dtype=np.float32)


def _line(step: Step, largest: int) -> _Line:
    """Return the line through the first and the last threshold of each channel that accumulators can tell apart."""
    count = len(step.thresholds)
    slope, offset = np.zeros(count), np.zeros(count)
    low = step.base + (step.thresholds == ALWAYS).sum(axis=1)
    high = step.base + step.levels - (step.thresholds == NEVER).sum(axis=1)
    for channel, row in enumerate(step.thresholds):
        inside = row[(row != ALWAYS) & (row != NEVER)].astype(np.float64)
        if not len(inside):
            offset[channel] = low[channel]
            continue
        span = inside[-1] - inside[0]
        slope[channel] = (len(inside) - 1) / span if span > 0 else 4.0 / max(4.0, float(largest))
        offset[channel] = low[channel] + 0.5 - slope[channel] * (inside[0] - 0.5)
    return _Line(*(array.astype(np.float32) for array in (slope, offset, low, high)))


def _dense(weight: Reals | None, layer: Affine, levels: Reals) -> Reals:
    """Return what a dense layer makes of levels (n, U)."""
    assert weight is not None
    return np.asarray(levels @ weight[0].T + layer.offset.astype(np.float32))


def _transposed(weight: Reals | None, gradient: Reals) -> Reals:
    """Return what an Affine's weight [G, M, K] makes of a gradient (n, P, G * M): (n, P, G, K)."""
    assert weight is not None
    groups, outputs, _ = weight.shape
    if groups == 1:  # as one matrix: a stack of rows would be multiplied one by one
        return np.asarray(gradient.reshape(-1, outputs) @ weight[0])
    parts = gradient.reshape(*gradient.shape[:2], groups, 1, outputs)
    return np.asarray((parts @ weight)[..., 0, :])


@dataclass(frozen=True, eq=False)
class _Readers:
    """Which elements of a Gather's result read each of its sources' elements, the most read ones first."""

    rounds: list[npt.NDArray[np.int64]]
    """The first readers of all elements that are read, the second ones of those that are read twice, and so on."""
    place: npt.NDArray[np.int64]
    """Where each source's element stands in that order; behind all others if it is not read."""

    @classmethod
    def of(cls, operation: Gather, size: int) -> "_Readers":
        """Return the readers of `size` elements; padding has none."""
        indices = operation.indices.reshape(-1)
        reading = np.flatnonzero(indices >= 0)
        reading = reading[np.argsort(indices[reading], kind="stable")]
        count = np.bincount(indices[reading], minlength=size)
        first, order = np.cumsum(count) - count, np.argsort(-count, kind="stable")
        rounds = [reading[first[order[count[order] > turn]] + turn] for turn in range(int(count.max(initial=0)))]
        return cls(rounds, np.argsort(order, kind="stable"))


def _scattered(readers: _Readers | None, sources: list[Reals], gradient: Reals) -> list[Reals]:
    """Return the gradient in each source: every element collects what was read from it."""
    assert readers is not None
    flat = gradient.reshape(len(gradient), -1)
    total = np.zeros((len(flat), len(readers.place)), dtype=np.float32)
    for reading in readers.rounds:
        total[:, : len(reading)] += flat[:, reading]
    parts = np.split(total[:, readers.place], np.cumsum([source[0].size for source in sources])[:-1], axis=1)
    return [part.reshape(source.shape) for part, source in zip(parts, sources, strict=True)]


def _interpolated(operation: Lookup, x: Reals) -> tuple[Reals, Reals]:
    """Return a table's function between its entries, and its slope, for real x."""
    table = operation.table.astype(np.float32)
    rows: npt.NDArray[Any] = (x - operation.lower).reshape(-1, len(table))
    if table.shape[1] == 1:
        return np.broadcast_to(table[:, 0], rows.shape).reshape(x.shape), np.zeros_like(x)
    left = np.clip(np.floor(rows), 0, table.shape[1] - 2).astype(np.int64)
    channel = np.arange(len(table))
    first, second = table[channel, left], table[channel, left + 1]
    value = first + (second - first) * (rows - left)
    return value.astype(np.float32).reshape(x.shape), (second - first).astype(np.float32).reshape(x.shape)
