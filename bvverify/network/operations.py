"""The operations of a StepNetwork: what each one computes, on integers, exactly.

An operation is a row of meanings.  Here are the ground ones: the shape of the result, its value (`apply`, over a
batch) and its interval (`interval`).  Shapes leave out the batch dimension, which is always first.  `apply`
receives and returns integers carried as in `bvverify.network.exact`; the StepNetwork proves beforehand which
carrier is exact.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from bvverify.errors import UsageError
from bvverify.network.exact import Carried, IntArray, Numbers, carrier, integers, magnitude, row_magnitude
from bvverify.network.staircase import Line, count_reached, fit_line

Shape: TypeAlias = tuple[int, ...]

ALWAYS = int(np.iinfo(np.int64).min)
"""A threshold that every accumulator reaches."""
NEVER = int(np.iinfo(np.int64).max)
"""A threshold that no accumulator reaches."""


@dataclass(frozen=True, eq=False)
class Gather:
    """Wiring: pick elements of the concatenated, flattened inputs.

    `indices` has the shape of the result; index -1 reads the constant `padding`.  Reshape, permutation, convolution
    patches, pooling windows and concatenation are all of this kind.
    """

    indices: IntArray
    padding: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", integers(self.indices, "Gather indices"))
        if self.indices.size and self.indices.min() < -1:
            raise UsageError("Gather indices: smallest allowed index is -1 (padding)")

    @cached_property
    def _reads_padding(self) -> bool:
        return bool((self.indices == -1).any())

    def shape(self, shapes: tuple[Shape, ...]) -> Shape:
        size = sum(int(np.prod(shape)) for shape in shapes)
        if self.indices.size and self.indices.max() >= size:
            raise UsageError(f"Gather indices: index {int(self.indices.max())} is outside the {size} input elements")
        return self.indices.shape

    def magnitude(self, bounds: tuple[IntArray, ...]) -> int:
        return max(abs(self.padding) if self._reads_padding else 0, *(magnitude(b) for b in bounds))

    def apply(self, *inputs: Numbers) -> Numbers:
        flat = [value.reshape(len(value), int(np.prod(value.shape[1:]))) for value in inputs]
        joined = flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)
        picked = joined[:, self.indices]
        if self._reads_padding:
            picked[:, self.indices == -1] = self.padding
        return picked

    def interval(self, lower: tuple[IntArray, ...], upper: tuple[IntArray, ...]) -> tuple[IntArray, IntArray]:
        return self.apply(*(x[None] for x in lower))[0], self.apply(*(x[None] for x in upper))[0]


@dataclass(frozen=True, eq=False)
class Affine:
    """Accumulators: y[p, g*M + m] = sum_k weight[g, m, k] * x[p, g, k] + offset[g*M + m].

    `weight` int64 [G, M, K], `offset` int64 [G*M]; input shape (P, G, K) or anything that flattens to it, output
    shape (P, G*M). A dense layer has P = G = 1; a convolution has one row p per output position and G groups.
    """

    weight: IntArray
    offset: IntArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", integers(self.weight, "Affine weight"))
        object.__setattr__(self, "offset", integers(self.offset, "Affine offset"))
        if self.weight.ndim != 3 or self.offset.shape != (self.weight.shape[0] * self.weight.shape[1],):
            raise UsageError(
                f"Affine: expected weight [G, M, K] and offset [G*M], got {self.weight.shape} and {self.offset.shape}"
            )

    @cached_property
    def _signed(self) -> Carried:
        return Carried(self.weight)

    @cached_property
    def _largest(self) -> int:
        return magnitude(self.weight)

    @cached_property
    def _absolute(self) -> Carried:
        return Carried(np.abs(self.weight))

    def shape(self, shapes: tuple[Shape, ...]) -> Shape:
        groups, outputs, inputs = self.weight.shape
        size = int(np.prod(shapes[0]))
        if len(shapes) != 1 or size % (groups * inputs):
            raise UsageError(f"Affine: input shape {shapes} does not split into (P, {groups}, {inputs})")
        return (size // (groups * inputs), groups * outputs)

    def magnitude(self, bounds: tuple[IntArray, ...]) -> int:
        groups, _, inputs = self.weight.shape
        bound = bounds[0].reshape(-1, groups, inputs).max(axis=0, initial=0)
        return row_magnitude(self.weight, bound[:, None, :]) + magnitude(self.offset)

    def apply(self, x: Numbers) -> Numbers:
        accumulators = self._product(self._signed.as_type(x.dtype), x)
        accumulators += self.offset.astype(x.dtype)
        return accumulators

    def interval(self, lower: tuple[IntArray, ...], upper: tuple[IntArray, ...]) -> tuple[IntArray, IntArray]:
        # 2 * lower = W (l + u) - |W| (u - l): two products instead of four.  The factor 4 covers each of them and
        # their difference.
        proved = carrier(4 * self.weight.shape[2] * self._largest * magnitude(lower[0], upper[0]))
        total = (lower[0] + upper[0])[None].astype(proved)
        spread = (upper[0] - lower[0])[None].astype(proved)
        middle = self._product(self._signed.as_type(proved), total)[0].astype(np.int64)
        radius = self._product(self._absolute.as_type(proved), spread)[0].astype(np.int64)
        return (middle - radius) // 2 + self.offset, (middle + radius) // 2 + self.offset

    def _product(self, weight: Numbers, x: Numbers) -> Numbers:
        groups, outputs, inputs = self.weight.shape
        rows = x.reshape(-1, groups, inputs)
        if groups == 1:
            flat = rows[:, 0, :] @ weight[0].T
        elif outputs == 1:
            flat = np.einsum("rgk,gk->rg", rows, weight[:, 0, :])
        else:
            flat = np.matmul(rows.transpose(1, 0, 2), weight.transpose(0, 2, 1)).transpose(1, 0, 2)
        positions = int(np.prod(x.shape[1:])) // (groups * inputs)
        return np.asarray(flat).reshape(len(x), positions, groups * outputs)


@dataclass(frozen=True, eq=False)
class Step:
    """A monotone staircase per channel: y[p, c] = base + #{t : thresholds[c, t] <= x[p, c]}.

    `thresholds` int64 [C, T], ascending in each row, with ALWAYS and NEVER for levels that every or no accumulator
    reaches. Every requantization, clamp, saturation, fused ReLU and sign is one of these.  Input and output shape
    (P, C); a single row of thresholds serves every element of an input of any shape.
    """

    base: int
    thresholds: IntArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "thresholds", integers(self.thresholds, "Step thresholds"))
        if self.thresholds.ndim != 2:
            raise UsageError(f"Step thresholds: expected shape [channels, levels], got {self.thresholds.shape}")
        if (self.thresholds[:, 1:] < self.thresholds[:, :-1]).any():
            raise UsageError("Step thresholds: each row must be ascending")

    @cached_property
    def _lines(self) -> dict[np.dtype[Any], Line | None]:
        return {}

    def _line(self, dtype: np.dtype[Any]) -> Line | None:
        """Return the line near the staircase for rows of `dtype`, made when first asked for."""
        if dtype not in (np.float32, np.float64):
            return None
        if dtype not in self._lines:
            self._lines[dtype] = fit_line(self.thresholds, dtype)
        return self._lines[dtype]

    @property
    def levels(self) -> int:
        """Number of thresholds per channel; the output lies in [base, base + levels]."""
        return int(self.thresholds.shape[1])

    def shape(self, shapes: tuple[Shape, ...]) -> Shape:
        return _rows(shapes, len(self.thresholds), "Step")

    def magnitude(self, bounds: tuple[IntArray, ...]) -> int:
        return max(magnitude(bounds[0]), abs(self.base) + self.levels)

    def apply(self, x: Numbers) -> Numbers:
        rows = x.reshape(-1, len(self.thresholds))
        line = self._line(x.dtype)
        reached = count_reached(self.thresholds, rows) if line is None else line.count(rows)
        result = reached.reshape(x.shape)
        if self.base:
            result += result.dtype.type(self.base)
        return result

    def interval(self, lower: tuple[IntArray, ...], upper: tuple[IntArray, ...]) -> tuple[IntArray, IntArray]:
        ends = np.stack([lower[0], upper[0]])
        reached = self.base + count_reached(self.thresholds, ends.reshape(-1, len(self.thresholds)))
        return reached.reshape(ends.shape)[0], reached.reshape(ends.shape)[1]


@dataclass(frozen=True)
class Clamp:
    """y = min(max(x, lower), upper), elementwise: ReLU on bytes, and 16-bit saturation."""

    lower: int
    upper: int

    def __post_init__(self) -> None:
        if self.lower > self.upper:
            raise UsageError(f"Clamp: lower end {self.lower} is above upper end {self.upper}")

    def shape(self, shapes: tuple[Shape, ...]) -> Shape:
        return shapes[0]

    def magnitude(self, bounds: tuple[IntArray, ...]) -> int:
        return max(magnitude(bounds[0]), abs(self.lower), abs(self.upper))

    def apply(self, x: Numbers) -> Numbers:
        return np.clip(x, x.dtype.type(self.lower), x.dtype.type(self.upper))

    def interval(self, lower: tuple[IntArray, ...], upper: tuple[IntArray, ...]) -> tuple[IntArray, IntArray]:
        return self.apply(lower[0]), self.apply(upper[0])


@dataclass(frozen=True)
class Max:
    """The largest element along the last axis: input shape (..., k), output shape (...)."""

    def shape(self, shapes: tuple[Shape, ...]) -> Shape:
        if len(shapes) != 1 or len(shapes[0]) < 2 or not shapes[0][-1]:
            raise UsageError(f"Max: expected one input of shape (..., k) with k >= 1, got {shapes}")
        return shapes[0][:-1]

    def magnitude(self, bounds: tuple[IntArray, ...]) -> int:
        return magnitude(bounds[0])

    def apply(self, x: Numbers) -> Numbers:
        return np.asarray(x.max(axis=-1))

    def interval(self, lower: tuple[IntArray, ...], upper: tuple[IntArray, ...]) -> tuple[IntArray, IntArray]:
        return self.apply(lower[0]), self.apply(upper[0])


@dataclass(frozen=True, eq=False)
class Lookup:
    """A function of one integer, given by its values: y[p, c] = table[c, x[p, c] - lower].

    `table` int64 [C, L] covers x in [lower, lower + L - 1]; the StepNetwork refuses inputs that may leave it.
    Input and output shape (P, C); a single row of the table serves every element of an input of any shape.
    """

    lower: int
    table: IntArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", integers(self.table, "Lookup table"))
        if self.table.ndim != 2 or not self.table.size:
            raise UsageError(f"Lookup table: expected shape [channels, entries], got {self.table.shape}")

    @cached_property
    def _extremes(self) -> tuple[list[IntArray], list[IntArray]]:
        """Least and greatest entries of all runs whose lengths are powers of two (a sparse table)."""
        least, greatest = [self.table], [self.table]
        while 2 ** len(least) <= self.table.shape[1]:
            half = 2 ** (len(least) - 1)
            least.append(np.minimum(least[-1][:, :-half], least[-1][:, half:]))
            greatest.append(np.maximum(greatest[-1][:, :-half], greatest[-1][:, half:]))
        return least, greatest

    def shape(self, shapes: tuple[Shape, ...]) -> Shape:
        return _rows(shapes, len(self.table), "Lookup")

    def magnitude(self, bounds: tuple[IntArray, ...]) -> int:
        return max(magnitude(bounds[0]), magnitude(self.table), abs(self.lower) + int(self.table.shape[1]))

    def apply(self, x: Numbers) -> Numbers:
        entries = (x - x.dtype.type(self.lower)).astype(np.int64).reshape(-1, len(self.table))
        return np.asarray(self.table[np.arange(len(self.table)), entries].astype(x.dtype).reshape(x.shape))

    def interval(self, lower: tuple[IntArray, ...], upper: tuple[IntArray, ...]) -> tuple[IntArray, IntArray]:
        first = (lower[0] - self.lower).reshape(-1, len(self.table))
        last = (upper[0] - self.lower).reshape(-1, len(self.table))
        if first.size and (first.min() < 0 or last.max() >= self.table.shape[1]):
            raise UsageError(f"Lookup: the input may leave [{self.lower}, {self.lower + self.table.shape[1] - 1}]")
        level = np.floor(np.log2(last - first + 1)).astype(np.int64)  # exact: entries are far fewer than 2**53
        least, greatest = np.empty_like(first), np.empty_like(first)
        for height, (low, high) in enumerate(zip(*self._extremes, strict=True)):
            row, channel = np.nonzero(level == height)
            ends = first[row, channel], last[row, channel] + 1 - 2**height
            least[row, channel] = np.minimum(low[channel, ends[0]], low[channel, ends[1]])
            greatest[row, channel] = np.maximum(high[channel, ends[0]], high[channel, ends[1]])
        return least.reshape(lower[0].shape), greatest.reshape(lower[0].shape)


@dataclass(frozen=True)
class Product:
    """y = x1 * x2, elementwise, for two values of one shape."""

    def shape(self, shapes: tuple[Shape, ...]) -> Shape:
        if len(shapes) != 2 or shapes[0] != shapes[1]:
            raise UsageError(f"Product: expected two inputs of one shape, got {shapes}")
        return shapes[0]

    def magnitude(self, bounds: tuple[IntArray, ...]) -> int:
        first, second = magnitude(bounds[0]), magnitude(bounds[1])
        return max(first, second, first * second)

    def apply(self, left: Numbers, right: Numbers) -> Numbers:
        return np.asarray(left * right)

    def interval(self, lower: tuple[IntArray, ...], upper: tuple[IntArray, ...]) -> tuple[IntArray, IntArray]:
        # Products of the domain's ends were proved to fit when the node was built.
        corners = np.stack([left * right for left in (lower[0], upper[0]) for right in (lower[1], upper[1])])
        return corners.min(axis=0), corners.max(axis=0)


def _rows(shapes: tuple[Shape, ...], channels: int, what: str) -> Shape:
    """Return the shape of a value whose elements meet `channels` rows in turn: (P, channels), or any for one row."""
    if len(shapes) != 1 or (channels != 1 and (len(shapes[0]) != 2 or shapes[0][1] != channels)):
        raise UsageError(f"{what}: expected input shape (P, {channels}), got {shapes}")
    return shapes[0]


Operation: TypeAlias = Gather | Affine | Step | Clamp | Max | Lookup | Product
