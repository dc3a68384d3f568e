"""Linear bounds by back-substitution (CROWN: Zhang et al., NeurIPS 2018), carried out in exact integers.

A row is a linear form in one value of the network.  From the value back to the input, each operation is replaced by a
line above it where the row's coefficient is positive, and by one below it where it is negative; what is left is a
linear form in the input, whose maximum over a box is a sum.  Coefficients stay integers: those that a line's slope
makes fractional are rounded, and what the rounding may add is charged to the interval of the element.

A form may also stop on the way, after some layers: at the intervals of the values there, or at forms in the inputs that
bound them.  One family thus holds what is known as IBP, LBP, CROWN-IBP, CROWN-LBP and CROWN (`FAMILY`; relaxed CROWN:
Lyu et al., "Towards evaluating and training verifiably robust neural networks", CVPR 2021).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from bvverify.bounds.integers import TooLarge, check, largest, plus, product
from bvverify.bounds.lines import SHIFT, Lines, Slopes, clamp_lines, lookup_lines, step_lines
from bvverify.bounds.sums import through_affine, through_gather
from bvverify.network import Affine, Clamp, Gather, IntArray, Lookup, Max, Product, Step, StepNetwork

PRECISIONS = (28, 14, 0)
"""Bits that coefficients start with: more lose less to rounding, fewer leave more room in 64 bits."""

_FORM_BITS = 20
"""Bits of the coefficients of forms at which others stop."""

Bounds = tuple[IntArray, IntArray]
Constants = npt.NDArray[np.object_]
"""Python integers."""


class Stop(StrEnum):
    """What bounds the values at which forms stop on their way to the inputs."""

    INTERVALS = "intervals"
    FORMS = "forms"
    """Linear forms in the inputs, above and below, which were found in the same way."""


@dataclass(frozen=True)
class Depth:
    """How far forms go back: through so many affine operations, all the way to the inputs if None."""

    layers: int | None
    stop: Stop = Stop.INTERVALS


TO_INPUTS = Depth(None)
FAMILY = {
    "IBP": (Depth(0), Depth(0)),
    "LBP": (Depth(1, Stop.FORMS), Depth(1, Stop.FORMS)),
    "CROWN-IBP": (Depth(0), TO_INPUTS),
    "CROWN-LBP": (Depth(1, Stop.FORMS), TO_INPUTS),
    "CROWN": (TO_INPUTS, TO_INPUTS),
}
"""Methods of the literature by name: how far the forms of values go back, and how far those of a question."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Linear forms in one value: coefficients int64 [R, size of the value], one constant for each."""

    value: int
    coefficients: IntArray
    constants: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Forms:
    """Forms in the inputs above and below the elements of a value: (coefficients . x + constants) / 2**bits.

    Coefficients int64 [elements, inputs], constants [elements], the upper forms first.
    """

    coefficients: tuple[IntArray, IntArray]
    constants: tuple[Constants, Constants]
    bits: int


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
        depth: Depth = TO_INPUTS,
        known: Sequence[Bounds] | None = None,
    ) -> None:
        """Bound all values by forms of some depth; `known`, bounds of every value on the same box from elsewhere, are
        used as well.
        """
        self._network, self._slopes = network, slopes
        self._depths = _depths(network)
        self.values: list[Bounds] = [(lower, upper)]
        self._lines: list[Lines | None] = []
        self._forms: dict[tuple[int, Depth], _Forms | None] = {}
        for index, node in enumerate(network.nodes):
            sources = [self.values[source] for source in node.inputs]
            bounds = node.operation.interval(tuple(low for low, _ in sources), tuple(high for _, high in sources))
            self._lines.append(self._line(index))
            if known is not None:
                bounds = np.maximum(bounds[0], known[index + 1][0]), np.minimum(bounds[1], known[index + 1][1])
            self.values.append(bounds)
            if isinstance(node.operation, Affine) and not self._fed_by_box(node.inputs[0]):
                self.values[-1] = self._tightened(index + 1, depth)

    def greatest(
        self, rows: Rows, *, depth: Depth = TO_INPUTS, precisions: Sequence[int] = PRECISIONS
    ) -> list[int] | None:
        """Return, per row, a number that the linear form does not exceed on the box; None if 64 bits do not suffice.

        `precisions` are tried in turn until one fits.
        """
        for precision in precisions:
            try:
                return self._greatest(rows, precision, depth)
            except TooLarge:
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

    def _tightened(self, value: int, depth: Depth) -> Bounds:
        lower, upper = self.values[value]
        flat_lower, flat_upper = lower.reshape(-1).copy(), upper.reshape(-1).copy()
        wanted = np.flatnonzero(flat_lower < flat_upper)
        coefficients = np.zeros((len(wanted), lower.size), dtype=np.int64)
        coefficients[np.arange(len(wanted)), wanted] = 1
        constants = (0,) * len(wanted)
        above = self.greatest(Rows(value, coefficients, constants), depth=depth)
        below = self.greatest(Rows(value, -coefficients, constants), depth=depth)
        for element, most in zip(wanted.tolist(), above or [], strict=False):
            flat_upper[element] = min(int(flat_upper[element]), most)
        for element, most in zip(wanted.tolist(), below or [], strict=False):
            flat_lower[element] = max(int(flat_lower[element]), -most)
        return flat_lower.reshape(lower.shape), flat_upper.reshape(upper.shape)

    def _forms_of(self, value: int, depth: Depth) -> _Forms | None:
        """Return forms in the inputs above and below the accumulators of an affine operation, None if 64 bits do not
        suffice.  They go back through at least one layer.
        """
        if (value, depth) not in self._forms:
            further = Depth(max(1, depth.layers or 1), depth.stop)
            self._forms[value, depth] = self._forms_by(value, further)
        return self._forms[value, depth]

    def _forms_by(self, value: int, depth: Depth) -> _Forms | None:
        each = np.eye(self.values[value][0].size, dtype=np.int64)
        try:
            (above, over), (below, under) = (
                self._to_inputs(Rows(value, rows << _FORM_BITS, (0,) * len(rows)), depth) for rows in (each, -each)
            )
        except TooLarge:
            return None
        return _Forms((above, -below), (over, -under), _FORM_BITS)

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

    def _greatest(self, rows: Rows, precision: int, depth: Depth) -> list[int]:
        scale = max(0, precision - largest(rows.coefficients).bit_length())
        constants = tuple(constant << scale for constant in rows.constants)
        form, constant = self._to_inputs(Rows(rows.value, rows.coefficients << scale, constants), depth)
        most = constant + _on_box(form, *self.values[0])
        return [int(one) >> scale for one in most.tolist()]  # the form is an integer: rounding down is sound

    def _to_inputs(self, rows: Rows, depth: Depth) -> tuple[IntArray, Constants]:
        """Return forms in the inputs, coefficients [R, inputs] and constants, that the rows do not exceed."""
        held: dict[int, IntArray] = {rows.value: rows.coefficients}
        constants: Constants = np.array(rows.constants, dtype=object)
        last = -1 if depth.layers is None else self._depths[rows.value] - depth.layers
        for value in range(rows.value, 0, -1):
            if (coefficients := held.pop(value, None)) is None or not coefficients.any():
                continue
            parts, added = self._back(value, coefficients, depth, stopping=self._depths[value] <= last)
            constants = constants + added
            for source, part in parts:
                held[source] = plus(held[source], part) if source in held else part
        none = np.zeros((len(rows.coefficients), self.values[0][0].size), dtype=np.int64)
        return held.get(0, none), constants

    def _back(
        self, value: int, rows: IntArray, depth: Depth, *, stopping: bool
    ) -> tuple[list[tuple[int, IntArray]], Constants]:
        """Return the rows in the sources of a value's node, and what is added to their constants."""
        node = self._network.nodes[value - 1]
        sources = node.inputs
        if stopping and depth.stop is Stop.INTERVALS:
            return [], _on_box(rows, *self.values[value])
        match node.operation:
            case Affine() if stopping and not self._fed_by_box(sources[0]):
                return self._at_forms(value, rows, depth)
            case Affine() as affine:
                constant = _weighted(rows, np.tile(affine.offset, rows.shape[1] // len(affine.offset)))
                return [(sources[0], through_affine(affine, rows))], constant
            case Gather() as gather:
                parts, padding = through_gather(gather, [self.values[source][0].size for source in sources], rows)
                collected: dict[int, IntArray] = {}
                for source, part in zip(sources, parts, strict=True):
                    collected[source] = plus(collected[source], part) if source in collected else part
                return list(collected.items()), padding.astype(object)
            case Step() | Clamp() | Lookup():
                return self._through_line(value - 1, sources[0], rows)
            case Max():
                return self._through_max(value - 1, sources[0], rows)
            case Product():
                return self._through_product(sources, rows)

    def _at_forms(self, value: int, rows: IntArray, depth: Depth) -> tuple[list[tuple[int, IntArray]], Constants]:
        forms = self._forms_of(value, depth)
        if forms is None:
            return [], _on_box(rows, *self.values[value])
        positive, negative = _parts(rows)
        exact = plus(product(positive, forms.coefficients[0]), product(negative, forms.coefficients[1]))
        constant = _weighted_any(positive, forms.constants[0]) + _weighted_any(negative, forms.constants[1])
        return self._rounded(0, exact, constant, forms.bits)

    def _through_line(self, index: int, source: int, rows: IntArray) -> tuple[list[tuple[int, IntArray]], Constants]:
        line = self._lines[index]
        if line is None:
            return [], _on_box(rows, *self.values[index + 1])
        positive, negative = _parts(rows)
        slopes = [slope.reshape(-1) for slope in (line.upper_slope, line.lower_slope)]
        intercepts = [intercept.reshape(-1) for intercept in (line.upper_intercept, line.lower_intercept)]
        check(largest(rows) * max(largest(slope) for slope in slopes), 1)
        exact: IntArray = positive * slopes[0] + negative * slopes[1]
        constant = _weighted(positive, intercepts[0]) + _weighted(negative, intercepts[1])
        return self._rounded(source, exact, constant, SHIFT)

    def _rounded(
        self, source: int, exact: IntArray, constant: Constants, bits: int
    ) -> tuple[list[tuple[int, IntArray]], Constants]:
        """Return rows and constants without their factor 2**bits; what rounding may add is charged to the constant."""
        lower, upper = (end.reshape(-1) for end in self.values[source])
        rows = (exact + (1 << (bits - 1))) >> bits
        charged = constant + _on_box(exact - (rows << bits), lower, upper)
        return [(source, rows)], np.array([-((-int(total)) >> bits) for total in charged], dtype=object)

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
        check(max(largest(rows), largest(low), largest(high)) << (SHIFT + 1), 1)
        intercept = np.maximum((at_first << SHIFT) - slope * first, (last << SHIFT) - slope * last)
        positive, negative = _parts(rows)
        exact = np.zeros((len(rows), *low.shape), dtype=np.int64)
        exact[:, places, over] += positive * slope
        exact[:, places, under] += negative << SHIFT
        return self._rounded(source, exact.reshape(len(rows), -1), _weighted(positive, intercept), SHIFT)

    def _through_product(
        self, sources: tuple[int, ...], rows: IntArray
    ) -> tuple[list[tuple[int, IntArray]], Constants]:
        """McCormick's planes: above, x y <= u2 x + l1 y - l1 u2; below, x y >= l2 x + l1 y - l1 l2."""
        (low, _), (second_low, second_high) = (
            tuple(end.reshape(-1) for end in self.values[source]) for source in sources
        )
        positive, negative = _parts(rows)
        check(largest(rows) * max(largest(low), largest(second_low), largest(second_high)), 1)
        first: IntArray = positive * second_high + negative * second_low
        second: IntArray = rows * low
        constant = -_weighted(positive, low * second_high) - _weighted(negative, low * second_low)
        if sources[0] == sources[1]:
            return [(sources[0], plus(first, second))], constant
        return [(sources[0], first), (sources[1], second)], constant


def _depths(network: StepNetwork) -> list[int]:
    """Return, per value, how many affine operations lie between it and the input, on the longest way."""
    depths = [0]
    for node in network.nodes:
        depths.append(max(depths[source] for source in node.inputs) + isinstance(node.operation, Affine))
    return depths


def _weighted(rows: IntArray, numbers: IntArray) -> Constants:
    """Return rows @ numbers, exactly: the numbers are cut into digits whose sums cannot overflow."""
    total: Constants = np.zeros(len(rows), dtype=object)
    room = 61 - largest(rows).bit_length() - rows.shape[1].bit_length()
    if room < 1:
        raise TooLarge
    rest, shift = numbers, 0
    while (rest > 0).any() or (rest < -1).any():
        total = total + (rows @ (rest & ((1 << room) - 1))).astype(object) * (1 << shift)
        rest, shift = rest >> room, shift + room
    total = total + (rows @ rest).astype(object) * (1 << shift)  # what is left of each number: 0 or -1
    return total


def _weighted_any(rows: IntArray, numbers: Constants) -> Constants:
    """Return rows @ numbers for Python integers of any size."""
    total: Constants = rows.astype(object) @ numbers
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
