"""A question about a StepNetwork as a bit-vector formula.

Every integer of the network is a word: an unsigned bit-vector counted from the integer's least possible value, just
wide enough for its range over the region.  Sums have only non-negative terms, and their widths grow along a
balanced tree, so nothing wraps around by construction. A staircase is one comparison per threshold that lies inside
the range.  What the intervals decide (constant inputs, stable steps, dominated elements of a maximum, hopeless
rivals) leaves no term.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from bvverify.encode.terms import Terms
from bvverify.errors import InternalError
from bvverify.network import Affine, Clamp, Gather, Lookup, Max, Operation, Product, Step, StepNetwork
from bvverify.network.operations import Shape
from bvverify.queries import LevelBox, Overtaking, Robustness

T = TypeVar("T")


@dataclass(frozen=True)
class Word(Generic[T]):
    """An integer in [lower, upper], counted from `lower`.

    `term` is unsigned and bit_length(upper - lower) wide; None for a constant.
    """

    lower: int
    upper: int
    term: T | None

    @property
    def span(self) -> int:
        """upper - lower, the greatest value of the term."""
        return self.upper - self.lower

    @property
    def width(self) -> int:
        """Width of the term in bits; 0 for a constant."""
        return self.span.bit_length()


@dataclass(frozen=True)
class Encoding(Generic[T]):
    """The formula whose models are the inputs that violate a property."""

    inputs: dict[str, tuple[int, int]]
    """Free words by name: (flat element of the network's input, level at which the word is 0)."""
    domain: list[T]
    """Truth values that must hold for an input to belong to the region."""
    outputs: list[Word[T]]
    """The network's outputs as functions of the input words."""
    violation: T
    """Truth of the property's violation."""

    def input_levels(self, box: LevelBox, values: dict[str, int]) -> npt.NDArray[np.int64]:
        """Return the network input, int64 of the box's shape, that an assignment of the free words stands for."""
        levels = box.lower.reshape(-1).copy()
        for name, (element, base) in self.inputs.items():
            levels[element] = base + values[name]
        return levels.reshape(box.lower.shape)


def encode(network: StepNetwork, box: LevelBox, question: Robustness, terms: Terms[T]) -> Encoding[T]:
    """Return the formula for: some input of `box` violates `question`."""
    return _Encoder(network, terms).question(box, question)


class _Encoder(Generic[T]):
    def __init__(self, network: StepNetwork, terms: Terms[T]) -> None:
        self._network = network
        self._terms = terms

    def question(self, box: LevelBox, question: Robustness) -> Encoding[T]:
        inputs: dict[str, tuple[int, int]] = {}
        domain: list[T] = []
        words = self._inputs(box, inputs, domain)
        values = [words]
        for node in self._network.nodes:
            shape = self._network.values[node.inputs[0]].shape
            values.append(self._apply(node.operation, [values[source] for source in node.inputs], shape))
        outputs = values[-1]
        violation = self._violation(outputs, question)
        return Encoding(inputs, domain, outputs, violation)

    # Inputs.

    def _inputs(self, box: LevelBox, inputs: dict[str, tuple[int, int]], domain: list[T]) -> list[Word[T]]:
        words: list[Word[T]] = []
        for element, (low, high) in enumerate(
            zip(box.lower.reshape(-1).tolist(), box.upper.reshape(-1).tolist(), strict=True)
        ):
            if low == high:
                words.append(Word(low, high, None))
                continue
            name, width = f"x{element}", (high - low).bit_length()
            term = self._terms.symbol(name, width)
            inputs[name] = (element, low)
            if high - low < (1 << width) - 1:
                domain.append(self._terms.at_least(self._terms.constant(high - low, width), term))
            words.append(Word(low, high, term))
        for element, level in box.missing.tolist():
            word = words[element]
            if word.term is not None:
                skipped = self._terms.constant(level - word.lower, word.width)
                domain.append(self._terms.negate(self._terms.equal(word.term, skipped)))
        return words

    # Operations, one meaning each.

    def _apply(self, operation: Operation, sources: Sequence[list[Word[T]]], shape: Shape) -> list[Word[T]]:
        """Return the words of one node; `shape` is that of its first input."""
        match operation:
            case Gather():
                joined = [word for source in sources for word in source]
                padding: Word[T] = Word(operation.padding, operation.padding, None)
                return [padding if index < 0 else joined[index] for index in operation.indices.reshape(-1).tolist()]
            case Affine():
                return self._affine(operation, sources[0])
            case Step():
                channels = operation.thresholds.tolist()
                return [
                    self._step(word, operation.base, channels[index % len(channels)])
                    for index, word in enumerate(sources[0])
                ]
            case Clamp():
                return [self._clamp(word, operation.lower, operation.upper) for word in sources[0]]
            case Max():
                window = shape[-1]
                return [self._max(sources[0][start : start + window]) for start in range(0, len(sources[0]), window)]
            case Lookup():
                rows = operation.table.tolist()
                return [
                    self._lookup(word, operation.lower, rows[index % len(rows)])
                    for index, word in enumerate(sources[0])
                ]
            case Product():
                return [self._product(left, right) for left, right in zip(*sources, strict=True)]

    def _affine(self, operation: Affine, words: list[Word[T]]) -> list[Word[T]]:
        groups, outputs, inputs = operation.weight.shape
        weight, offset = operation.weight.tolist(), operation.offset.tolist()
        mirrored: dict[int, T] = {}
        result = []
        for row in range(len(words) // (groups * inputs)):
            for group in range(groups):
                start = (row * groups + group) * inputs
                for member in range(outputs):
                    shift = offset[group * outputs + member]
                    result.append(self._weighted_sum(weight[group][member], shift, words, start, mirrored))
        return result

    def _weighted_sum(
        self, weights: list[int], offset: int, words: list[Word[T]], start: int, mirrored: dict[int, T]
    ) -> Word[T]:
        """Return offset + sum of weights times words[start:], with every summand counted from its least value."""
        lower = offset
        summands: list[Word[T]] = []
        for index, factor in enumerate(weights, start):
            word = words[index]
            lower += factor * (word.lower if factor > 0 else word.upper)
            if factor and word.term is not None:
                counted = word.term if factor > 0 else self._mirror(index, word, mirrored)
                summands.append(self._scaled(Word(0, word.span, counted), abs(factor)))
        if not summands:
            return Word(lower, lower, None)
        total = self._sum(summands)
        return Word(lower, lower + total.upper, total.term)

    def _mirror(self, index: int, word: Word[T], mirrored: dict[int, T]) -> T:
        """Return upper - value, for negative weights; built once per element."""
        if index not in mirrored:
            mirrored[index] = self._mirrored(word)
        return mirrored[index]

    def _mirrored(self, word: Word[T]) -> T:
        assert word.term is not None
        return self._terms.subtract(self._terms.constant(word.span, word.width), word.term)

    def _scaled(self, word: Word[T], factor: int) -> Word[T]:
        if factor == 1:
            return word
        scaled: Word[T] = Word(0, factor * word.upper, None)
        wide = self._widened(word, scaled.width)
        return Word(0, scaled.upper, self._terms.multiply(wide, self._terms.constant(factor, scaled.width)))

    def _sum(self, words: list[Word[T]]) -> Word[T]:
        """Return the sum of words that start at 0, as a balanced tree whose widths grow with the sums."""
        while len(words) > 1:
            paired = [self._plus(left, right) for left, right in zip(words[::2], words[1::2], strict=False)]
            words = paired + words[len(paired) * 2 :]
        return words[0]

    def _plus(self, left: Word[T], right: Word[T]) -> Word[T]:
        upper = left.upper + right.upper
        width = upper.bit_length()
        return Word(0, upper, self._terms.add(self._widened(left, width), self._widened(right, width)))

    def _step(self, word: Word[T], base: int, thresholds: list[int]) -> Word[T]:
        always = sum(threshold <= word.lower for threshold in thresholds)
        inside = [threshold for threshold in thresholds if word.lower < threshold <= word.upper]
        if not inside:
            return Word(base + always, base + always, None)
        bits: list[Word[T]] = []
        for threshold in inside:
            reached = self._reaches(word, threshold)
            bits.append(Word(0, 1, self._terms.choose(reached, self._terms.constant(1, 1), self._terms.constant(0, 1))))
        total = self._sum(bits)
        return Word(base + always, base + always + len(inside), total.term)

    def _reaches(self, word: Word[T], value: int) -> T:
        """Return the truth of word >= value, for lower < value <= upper."""
        assert word.term is not None
        return self._terms.at_least(word.term, self._terms.constant(value - word.lower, word.width))

    def _clamp(self, word: Word[T], lower: int, upper: int) -> Word[T]:
        low, high = min(max(word.lower, lower), upper), min(max(word.upper, lower), upper)
        if word.term is None or low == high:
            return Word(low, high, None) if low == high else word
        term = word.term
        if high < word.upper:
            capped = self._terms.constant(high - word.lower, word.width)
            term = self._terms.choose(self._terms.at_least(term, capped), capped, term)
        if low > word.lower:
            floor = self._terms.constant(low - word.lower, word.width)
            zero = self._terms.constant(0, word.width)
            term = self._terms.choose(self._terms.at_least(term, floor), self._terms.subtract(term, floor), zero)
        width = (high - low).bit_length()
        return Word(low, high, term if width == word.width else self._terms.truncate(term, width))

    def _max(self, words: list[Word[T]]) -> Word[T]:
        floor = max(word.lower for word in words)
        contenders = [self._clamp(word, floor, word.upper) for word in words if word.upper > floor]
        if not contenders:
            return Word(floor, floor, None)
        best, *others = contenders
        for other in others:
            upper = max(best.upper, other.upper)
            width = (upper - floor).bit_length()
            left, right = self._widened(best, width), self._widened(other, width)
            best = Word(floor, upper, self._terms.choose(self._terms.at_least(left, right), left, right))
        return best

    def _lookup(self, word: Word[T], first: int, entries: list[int]) -> Word[T]:
        """Return the entry that the word picks: comparisons where the table changes, as a balanced tree."""
        if not first <= word.lower <= word.upper < first + len(entries):
            raise InternalError(f"a word in [{word.lower}, {word.upper}] leaves the table of a Lookup")
        picked = entries[word.lower - first : word.upper - first + 1]
        lower, upper = min(picked), max(picked)
        if lower == upper:
            return Word(lower, lower, None)
        width = (upper - lower).bit_length()
        starts = [0, *(index for index in range(1, len(picked)) if picked[index] != picked[index - 1])]

        def chosen(begin: int, end: int) -> T:
            if end - begin == 1:
                return self._terms.constant(picked[starts[begin]] - lower, width)
            middle = (begin + end) // 2
            reached = self._reaches(word, word.lower + starts[middle])
            return self._terms.choose(reached, chosen(middle, end), chosen(begin, middle))

        return Word(lower, upper, chosen(0, len(starts)))

    def _product(self, left: Word[T], right: Word[T]) -> Word[T]:
        """Return left * right: with left = a + u and right = b + v, it is ab + bu + av + uv, and every summand but the
        constant is counted from its least value.
        """
        base = left.lower * right.lower
        summands: list[Word[T]] = []
        for word, factor in ((left, right.lower), (right, left.lower)):
            if factor and word.term is not None:
                term = word.term if factor > 0 else self._mirrored(word)
                base += 0 if factor > 0 else factor * word.span
                summands.append(self._scaled(Word(0, word.span, term), abs(factor)))
        if left.term is not None and right.term is not None:
            upper = left.span * right.span
            width = upper.bit_length()
            both = self._widened(left, width), self._widened(right, width)
            summands.append(Word(0, upper, self._terms.multiply(*both)))
        corners = [x * y for x in (left.lower, left.upper) for y in (right.lower, right.upper)]
        lower, upper = min(corners), max(corners)
        if lower == upper:
            return Word(lower, lower, None)
        total = self._sum(summands)
        assert total.term is not None
        # The summands' least values need not occur together: count from the least product instead.
        counted = total.term
        if lower > base:
            counted = self._terms.subtract(counted, self._terms.constant(lower - base, total.width))
        width = (upper - lower).bit_length()
        return Word(lower, upper, counted if width == total.width else self._terms.truncate(counted, width))

    # The property.

    def _violation(self, outputs: list[Word[T]], question: Robustness) -> T:
        def possible(part: Overtaking) -> bool:
            return outputs[part.winner].upper - outputs[part.loser].lower >= part.margin

        ways = [way for way in question.ways() if all(map(possible, way))]
        return self._terms.any_of([self._all_of([self._overtakes(outputs, part) for part in way]) for way in ways])

    def _overtakes(self, outputs: list[Word[T]], part: Overtaking) -> T:
        return self._exceeds(outputs[part.winner], outputs[part.loser], part.margin)

    def _all_of(self, conditions: list[T]) -> T:
        if len(conditions) == 1:
            return conditions[0]
        return self._terms.negate(self._terms.any_of([self._terms.negate(condition) for condition in conditions]))

    def _exceeds(self, rival: Word[T], label: Word[T], margin: int) -> T:
        """Return the truth of rival - label >= margin."""
        ahead = rival.lower - label.lower - margin
        left, right = self._shifted(rival, max(ahead, 0)), self._shifted(label, max(-ahead, 0))
        width = max(left.upper.bit_length(), right.upper.bit_length(), 1)
        return self._terms.at_least(self._widened(left, width), self._widened(right, width))

    def _shifted(self, word: Word[T], amount: int) -> Word[T]:
        """Return the word's term plus a constant, as a word that starts at 0."""
        upper = word.span + amount
        width = upper.bit_length()
        if not amount or not width:
            return Word(0, upper, word.term)
        return Word(0, upper, self._terms.add(self._widened(word, width), self._terms.constant(amount, width)))

    def _widened(self, word: Word[T], width: int) -> T:
        if word.term is None:
            return self._terms.constant(0, width)
        return word.term if word.width == width else self._terms.extend(word.term, width - word.width)
