"""Linear bounds by back-substitution (CROWN: Zhang et al., NeurIPS 2018), carried out in exact integers.

A row is a linear form in one value of the network.  From the value back to the input, each operation is replaced by a
line above it where the row's coefficient is positive, and by one below it where it is negative; what is left is a
linear form in the input, whose maximum over a box is a sum.  Coefficients stay integers: those that a line's slope
makes fractional are rounded, and what the rounding may add is charged to the interval of the element.

A form may also stop on the way, after some layers, at the intervals of the values there.  One family thus holds
intervals (no layer: IBP), intervals with a form through all layers at the end (CROWN-IBP: Zhang et al., ICLR 2020), and
CROWN.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bvverify.bounds.lines import SHIFT, Lines, Slopes, clamp_lines, lookup_lines, step_lines
from bvverify.network import Affine, Clamp, Gather, IntArray, Lookup, Max, Product, Step, StepNetwork

_EXACT_FLOAT = 1 << 53
_EXACT_INT = 1 << 62

PRECISIONS = (28, 14, 0)
"""Bits that coefficients start with: more lose less to rounding, fewer leave more room in 64 bits."""

Bounds = tuple[IntArray, IntArray]
Constants = npt.NDArray[np.object_]
"""Python integers."""


class _TooLarge(Exception):
    """A number may leave 64 bits; there is no bound then."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Linear forms in one value: coefficients int64 [R, size of the value], one constant for each."""

    value: int
    coefficients: IntArray
    constants: tuple[int, ...]


