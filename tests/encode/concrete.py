"""The terms of an encoding, computed at once for many inputs, with every promise about widths checked."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bvverify.network import IntArray


@dataclass(frozen=True, eq=False)
class Bits:
    """An unsigned word, or a truth value (width 0), for each of n inputs."""

    width: int
    values: IntArray


class ConcreteTerms:
    """Terms that are numbers.  Operands of unequal widths are refused, and sums and products that wrap around."""

    def __init__(self, values: dict[str, IntArray]) -> None:
        self._values = values
        self._inputs = len(next(iter(values.values()))) if values else 1

    def symbol(self, name: str, width: int) -> Bits:
        return self._word(width, self._values[name])

    def constant(self, value: int, width: int) -> Bits:
        return self._word(width, np.full(self._inputs, value))

    def extend(self, word: Bits, extra: int) -> Bits:
        assert extra > 0
        return self._word(word.width + extra, word.values)

    def truncate(self, word: Bits, width: int) -> Bits:
        assert 0 < width < word.width
        return self._word(width, word.values)  # what is cut off must be zero

    def add(self, left: Bits, right: Bits) -> Bits:
        return self._both(left, right, left.values + right.values)

    def subtract(self, left: Bits, right: Bits) -> Bits:
        difference = left.values - right.values
        return self._both(left, right, np.where(difference < 0, difference + (1 << left.width), difference))

    def multiply(self, left: Bits, right: Bits) -> Bits:
        return self._both(left, right, left.values * right.values)

    def at_least(self, left: Bits, right: Bits) -> Bits:
        assert left.width == right.width > 0
        return Bits(0, left.values >= right.values)

    def equal(self, left: Bits, right: Bits) -> Bits:
        assert left.width == right.width > 0
        return Bits(0, left.values == right.values)

    def choose(self, condition: Bits, then: Bits, otherwise: Bits) -> Bits:
        assert condition.width == 0
        return self._both(then, otherwise, np.where(condition.values, then.values, otherwise.values))

    def negate(self, condition: Bits) -> Bits:
        assert condition.width == 0
        return Bits(0, ~condition.values)

    def any_of(self, conditions: Sequence[Bits]) -> Bits:
        assert all(condition.width == 0 for condition in conditions)
        return Bits(
            0, np.any([condition.values for condition in conditions], axis=0) | np.zeros(self._inputs, dtype=bool)
        )

    def _both(self, left: Bits, right: Bits, values: IntArray) -> Bits:
        assert left.width == right.width
        return self._word(left.width, values)

    def _word(self, width: int, values: IntArray) -> Bits:
        assert 0 < width < 62
        assert ((values >= 0) & (values < 1 << width)).all(), f"a value leaves its {width} bits"
        return Bits(width, values.astype(np.int64))
