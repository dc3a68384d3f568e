"""One question, one answer, in this process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bvverify.errors import UsageError
from bvverify.solvers import registry
from bvverify.solvers.answer import Answer, Status
from bvverify.solvers.backend import milliseconds
from bvverify.solvers.script import read_script

if TYPE_CHECKING:
    from pysmt.fnode import FNode


def check(
    formula: FNode,
    *,
    solver: str,
    time_limit: float | None = None,
    values: Sequence[FNode] = (),
) -> Answer:
    """Solve a pysmt formula of QF_BV. With SAT, the answer's model maps the name of each of `values` to its value.

    `time_limit` (seconds) is soft: it holds for the search, not for the conversion and simplification of the formula
    (see `open_solver`). A limit, a native error or a lack of memory gives UNKNOWN with its reason. UsageError if
    `values` holds anything but Boolean and bit-vector symbols; SolverUnavailable if the solver is not known or not
    installed.
    """
    from pysmt.exceptions import SolverReturnedUnknownResultError

    for symbol in values:
        if not (symbol.is_symbol() and (symbol.symbol_type().is_bool_type() or symbol.symbol_type().is_bv_type())):
            raise UsageError(f"value of {symbol}: expected a Boolean or bit-vector symbol")
    started = time.perf_counter()
    with registry.open_solver(solver, time_limit=time_limit) as native:
        try:
            native.add_assertion(formula)
            satisfiable = native.solve()
            model = (
                {symbol.symbol_name(): int(native.get_py_value(symbol)) for symbol in values} if satisfiable else None
            )
        except SolverReturnedUnknownResultError:
            return Answer(Status.UNKNOWN, None, time.perf_counter() - started, native.unknown_reason)
        except MemoryError:
            return Answer(Status.UNKNOWN, None, time.perf_counter() - started, "memory")
    return Answer(Status.SAT if satisfiable else Status.UNSAT, model, time.perf_counter() - started)


def check_smtlib(
    text: str,
    *,
    solver: str,
    time_limit: float | None = None,
    values: Sequence[str] = (),
) -> Answer:
    """Solve an SMT-LIB 2 script with the solver's own parser. With SAT, the answer's model maps each name in `values`
    to its value.

    The script holds declarations, definitions and assertions of QF_BV, QF_BVFP or QF_FP, and one `(check-sat)` behind
    them (see `read_script`); its `get-value` and `get-model` commands print nothing. `values` names declared Booleans
    and bit-vectors, without bars. `time_limit` is as in `check`.

    UsageError for a malformed or unfinished script, or a name in `values` that it does not declare; SolverUnavailable
    if the solver is not known or not installed.
    """
    started = time.perf_counter()
    limit = milliseconds(time_limit)
    module = registry.load(solver)
    script = read_script(text)
    for name in values:
        if name not in script.widths:
            raise UsageError(f"value of {name!r}: the script declares no Boolean or bit-vector of that name")
    try:
        status, model, reason = module.solve_script(script, time_limit_ms=limit, values=values)
    except MemoryError:
        status, model, reason = Status.UNKNOWN, None, "memory"
    return Answer(status, model, time.perf_counter() - started, reason)
