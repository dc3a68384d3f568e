"""A question about a StepNetwork as integer linear programs, one for each way to violate the property.

After EQV (Huang et al., AAAI 2024): all variables are integers, and clips are written with big-M.  Unlike there, a
staircase is the kernel's own, threshold by threshold, and nothing is rounded.  It is written with one binary per
threshold that can be met (the convex hull of the staircase), or with the integer part of a line where one fits
exactly.  What the bounds decide (constants, dominated elements of a maximum, ends that are not met) has no binary,
and outputs that the way does not compare have no row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bvverify.encode.exact_line import ExactLine, exact_line
from bvverify.encode.rows import Element, Rows
from bvverify.errors import NotLinear
from bvverify.network import Affine, Clamp, Gather, IntArray, Lookup, Max, Node, Product, Step, StepNetwork
from bvverify.network.exact import INT64_LIMIT
from bvverify.queries import LevelBox, Overtaking
from bvverify.solvers.program import IntegerProgram

FEW_THRESHOLDS = 3
"""Up to so many thresholds that can be met are written with one binary each, without looking for a line."""

Bounds = tuple[IntArray, IntArray]
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LinearEncoding:
    """The program whose solutions are the inputs that violate a property in one way."""

    program: IntegerProgram
    inputs: IntArray
    """Per flat element of the network's input: its variable, or -1 where the box leaves no choice."""

    def input_levels(self, box: LevelBox, solution: IntArray) -> IntArray:
        """Return the network input, int64 of the box's shape, that a solution of the program stands for."""
        levels = box.lower.reshape(-1).copy()
        free = self.inputs >= 0
        levels[free] = solution[self.inputs[free]]
        return levels.reshape(box.lower.shape)


def encode_way(
    network: StepNetwork, box: LevelBox, way: Sequence[Overtaking], *, values: Sequence[Bounds]
) -> LinearEncoding:
    """Return the program for: everything in `way`, one way to violate a property, holds for some input of `box`.

    `values`: bounds of every value of the network that hold on the box (int64, of each value's shape); the tighter,
    the fewer binaries.  Raises `NotLinear` for products of two values, and for numbers beyond 60 bits.
    """
    encoder = _Encoder(network, values)
    elements = encoder.inputs(box)
    outputs = encoder.outputs(elements, sorted({output for part in way for output in part[:2]}))
    for winner, loser, margin in way:
        encoder.rows.compare(outputs[winner], outputs[loser], margin)
    return LinearEncoding(encoder.rows.program(), np.array([element.variable for element in elements], dtype=np.int64))


@dataclass(frozen=True, eq=False)
class FormEncoding:
    """Linear forms in one value of a network as variables of a program whose solutions are the inputs of a box."""

    encoding: LinearEncoding
    forms: list[int]
    """The variables that equal the forms."""
    least: int
    """A variable that exceeds neither any of the forms nor 0."""