class LinearBounds:
    """Bounds of every value of a network on a box of inputs, and of linear forms in them.

    `values`: (lower, upper), int64 of each value's shape; intervals, tightened by back-substitution wherever an
    operation follows that profits from it.
    """

    def __init__(
        self,
        network: StepNetwork,
        lower: IntArray,
        upper: IntArray,
        *,
        slopes: Slopes,
        layers: int | None = None,
        known: Sequence[Bounds] | None = None,
    ) -> None:
        """Bound all values; `known`, bounds of every value on the same box from elsewhere, are used as well.

        `layers`: through how many affine operations the bounds of values go back; None: to the input.
        """
        self._network, self._slopes = network, slopes
        self._depths = _depths(network)
        self.values: list[Bounds] = [(lower, upper)]
        self._lines: list[Lines | None] = []
        for index, node in enumerate(network.nodes):
            sources = [self.values[source] for source in node.inputs]
            bounds = node.operation.interval(tuple(low for low, _ in sources), tuple(high for _, high in sources))
            self._lines.append(self._line(index))
            if known is not None:
                bounds = np.maximum(bounds[0], known[index + 1][0]), np.minimum(bounds[1], known[index + 1][1])
            self.values.append(bounds)
            if isinstance(node.operation, Affine) and not self._fed_by_box(node.inputs[0]):
                self.values[-1] = self._tightened(index + 1, layers)

    def greatest(
        self, rows: Rows, *, layers: int | None = None, precisions: Sequence[int] = PRECISIONS
    ) -> list[int] | None:
        """Return, per row, a number that the linear form does not exceed on the box; None if 64 bits do not suffice.

        `layers`: through how many affine operations the forms go back; None: to the input.  `precisions` are tried in
        turn until one fits.
        """
        for precision in precisions:
            try:
                return self._greatest(rows, precision, layers)
            except _TooLarge:
                continue
        return None

    def _fed_by_box(self, value: int) -> bool:
        """Return whether a value is only wiring of the input, so that intervals of a sum of it are exact."""
        while value:
            node = self._network.nodes[value - 1]
            if not isinstance(node.operation, Gather) or len(node.inputs) != 1:
                return False
            value = node.inputs[0]
        return True

    def _tightened(self, value: int, layers: int | None) -> Bounds:
        lower, upper = self.values[value]
        flat_lower, flat_upper = lower.reshape(-1).copy(), upper.reshape(-1).copy()
        wanted = np.flatnonzero(flat_lower < flat_upper)
        coefficients = np.zeros((len(wanted), lower.size), dtype=np.int64)
        coefficients[np.arange(len(wanted)), wanted] = 1
        constants = (0,) * len(wanted)
        above = self.greatest(Rows(value, coefficients, constants), layers=layers)
        below = self.greatest(Rows(value, -coefficients, constants), layers=layers)
        for element, most in zip(wanted.tolist(), above or [], strict=False):
            flat_upper[element] = min(int(flat_upper[element]), most)
        for element, most in zip(wanted.tolist(), below or [], strict=False):
            flat_lower[element] = max(int(flat_lower[element]), -most)
        return flat_lower.reshape(lower.shape), flat_upper.reshape(upper.shape)

    def _line(self, index: int) -> Lines | None:
        node = self._network.nodes[index]
        lower, upper = self.values[node.inputs[0]]
        match node.operation:
            case Step():
                return step_lines(node.operation, lower, upper, self._slopes)
            case Clamp():
                return clamp_lines(node.operation, lower, upper, self._slopes)
            case Lookup():
                return lookup_lines(node.operation, lower, upper)
            case _:
                return None

    def _greatest(self, rows: Rows, precision: int, layers: int | None) -> list[int]:
        scale = max(0, precision - _largest(rows.coefficients).bit_length())
        held: dict[int, IntArray] = {rows.value: rows.coefficients << scale}
        constants = [constant << scale for constant in rows.constants]
        last = 0 if layers is None else self._depths[rows.value] - layers
        for value in range(rows.value, 0, -1):
            if (coefficients := held.pop(value, None)) is None or not coefficients.any():
                continue
            if self._depths[value] > last or layers is None:
                parts, added = self._back(value - 1, coefficients)
            else:
                parts, added = [], _on_box(coefficients, *self.values[value])
            constants = [constant + int(more) for constant, more in zip(constants, added.tolist(), strict=True)]
            for source, part in parts:
                held[source] = _sum(held[source], part) if source in held else part
        if (coefficients := held.get(0)) is not None:
            most = _on_box(coefficients, *self.values[0])
            constants = [constant + int(more) for constant, more in zip(constants, most.tolist(), strict=True)]
        return [constant >> scale for constant in constants]  # the form is an integer: rounding down is sound

    def _back(self, index: int, rows: IntArray) -> tuple[list[tuple[int, IntArray]], Constants]:
        """Return the rows in the sources of one node, and what is added to their constants."""
        node = self._network.nodes[index]
        sources = node.inputs
        match node.operation:
            case Affine():
                return [(sources[0], _through_affine(node.operation, rows))], _weighted(
                    rows, np.tile(node.operation.offset, rows.shape[1] // len(node.operation.offset))
                )
            case Gather():
                return self._through_gather(node.operation, sources, rows)
            case Step() | Clamp() | Lookup():
                return self._through_line(index, sources[0], rows)
            case Max():
                return self._through_max(index, sources[0], rows)
            case Product():
                return self._through_product(sources, rows)

    def _through_line(self, index: int, source: int, rows: IntArray) -> tuple[list[tuple[int, IntArray]], Constants]:
        line = self._lines[index]
        if line is None:
            return [], _on_box(rows, *self.values[index + 1])
        positive, negative = _parts(rows)
        slopes = [slope.reshape(-1) for slope in (line.upper_slope, line.lower_slope)]
        intercepts = [intercept.reshape(-1) for intercept in (line.upper_intercept, line.lower_intercept)]
        _check(_largest(rows) * max(_largest(slope) for slope in slopes))
        exact: IntArray = positive * slopes[0] + negative * slopes[1]
        constant = _weighted(positive, intercepts[0]) + _weighted(negative, intercepts[1])
        return self._rounded(source, exact, constant)

    def _rounded(
        self, source: int, exact: IntArray, constant: Constants
    ) -> tuple[list[tuple[int, IntArray]], Constants]:
        """Return rows and constants without their factor 2**SHIFT; what rounding may add is charged to the constant."""
        lower, upper = (end.reshape(-1) for end in self.values[source])
        rows = (exact + (1 << (SHIFT - 1))) >> SHIFT
        charged = constant + _on_box(exact - (rows << SHIFT), lower, upper)
        return [(source, rows)], np.array([-((-int(total)) >> SHIFT) for total in charged], dtype=object)

    def _through_gather(
        self, gather: Gather, sources: tuple[int, ...], rows: IntArray
    ) -> tuple[list[tuple[int, IntArray]], Constants]:
        sizes = [self.values[source][0].size for source in sources]
        indices = gather.indices.reshape(-1)
        read = indices >= 0
        _check(_largest(rows) * int(np.bincount(indices[read], minlength=1).max(initial=1)))
        total = np.zeros((sum(sizes), len(rows)), dtype=np.int64)
        np.add.at(total, indices[read], rows[:, read].T)
        parts = np.split(total.T, np.cumsum(sizes)[:-1], axis=1)
        constant = _weighted(rows[:, ~read], np.full(int((~read).sum()), gather.padding))
        collected: dict[int, IntArray] = {}
        for source, part in zip(sources, parts, strict=True):
            collected[source] = _sum(collected[source], part) if source in collected else part
        return list(collected.items()), constant

    def _through_max(self, index: int, source: int, rows: IntArray) -> tuple[list[tuple[int, IntArray]], Constants]:
        """Below, the element with the greatest lower bound; above, the chord of max(x, m) in the element x with the
        greatest upper bound, where m is what the others do not exceed.
        """
        lower, upper = self.values[source]
        low, high = lower.reshape(-1, lower.shape[-1]), upper.reshape(-1, lower.shape[-1])
        places = np.arange(len(low))
        under, over = low.argmax(axis=1), high.argmax(axis=1)
        first, last = low[places, over], high[places, over]
        others = high.copy()
        others[places, over] = low.min()
        at_first = np.maximum(first, others.max(axis=1))
        slope = np.rint((last - at_first) / np.maximum(last - first, 1) * (1 << SHIFT)).astype(np.int64)
        _check(max(_largest(rows), _largest(low), _largest(high)) << (SHIFT + 1))
        intercept = np.maximum((at_first << SHIFT) - slope * first, (last << SHIFT) - slope * last)
        positive, negative = _parts(rows)
        exact = np.zeros((len(rows), *low.shape), dtype=np.int64)
        exact[:, places, over] += positive * slope
        exact[:, places, under] += negative << SHIFT
        return self._rounded(source, exact.reshape(len(rows), -1), _weighted(positive, intercept))

    def _through_product(
        self, sources: tuple[int, ...], rows: IntArray
    ) -> tuple[list[tuple[int, IntArray]], Constants]:
        """McCormick's planes: above, x y <= u2 x + l1 y - l1 u2; below, x y >= l2 x + l1 y - l1 l2."""
        (low, _), (second_low, second_high) = (
            tuple(end.reshape(-1) for end in self.values[source]) for source in sources
        )
        positive, negative = _parts(rows)
        _check(_largest(rows) * max(_largest(low), _largest(second_low), _largest(second_high)))
        first: IntArray = positive * second_high + negative * second_low
        second: IntArray = rows * low
        constant = -_weighted(positive, low * second_high) - _weighted(negative, low * second_low)
        if sources[0] == sources[1]:
            return [(sources[0], _sum(first, second))], constant
        return [(sources[0], first), (sources[1], second)], constant


def _depths(network: StepNetwork) -> list[int]:
    """Return, per value, how many affine operations lie between it and the input, on the longest way."""
    depths = [0]
    for node in network.nodes:
        depths.append(max(depths[source] for source in node.inputs) + isinstance(node.operation, Affine))
    return depths


def _through_affine(affine: Affine, rows: IntArray) -> IntArray:
    """Return rows [R, P * G * M] of accumulators as rows [R, P * G * K] of what an Affine sums."""
    groups, outputs, _ = affine.weight.shape
    parts = rows.reshape(-1, groups, outputs)
    sums = np.abs(affine.weight).sum(axis=1).max(initial=0)
    reach = _largest(rows) * int(sums)
    _check(reach)
    dtype = np.float64 if reach < _EXACT_FLOAT else np.int64
    weight, carried = affine.weight.astype(dtype), parts.astype(dtype)
    if groups == 1:
        found = carried[:, 0, :] @ weight[0]
    else:
        found = np.matmul(carried.transpose(1, 0, 2), weight).transpose(1, 0, 2)
    return np.asarray(found).astype(np.int64).reshape(len(rows), -1)


def _weighted(rows: IntArray, numbers: IntArray) -> Constants:
    """Return rows @ numbers, exactly: the numbers are cut into digits whose sums cannot overflow."""
    total: Constants = np.zeros(len(rows), dtype=object)
    room = 61 - _largest(rows).bit_length() - rows.shape[1].bit_length()
    if room < 1:
        raise _TooLarge
    rest, shift = numbers, 0
    while (rest > 0).any() or (rest < -1).any():
        total = total + (rows @ (rest & ((1 << room) - 1))).astype(object) * (1 << shift)
        rest, shift = rest >> room, shift + room
    total = total + (rows @ rest).astype(object) * (1 << shift)  # what is left of each number: 0 or -1
    return total


def _parts(rows: IntArray) -> tuple[IntArray, IntArray]:
    """Return the positive and the negative part of each coefficient."""
    return np.asarray(np.maximum(rows, 0), dtype=np.int64), np.asarray(np.minimum(rows, 0), dtype=np.int64)


def _on_box(rows: IntArray, lower: IntArray, upper: IntArray) -> Constants:
    """Return the maximum of rows [R, size] over a box, exactly."""
    positive, negative = _parts(rows)
    most: Constants = _weighted(positive, upper.reshape(-1))
    most = most + _weighted(negative, lower.reshape(-1))
    return most


def _sum(first: IntArray, second: IntArray) -> IntArray:
    _check(_largest(first) + _largest(second))
    return first + second


def _largest(array: IntArray) -> int:
    return max(abs(int(array.max(initial=0))), abs(int(array.min(initial=0))))


def _check(reach: int) -> None:
    if reach >= _EXACT_INT:
        raise _TooLarge
