"""StepNetwork: the exact integer program that one target computes, or that a user wrote down by hand."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.errors import InputError, UsageError
from bvverify.network.exact import INT64_LIMIT, IntArray, Numbers, carrier, integers, magnitude
from bvverify.network.operations import Operation, Shape

_CHUNK_ELEMENTS = 2**20
"""Batches are cut so that the largest intermediate value of a chunk has about this many elements and stays in cache."""


@dataclass(frozen=True, eq=False)
class Value:
    """What is proved about one value of a network: its shape, its range, and the largest number that computing it
    meets.
    """

    lower: IntArray
    upper: IntArray
    magnitude: int

    @property
    def shape(self) -> Shape:
        """Shape without the batch dimension."""
        return self.lower.shape


@dataclass(frozen=True, eq=False)
class Node:
    """One operation applied to earlier values: value 0 is the network's input, value i + 1 the result of node i."""

    operation: Operation
    inputs: tuple[int, ...]

    def result(self, values: Sequence[Value]) -> Value:
        """Return what is proved about the result; refuse wrong wiring, wrong shapes and sums that may leave the
        64-bit range.
        """
        where = f"node {len(values) - 1} ({type(self.operation).__name__})"
        if not self.inputs or any(not 0 <= source < len(values) for source in self.inputs):
            raise UsageError(f"{where}: inputs {self.inputs} must name earlier values, 0 to {len(values) - 1}")
        sources = [values[source] for source in self.inputs]
        shape = self.operation.shape(tuple(source.shape for source in sources))
        bounds = tuple(np.maximum(np.abs(source.lower), np.abs(source.upper)) for source in sources)
        largest = _checked(self.operation.magnitude(bounds), where)
        lower, upper = self.operation.interval(tuple(v.lower for v in sources), tuple(v.upper for v in sources))
        return Value(lower.reshape(shape), upper.reshape(shape), largest)


def input_value(lower: IntArray, upper: IntArray) -> Value:
    """Return the input domain [lower, upper] as a value."""
    if lower.shape != upper.shape or not lower.size or (lower > upper).any():
        raise UsageError(
            "network input: the ends of the domain must have one shape, not be empty, and lower <= upper everywhere"
        )
    return Value(lower, upper, _checked(magnitude(lower, upper), "network input"))


@dataclass(frozen=True, eq=False)
class StepNetwork:
    """Integers in, integers out: nodes in topological order; the result of the last node is the output.

    `lower` and `upper` (int64, the input's shape) bound every input that the network may be asked about.  From them
    construction derives the shape and the range of every value, and proves that no partial sum can leave int64: a
    network that could overflow is refused with `UsageError`.
    """

    lower: IntArray
    upper: IntArray
    nodes: tuple[Node, ...]
    values: tuple[Value, ...] = field(init=False)
    """What is proved about every value; value 0 is the input, value i + 1 the result of node i."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "lower", integers(self.lower, "network input, lower end"))
        object.__setattr__(self, "upper", integers(self.upper, "network input, upper end"))
        values = [input_value(self.lower, self.upper)]
        for node in self.nodes:
            values.append(node.result(values))
        object.__setattr__(self, "values", tuple(values))

    @property
    def input_shape(self) -> Shape:
        """Shape of one input."""
        return self.values[0].shape

    @property
    def outputs(self) -> int:
        """Number of output elements."""
        return self.values[-1].lower.size

    def evaluate(self, batch: npt.ArrayLike) -> IntArray:
        """Return the outputs, int64 (n, outputs), for a batch of integer inputs (n, *input_shape).

        Raises `InputError` for a wrong shape or type and for inputs outside the domain.
        """
        return self.evaluate_values(batch, (len(self.nodes),))[0].reshape(-1, self.outputs)

    def evaluate_values(self, batch: npt.ArrayLike, wanted: Sequence[int]) -> list[IntArray]:
        """Return the values named in `wanted` (0 is the input, i + 1 the result of node i), int64 (n, *shape) each."""
        inputs = self._checked_inputs(np.asarray(batch))
        rows = max(1, _CHUNK_ELEMENTS // max(value.lower.size for value in self.values))
        chunks = [self._run(inputs[start : start + rows], wanted) for start in range(0, max(len(inputs), 1), rows)]
        return [np.concatenate([chunk[i].astype(np.int64) for chunk in chunks]) for i in range(len(wanted))]

    def interval(self, lower: IntArray, upper: IntArray) -> list[tuple[IntArray, IntArray]]:
        """Return exact-integer interval bounds of every value, for inputs in the box [lower, upper] (int64, input
        shape).
        """
        bounds = [(lower, upper)]
        for node in self.nodes:
            sources = [bounds[source] for source in node.inputs]
            bounds.append(node.operation.interval(tuple(low for low, _ in sources), tuple(high for _, high in sources)))
        return bounds

    def _run(self, inputs: npt.NDArray[Any], wanted: Sequence[int]) -> list[Numbers]:
        last_use = {source: index for index, node in enumerate(self.nodes) for source in node.inputs}
        values: dict[int, Numbers] = {0: inputs.astype(carrier(self.values[0].magnitude))}
        kept = {0: values[0]} if 0 in wanted else {}
        for index, node in enumerate(self.nodes):
            proved = carrier(self.values[index + 1].magnitude)
            arguments = [_carried(values[source], proved) for source in node.inputs]
            values[index + 1] = node.operation.apply(*arguments)
            if index + 1 in wanted:
                kept[index + 1] = values[index + 1]
            for source in set(node.inputs):
                if last_use[source] == index:
                    del values[source]
        return [kept[index] for index in wanted]

    def _in_domain(self, inputs: npt.NDArray[Any]) -> bool:
        if inputs.min() >= self.lower.max() and inputs.max() <= self.upper.min():  # cheaper, and mostly enough
            return True
        return bool((inputs >= self.lower).all() and (inputs <= self.upper).all())

    def _checked_inputs(self, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if inputs.dtype.kind not in "iu":
            raise InputError(f"evaluate: expected integer inputs, got {inputs.dtype}")
        if inputs.shape[1:] != self.input_shape:
            raise InputError(f"evaluate: expected a batch of shape (n, *{self.input_shape}), got {inputs.shape}")
        if len(inputs) and not self._in_domain(inputs):
            raise InputError("evaluate: an input lies outside the network's domain [lower, upper]")
        return inputs


def _carried(value: Numbers, dtype: np.dtype[np.generic]) -> Numbers:
    return value if value.dtype == dtype else value.astype(dtype)


def _checked(largest: int, where: str) -> int:
    if largest >= INT64_LIMIT:
        raise UsageError(f"{where}: a sum may reach {largest:.3g}, beyond the proved 64-bit range of 2**60")
    return largest
