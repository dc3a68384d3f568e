"""Integer programs under construction: variables, rows, and sums of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bvverify.errors import NotLinear
from bvverify.network import IntArray
from bvverify.network.exact import INT64_LIMIT
from bvverify.solvers.program import UNBOUNDED_ABOVE, UNBOUNDED_BELOW, IntegerProgram


@dataclass(frozen=True)
class Element:
    """One integer of the network: a variable of the program, or a number where `variable` is -1."""

    variable: int
    number: int = 0


class Rows:
    """A program under construction."""

    def __init__(self) -> None:
        self.lower: list[int] = []
        self.upper: list[int] = []
        self._implied: list[bool] = []
        self._columns: list[IntArray] = []
        self._coefficients: list[IntArray] = []
        self._row_lower: list[int] = []
        self._row_upper: list[int] = []

    def variable(self, lower: int, upper: int, *, implied: bool = False) -> int:
        self.lower.append(lower)
        self.upper.append(upper)
        self._implied.append(implied)
        return len(self.lower) - 1

    def binary(self) -> int:
        return self.variable(0, 1)

    def sparse_row(
        self, columns: IntArray, coefficients: IntArray, *, least: int = UNBOUNDED_BELOW, most: int = UNBOUNDED_ABOVE
    ) -> None:
        """Demand least <= coefficients . x[columns] <= most; columns differ, coefficients are not zero."""
        self._columns.append(columns)
        self._coefficients.append(coefficients)
        self._row_lower.append(least)
        self._row_upper.append(most)

    def row(self, terms: dict[int, int], *, least: int = UNBOUNDED_BELOW, most: int = UNBOUNDED_ABOVE) -> None:
        """Demand least <= the sum of coefficient * x[variable] <= most."""
        columns, coefficients = list(terms), list(terms.values())
        self.sparse_row(
            np.array(columns, dtype=np.int64), np.array(coefficients, dtype=np.int64), least=least, most=most
        )

    def equal(self, elements: Sequence[Element], row: Sequence[int], constant: int) -> int:
        """Return a variable that equals row . elements + constant."""
        terms: dict[int, int] = {}
        least = most = 0
        for element, factor in zip(elements, row, strict=True):
            if element.variable < 0:
                constant += factor * element.number
            elif factor:
                terms[element.variable] = terms.get(element.variable, 0) + factor
                ends = factor * self.lower[element.variable], factor * self.upper[element.variable]
                least, most = least + min(ends), most + max(ends)
        form = self.variable(constant + least, constant + most, implied=True)
        self.row({**terms, form: -1}, least=-constant, most=-constant)
        return form

    def compare(self, greater: Element, smaller: Element, margin: int) -> None:
        """Demand greater - smaller >= margin."""
        terms: dict[int, int] = {}
        for element, sign in ((greater, 1), (smaller, -1)):
            if element.variable < 0:
                margin -= sign * element.number
            else:
                terms[element.variable] = terms.get(element.variable, 0) + sign
        terms = {variable: factor for variable, factor in terms.items() if factor}
        self.row(terms or {self.variable(0, 0): 1}, least=margin)

    def program(self) -> IntegerProgram:
        """Return the program; raise `NotLinear` if a sum may leave 60 bits."""
        sizes = [len(columns) for columns in self._columns]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        columns, coefficients = np.concatenate(self._columns), np.concatenate(self._coefficients)
        lower, upper = np.array(self.lower, dtype=np.int64), np.array(self.upper, dtype=np.int64)
        reach = np.maximum(np.abs(lower), np.abs(upper)).astype(np.float64)
        sums = np.add.reduceat(np.abs(coefficients.astype(np.float64)) * reach[columns], starts[:-1])
        if max(sums.max(), reach.max()) >= INT64_LIMIT / 2:
            raise NotLinear("the network's sums do not fit the 60 bits of an integer program")
        return IntegerProgram(
            lower=lower,
            upper=upper,
            implied=np.array(self._implied, dtype=np.bool_),
            starts=starts,
            columns=columns,
            coefficients=coefficients,
            row_lower=np.array(self._row_lower, dtype=np.int64),
            row_upper=np.array(self._row_upper, dtype=np.int64),
        )
