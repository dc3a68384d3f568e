"""The terms of an encoding, computed at once for many inputs, with every promise about widths checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.errors import InternalError
from bvverify.network import IntArray


@dataclass(frozen=True, eq=False)
class Bits:
    """An unsigned word, or a truth value (width 0), for each of n inputs: int64 or bool [n]."""

    width: int
    values: npt.NDArray[Any]


class ConcreteTerms:
    """Terms that are numbers.

    Operands of unequal widths, and sums and products that wrap around, raise `InternalError`.
    """

    def __init__(self, values: dict[str, IntArray]) -> None:
        """Give each free word its values, int64 [n]."""
        self._values = values
        self._inputs = len(next(iter(values.values()))) if values else 1

    def symbol(self, name: str, width: int) -> Bits:
        return self._word(width, self._values[name])

    def constant(self, value: int, width: int) -> Bits:
        return self._word(width, np.full(self._inputs, value))

    def extend(self, word: Bits, extra: int) -> Bits:
        _demand(extra > 0, "extended by no bit")
        return self._word(word.width + extra, word.values)

    def truncate(self, word: Bits, width: int) -> Bits:
        _demand(0 < width < word.width, "truncated to no fewer bits")
        return self._word(width, word.values)  # what is cut off must be zero

    def add(self, left: Bits, right: Bits) -> Bits:
        return self._both(left, right, left.values + right.values)

    def subtract(self, left: Bits, right: Bits) -> Bits:
        difference = left.values - right.values
        return self._both(left, right, np.where(difference < 0, difference + (1 << left.width), difference))

    def multiply(self, left: Bits, right: Bits) -> Bits:
        return self._both(left, right, left.values * right.values)

    def at_least(self, left: Bits, right: Bits) -> Bits:
        _demand(left.width == right.width > 0, "compared words of unequal widths")
        return Bits(0, left.values >= right.values)

    def equal(self, left: Bits, right: Bits) -> Bits:
        _demand(left.width == right.width > 0, "compared words of unequal widths")
        return Bits(0, left.values == right.values)

    def choose(self, condition: Bits, then: Bits, otherwise: Bits) -> Bits:
        _demand(condition.width == 0, "a word as a condition")
        return self._both(then, otherwise, np.where(condition.values, then.values, otherwise.values))

    def negate(self, condition: Bits) -> Bits:
        _demand(condition.width == 0, "a word as a condition")
        return Bits(0, ~condition.values)

    def any_of(self, conditions: Sequence[Bits]) -> Bits:
        _demand(all(condition.width == 0 for condition in conditions), "a word as a condition")
        given = [condition.values for condition in conditions]
        return Bits(0, np.any(given, axis=0) | np.zeros(self._inputs, dtype=bool))

    def _both(self, left: Bits, right: Bits, values: npt.NDArray[Any]) -> Bits:
        _demand(left.width == right.width, "joined words of unequal widths")
        return self._word(left.width, values)

    def _word(self, width: int, values: npt.NDArray[Any]) -> Bits:
        _demand(0 < width < 62, f"a word of {width} bits")
        _demand(bool(((values >= 0) & (values < 1 << width)).all()), f"a value leaves its {width} bits")
        return Bits(width, values.astype(np.int64))


def _demand(condition: bool, what: str) -> None:
    if not condition:
        raise InternalError(f"encoding: {what}")
