"""pysmt formulas of QF_BV as bitwuzla terms, and bitwuzla values as pysmt constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pysmt.operators as op
from bitwuzla import Kind, Sort, Term, TermManager
from pysmt.environment import Environment
from pysmt.exceptions import ConvertExpressionError, UnsupportedOperatorError
from pysmt.fnode import FNode
from pysmt.solvers.solver import Converter
from pysmt.typing import PySMTType
from pysmt.walkers import DagWalker

#: Operators that take their arguments as they are.
KINDS = {
    op.AND: Kind.AND,
    op.OR: Kind.OR,
    op.NOT: Kind.NOT,
    op.IMPLIES: Kind.IMPLIES,
    op.IFF: Kind.EQUAL,
    op.EQUALS: Kind.EQUAL,
    op.ITE: Kind.ITE,
    op.BV_NOT: Kind.BV_NOT,
    op.BV_AND: Kind.BV_AND,
    op.BV_OR: Kind.BV_OR,
    op.BV_XOR: Kind.BV_XOR,
    op.BV_CONCAT: Kind.BV_CONCAT,
    op.BV_ULT: Kind.BV_ULT,
    op.BV_ULE: Kind.BV_ULE,
    op.BV_SLT: Kind.BV_SLT,
    op.BV_SLE: Kind.BV_SLE,
    op.BV_NEG: Kind.BV_NEG,
    op.BV_ADD: Kind.BV_ADD,
    op.BV_SUB: Kind.BV_SUB,
    op.BV_MUL: Kind.BV_MUL,
    op.BV_UDIV: Kind.BV_UDIV,
    op.BV_UREM: Kind.BV_UREM,
    op.BV_SDIV: Kind.BV_SDIV,
    op.BV_SREM: Kind.BV_SREM,
    op.BV_LSHL: Kind.BV_SHL,
    op.BV_LSHR: Kind.BV_SHR,
    op.BV_ASHR: Kind.BV_ASHR,
    op.BV_COMP: Kind.BV_COMP,
}

#: Operators with numbers of their own, and those numbers in bitwuzla's order.
INDEXED: dict[int, tuple[Kind, Callable[[FNode], list[int]]]] = {
    op.BV_EXTRACT: (Kind.BV_EXTRACT, lambda node: [node.bv_extract_end(), node.bv_extract_start()]),
    op.BV_ZEXT: (Kind.BV_ZERO_EXTEND, lambda node: [node.bv_extend_step()]),
    op.BV_SEXT: (Kind.BV_SIGN_EXTEND, lambda node: [node.bv_extend_step()]),
    op.BV_ROL: (Kind.BV_ROLI, lambda node: [node.bv_rotation_step()]),
    op.BV_ROR: (Kind.BV_RORI, lambda node: [node.bv_rotation_step()]),
}


class BitwuzlaConverter(Converter, DagWalker):  # type: ignore[misc]  # pysmt is untyped
    """Keeps every term it has made, so that a formula that shares parts is converted in one pass over its nodes."""

    def __init__(self, environment: Environment, terms: TermManager) -> None:
        DagWalker.__init__(self, environment)
        self._manager = environment.formula_manager
        self._terms = terms
        self._sorts: dict[PySMTType, Sort] = {}
        self.symbols: dict[FNode, Term] = {}

    def convert(self, formula: FNode) -> Term:
        """Return the term of `formula`.  ConvertExpressionError for anything outside Booleans and bit-vectors."""
        try:
            return self.walk(formula)
        except UnsupportedOperatorError as error:
            kind = op.op_to_str(error.node_type)
            raise ConvertExpressionError(f"bitwuzla backend: {kind} is not an operator of QF_BV", formula) from error
        finally:
            # An error leaves half-done nodes on the walker's stack; the next formula must not meet them.
            self.stack.clear()

    def back(self, expr: Term) -> FNode:
        """Return the pysmt constant of a bitwuzla value."""
        sort = expr.sort()
        if sort.is_bool():
            return self._manager.Bool(expr.value())
        return self._manager.BV(int(expr.value(10)), sort.bv_size())

    def _operator(self, formula: FNode, args: list[Term], **_: Any) -> Term:
        return self._terms.mk_term(KINDS[formula.node_type()], args)

    def _indexed(self, formula: FNode, args: list[Term], **_: Any) -> Term:
        kind, indices = INDEXED[formula.node_type()]
        return self._terms.mk_term(kind, args, indices(formula))

    def _symbol(self, formula: FNode, **_: Any) -> Term:
        term = self._terms.mk_const(self._sort(formula), formula.symbol_name())
        self.symbols[formula] = term
        return term

    def _bool_constant(self, formula: FNode, **_: Any) -> Term:
        return self._terms.mk_true() if formula.is_true() else self._terms.mk_false()

    def _bv_constant(self, formula: FNode, **_: Any) -> Term:
        return self._terms.mk_bv_value(self._terms.mk_bv_sort(formula.bv_width()), formula.constant_value())

    def _sort(self, symbol: FNode) -> Sort:
        kind = symbol.symbol_type()
        if kind not in self._sorts:
            if kind.is_bool_type():
                self._sorts[kind] = self._terms.mk_bool_sort()
            elif kind.is_bv_type():
                self._sorts[kind] = self._terms.mk_bv_sort(kind.width)
            else:
                raise ConvertExpressionError(
                    f"bitwuzla backend: {symbol} is a {kind}, not a Boolean or bit-vector", symbol
                )
        return self._sorts[kind]


BitwuzlaConverter.set_handler(BitwuzlaConverter._operator, *KINDS)
BitwuzlaConverter.set_handler(BitwuzlaConverter._indexed, *INDEXED)
BitwuzlaConverter.set_handler(BitwuzlaConverter._symbol, op.SYMBOL)
BitwuzlaConverter.set_handler(BitwuzlaConverter._bool_constant, op.BOOL_CONSTANT)
BitwuzlaConverter.set_handler(BitwuzlaConverter._bv_constant, op.BV_CONSTANT)