def encode_forms(
    network: StepNetwork, box: LevelBox, value: int, rows: IntArray, constants: IntArray, *, values: Sequence[Bounds]
) -> FormEncoding:
    """Return the program for the forms rows . value + constants, int64 [N, elements] and [N], on `box`.

    `values` and errors as in `encode_way`.
    """
    encoder = _Encoder(network, values)
    inputs = encoder.inputs(box)
    elements = encoder.value(value, inputs, np.flatnonzero(rows.any(axis=0)).tolist())
    forms = []
    least = encoder.rows.variable(-INT64_LIMIT // 8, 0)
    for row, constant in zip(rows.tolist(), constants.tolist(), strict=True):
        forms.append(encoder.rows.equal(elements, row, constant))
        encoder.rows.row({forms[-1]: 1, least: -1}, least=0)
    variables = np.array([element.variable for element in inputs], dtype=np.int64)
    return FormEncoding(LinearEncoding(encoder.rows.program(), variables), forms, least)


class _Encoder:
    def __init__(self, network: StepNetwork, values: Sequence[Bounds]) -> None:
        self._network = network
        self._values = [(lower.reshape(-1), upper.reshape(-1)) for lower, upper in values]
        self.rows = Rows()

    def inputs(self, box: LevelBox) -> list[Element]:
        """Return the elements of value 0, and write the rows that keep them in the box."""
        ends = zip(box.lower.reshape(-1).tolist(), box.upper.reshape(-1).tolist(), strict=True)
        elements = [Element(self.rows.variable(low, high)) if low < high else Element(-1, low) for low, high in ends]
        for number, level in box.missing.tolist():
            if (x := elements[number].variable) >= 0:
                beyond, low, high = self.rows.binary(), self.rows.lower[x], self.rows.upper[x]
                self.rows.row({x: 1, beyond: level - 1 - high}, most=level - 1)
                self.rows.row({x: 1, beyond: low - level - 1}, least=low)
        return elements

    def outputs(self, inputs: list[Element], wanted: Sequence[int]) -> dict[int, Element]:
        """Return the output elements in `wanted`, and write the rows that define them."""
        elements = self.value(len(self._network.nodes), inputs, wanted)
        return {output: elements[output] for output in wanted}

    def value(self, value: int, inputs: list[Element], wanted: Sequence[int]) -> list[Element]:
        """Return the elements of a value, and write the rows that define those in `wanted`."""
        needed = self._needed(value, wanted)
        values = [inputs]
        for index, node in enumerate(self._network.nodes[:value]):
            values.append(self._apply(index + 1, node, [values[source] for source in node.inputs], needed[index + 1]))
        return values[value]

    def _needed(self, value: int, wanted: Sequence[int]) -> list[_Mask]:
        """Return, per value, which elements the wanted ones of a value depend on."""
        needed = [np.zeros(len(lower), dtype=np.bool_) for lower, _ in self._values]
        needed[value][list(wanted)] = True
        for index in range(value - 1, -1, -1):
            node, result = self._network.nodes[index], needed[index + 1]
            fixed = self._values[index + 1][0] == self._values[index + 1][1]
            for source, reads in zip(node.inputs, _reads(node, result & ~fixed, self._values), strict=True):
                needed[source] |= reads
        return needed

    # Operations, one meaning each.

    def _apply(self, value: int, node: Node, sources: list[list[Element]], needed: _Mask) -> list[Element]:
        lower, upper = self._values[value]
        elements = [Element(-1, number) for number in lower.tolist()]
        wanted = np.flatnonzero(needed & (lower < upper))
        match node.operation:
            case Gather(indices, padding):
                joined = [element for source in sources for element in source] + [Element(-1, padding)]
                for element, index in enumerate(indices.reshape(-1).tolist()):
                    if lower[element] < upper[element]:
                        elements[element] = joined[index]
            case Affine():
                self._affine(node.operation, sources[0], wanted, elements, (lower, upper))
            case Step(base, thresholds):
                for element in wanted.tolist():
                    elements[element] = self._step(sources[0][element], base, thresholds[element % len(thresholds)])
            case Clamp():
                for element in wanted.tolist():
                    elements[element] = self._clamp(sources[0][element], node.operation.lower, node.operation.upper)
            case Max():
                window = len(sources[0]) // len(lower)
                for element in wanted.tolist():
                    elements[element] = self._max(sources[0][element * window : (element + 1) * window])
            case Lookup(first, table):
                for element in wanted.tolist():
                    elements[element] = self._lookup(sources[0][element], first, table[element % len(table)])
            case Product():
                for element in wanted.tolist():
                    elements[element] = self._product(value, sources[0][element], sources[1][element])
        return elements

    def _affine(
        self, affine: Affine, source: list[Element], wanted: IntArray, elements: list[Element], bounds: Bounds
    ) -> None:
        """Write one equation per wanted accumulator."""
        groups, outputs, inputs = affine.weight.shape
        variables = np.array([element.variable for element in source], dtype=np.int64)
        numbers = np.array([element.number for element in source], dtype=np.int64)
        for element in wanted.tolist():
            start, member = element // outputs, element % outputs
            read = slice(start * inputs, (start + 1) * inputs)
            weight, columns = affine.weight[start % groups, member], variables[read]
            constant = int(affine.offset[element % (groups * outputs)]) + int(weight @ numbers[read])
            columns, factors = _collected(columns, weight)
            if not len(columns):
                elements[element] = Element(-1, constant)
                continue
            y = self.rows.variable(int(bounds[0][element]), int(bounds[1][element]), implied=True)
            self.rows.sparse_row(np.append(columns, y), np.append(factors, -1), least=-constant, most=-constant)
            elements[element] = Element(y)

    def _step(self, element: Element, base: int, thresholds: IntArray) -> Element:
        x = element.variable
        if x < 0:
            return Element(-1, base + int((thresholds <= element.number).sum()))
        low, high = self.rows.lower[x], self.rows.upper[x]
        first, last = (int(end) for end in np.searchsorted(thresholds, [low, high], side="right"))
        inside = thresholds[first:last]
        if not len(inside):
            return Element(-1, base + first)
        if len(inside) > FEW_THRESHOLDS:
            key = inside.tobytes(), low, high, first > 0, last < len(thresholds)
            if (line := _cached_line(*key)) is not None:
                return self._clipped(x, line, base + first, base + last)
        met, jumps = np.unique(inside, return_counts=True)
        return self._staircase(x, base + first, met.tolist(), jumps.tolist())

    def _clamp(self, element: Element, lower: int, upper: int) -> Element:
        x = element.variable
        if x < 0:
            return Element(-1, min(max(element.number, lower), upper))
        low, high = self.rows.lower[x], self.rows.upper[x]
        if lower <= low and high <= upper:
            return element
        low, high = min(max(low, lower), upper), min(max(high, lower), upper)
        return Element(-1, low) if low == high else self._clipped(x, ExactLine(1, -low, 1), low, high)

    def _max(self, window: list[Element]) -> Element:
        ends = [
            (e.number, e.number) if e.variable < 0 else (self.rows.lower[e.variable], self.rows.upper[e.variable])
            for e in window
        ]
        floor, top = max(low for low, _ in ends), max(high for _, high in ends)
        contenders = {e.variable for e, (_, high) in zip(window, ends, strict=True) if e.variable >= 0 and high > floor}
        bare = all(self.rows.lower[x] < floor for x in contenders)  # then the floor itself may be the maximum
        if not contenders:
            return Element(-1, floor)
        if len(contenders) == 1:
            return self._clamp(Element(*contenders), floor, top)
        y = self.rows.variable(floor, top, implied=True)
        picks = []
        for x in sorted(contenders):
            pick, slack = self.rows.binary(), top - self.rows.lower[x]
            self.rows.row({y: 1, x: -1}, least=0)
            self.rows.row({y: 1, x: -1, pick: slack}, most=slack)
            picks.append(pick)
        if bare:
            picks.append(self.rows.binary())
            self.rows.row({y: 1, picks[-1]: top - floor}, most=top)
        self.rows.row(dict.fromkeys(picks, 1), least=1, most=1)
        return Element(y)

    def _lookup(self, element: Element, first: int, table: IntArray) -> Element:
        x = element.variable
        if x < 0:
            return Element(-1, int(table[element.number - first]))
        low, high = self.rows.lower[x], self.rows.upper[x]
        entries = table[low - first : high - first + 1]
        changes = np.flatnonzero(np.diff(entries)) + 1
        if not len(changes):
            return Element(-1, int(entries[0]))
        return self._staircase(x, int(entries[0]), (low + changes).tolist(), np.diff(entries)[changes - 1].tolist())

    def _product(self, value: int, left: Element, right: Element) -> Element:
        if left.variable >= 0 and right.variable >= 0:
            raise NotLinear(f"node {value - 1} (Product): the product of two values that vary is not linear")
        factor, other = (left.number, right) if left.variable < 0 else (right.number, left)
        if other.variable < 0 or not factor:
            return Element(-1, factor * other.number)
        ends = factor * self.rows.lower[other.variable], factor * self.rows.upper[other.variable]
        y = self.rows.variable(min(ends), max(ends), implied=True)
        self.rows.row({y: 1, other.variable: -factor}, least=0, most=0)
        return Element(y)

    # The two forms of a function of one integer.

    def _staircase(self, x: int, first: int, thresholds: list[int], jumps: list[int]) -> Element:
        """Return first + the sum of jumps[j] over all thresholds[j] <= x (ascending, all different): one binary each.

        With m of them met, x lies in [thresholds[m - 1], thresholds[m] - 1]; both ends are sums over the binaries.
        """
        low, high = self.rows.lower[x], self.rows.upper[x]
        met = [self.rows.binary() for _ in thresholds]
        for earlier, later in pairwise(met):
            self.rows.row({earlier: 1, later: -1}, least=0)
        starts = [low, *thresholds]
        ends = [*(threshold - 1 for threshold in thresholds), high]
        above = {z: starts[j] - starts[j + 1] for j, z in enumerate(met)}
        below = {z: ends[j] - ends[j + 1] for j, z in enumerate(met)}
        self.rows.row({x: 1, **above}, least=low)
        self.rows.row({x: 1, **below}, most=ends[0])
        heights = np.cumsum([first, *jumps])
        y = self.rows.variable(int(heights.min()), int(heights.max()), implied=True)
        self.rows.row({y: 1, **{z: -jump for z, jump in zip(met, jumps, strict=True)}}, least=first, most=first)
        return Element(y)

    def _clipped(self, x: int, line: ExactLine, lower: int, upper: int) -> Element:
        """Return lower + the integer part of a line, clipped to [lower, upper]: a binary at each end that it leaves."""
        factor, offset, divisor = line.factor, line.offset + line.divisor * lower, line.divisor
        span = upper - lower
        y = self.rows.variable(lower, upper)
        under = {y: divisor, x: -factor}
        over = {y: divisor, x: -factor}
        under_most, over_least = offset, offset - divisor + 1
        if line.at(self.rows.lower[x]) < 0:  # the binary says: y may be above the lower end
            slack = -(factor * self.rows.lower[x] + line.offset)
            lifted = self.rows.binary()
            under[lifted], under_most = slack, under_most + slack
            self.rows.row({y: 1, lifted: -span}, most=lower)
        if line.at(self.rows.upper[x]) > span:  # the binary says: y is at the upper end
            full = self.rows.binary()
            over[full] = factor * self.rows.upper[x] + line.offset - divisor * span - divisor + 1
            self.rows.row({y: 1, full: -span}, least=lower)
        self.rows.row(under, most=under_most)
        self.rows.row(over, least=over_least)
        return Element(y)


@lru_cache(maxsize=4096)
def _cached_line(thresholds: bytes, lower: int, upper: int, more_below: bool, more_above: bool) -> ExactLine | None:
    row = np.frombuffer(thresholds, dtype=np.int64)
    return exact_line(row, lower, upper, more_below=more_below, more_above=more_above)


def _collected(columns: IntArray, factors: IntArray) -> tuple[IntArray, IntArray]:
    """Return the variables among `columns`, each once, and their summed factors where these are not zero."""
    kept, place = np.unique(columns, return_inverse=True)
    total = np.zeros(len(kept), dtype=np.int64)
    np.add.at(total, place, factors)
    used = (kept >= 0) & (total != 0)
    return kept[used], total[used]


def _reads(node: Node, result: _Mask, values: Sequence[Bounds]) -> list[_Mask]:
    """Return, per source of a node, which of its elements the marked elements of the result read."""
    sizes = [len(values[source][0]) for source in node.inputs]
    match node.operation:
        case Gather(indices):
            joined = np.zeros(sum(sizes), dtype=np.bool_)
            read = indices.reshape(-1)[result]
            joined[read[read >= 0]] = True
            return np.split(joined, np.cumsum(sizes)[:-1])
        case Affine(weight):
            groups, outputs, _ = weight.shape
            used = result.reshape(-1, groups, outputs)
            return [np.einsum("pgm,gmk->pgk", used.astype(np.int64), (weight != 0).astype(np.int64)).reshape(-1) > 0]
        case Max():
            return [np.repeat(result, sizes[0] // len(result))]
        case _:
            return [result for _ in sizes]
