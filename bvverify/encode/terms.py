"""The few bit-vector terms that an encoding is made of, and their two realisations.

An encoding is written once, against `Terms`.  `PysmtTerms` builds pysmt formulas for the solvers, `SmtLibTerms`
writes SMT-LIB 2 text, which for large networks is several times faster and needs no memory for a formula.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from pysmt.environment import Environment
from pysmt.fnode import FNode

T = TypeVar("T")


class Terms(Protocol[T]):
    """Constructors of bit-vector terms; all words are unsigned, and every operand's width is given where it matters."""

    def symbol(self, name: str, width: int) -> T:
        """Return a free word."""

    def constant(self, value: int, width: int) -> T:
        """Return a constant word."""

    def extend(self, word: T, extra: int) -> T:
        """Return `word` with `extra` zero bits above it."""

    def truncate(self, word: T, width: int) -> T:
        """Return the lowest `width` bits of a wider word."""

    def add(self, left: T, right: T) -> T:
        """Return the sum of two words of one width, modulo that width."""

    def subtract(self, left: T, right: T) -> T:
        """Return the difference of two words of one width, modulo that width."""

    def multiply(self, left: T, right: T) -> T:
        """Return the product of two words of one width, modulo that width."""

    def at_least(self, left: T, right: T) -> T:
        """Return the truth of left >= right, for words of one width."""

    def equal(self, left: T, right: T) -> T:
        """Return the truth of left = right, for words of one width."""

    def choose(self, condition: T, then: T, otherwise: T) -> T:
        """Return one of two words of one width."""

    def negate(self, condition: T) -> T:
        """Return the negation of a truth value."""

    def any_of(self, conditions: Sequence[T]) -> T:
        """Return the disjunction of truth values; false for none."""


class PysmtTerms:
    """Terms as pysmt formulas of one environment."""

    def __init__(self, environment: Environment) -> None:
        self._manager = environment.formula_manager
        self._types = environment.type_manager

    def symbol(self, name: str, width: int) -> FNode:
        return self._manager.Symbol(name, self._types.BVType(width))

    def constant(self, value: int, width: int) -> FNode:
        return self._manager.BV(value, width)

    def extend(self, word: FNode, extra: int) -> FNode:
        return self._manager.BVZExt(word, extra)

    def truncate(self, word: FNode, width: int) -> FNode:
        return self._manager.BVExtract(word, 0, width - 1)

    def add(self, left: FNode, right: FNode) -> FNode:
        return self._manager.BVAdd(left, right)

    def subtract(self, left: FNode, right: FNode) -> FNode:
        return self._manager.BVSub(left, right)

    def multiply(self, left: FNode, right: FNode) -> FNode:
        return self._manager.BVMul(left, right)

    def at_least(self, left: FNode, right: FNode) -> FNode:
        return self._manager.BVUGE(left, right)

    def equal(self, left: FNode, right: FNode) -> FNode:
        return self._manager.Equals(left, right)

    def choose(self, condition: FNode, then: FNode, otherwise: FNode) -> FNode:
        return self._manager.Ite(condition, then, otherwise)

    def negate(self, condition: FNode) -> FNode:
        return self._manager.Not(condition)

    def any_of(self, conditions: Sequence[FNode]) -> FNode:
        return self._manager.Or(list(conditions))


class SmtLibTerms:
    """Terms as names of SMT-LIB definitions; `lines` holds the declarations and definitions in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._sorts: dict[str, str] = {}

    def symbol(self, name: str, width: int) -> str:
        self.lines.append(f"(declare-const {name} {_sort(width)})")
        self._sorts[name] = _sort(width)
        return name

    def constant(self, value: int, width: int) -> str:
        text = f"(_ bv{value} {width})"
        self._sorts[text] = _sort(width)
        return text

    def extend(self, word: str, extra: int) -> str:
        return self._define(f"((_ zero_extend {extra}) {word})", _sort(self._width(word) + extra))

    def truncate(self, word: str, width: int) -> str:
        return self._define(f"((_ extract {width - 1} 0) {word})", _sort(width))

    def add(self, left: str, right: str) -> str:
        return self._define(f"(bvadd {left} {right})", self._sorts[left])

    def subtract(self, left: str, right: str) -> str:
        return self._define(f"(bvsub {left} {right})", self._sorts[left])

    def multiply(self, left: str, right: str) -> str:
        return self._define(f"(bvmul {left} {right})", self._sorts[left])

    def at_least(self, left: str, right: str) -> str:
        return self._define(f"(bvuge {left} {right})", "Bool")

    def equal(self, left: str, right: str) -> str:
        return self._define(f"(= {left} {right})", "Bool")

    def choose(self, condition: str, then: str, otherwise: str) -> str:
        return self._define(f"(ite {condition} {then} {otherwise})", self._sorts[then])

    def negate(self, condition: str) -> str:
        return self._define(f"(not {condition})", "Bool")

    def any_of(self, conditions: Sequence[str]) -> str:
        if len(conditions) < 2:
            return conditions[0] if conditions else "false"
        return self._define(f"(or {' '.join(conditions)})", "Bool")

    def _define(self, term: str, sort: str) -> str:
        name = f"t{len(self.lines)}"
        self.lines.append(f"(define-fun {name} () {sort} {term})")
        self._sorts[name] = sort
        return name

    def _width(self, word: str) -> int:
        return int(self._sorts[word].split()[2].rstrip(")"))


def _sort(width: int) -> str:
    return f"(_ BitVec {width})"
