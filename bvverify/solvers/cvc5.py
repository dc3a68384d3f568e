"""cvc5: pysmt's solver with the reason of unknown results, and cvc5's own parser for scripts.

Bit-blasting is eager for QF_BV: far faster than cvc5's default there, and it works with push, pop and assumptions. cvc5
does not combine it with floating-point, so the other logics are solved with its default.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cvc5
from pysmt.environment import Environment
from pysmt.exceptions import SolverReturnedUnknownResultError
from pysmt.fnode import FNode
from pysmt.logics import convert_logic_from_string, get_closer_logic
from pysmt.solvers.cvcfive import CVC5Solver

from bvverify.errors import InternalError, SolverUnavailable, UsageError
from bvverify.solvers.answer import Status
from bvverify.solvers.backend import Outcome, one_line
from bvverify.solvers.script import Script


def version() -> str:
    """Return the version that cvc5 reports of itself."""
    return str(cvc5.__version__)


class Cvc5Solver(CVC5Solver):  # type: ignore[misc]  # pysmt is untyped
    """pysmt's cvc5 solver.  After an unknown result, `unknown_reason` tells why."""

    unknown_reason = ""

    def solve(self, assumptions: Iterable[FNode] | None = None) -> bool:
        """Check the assertions together with the assumptions.  SolverReturnedUnknownResultError where cvc5 gives up."""
        terms = [self.converter.convert(formula) for formula in assumptions or ()]
        status, self.unknown_reason = _check(self.cvc5, terms)
        if status is Status.UNKNOWN:
            raise SolverReturnedUnknownResultError(f"cvc5: {self.unknown_reason}")
        return status is Status.SAT


def make_solver(
    environment: Environment,
    logic: str,
    *,
    time_limit_ms: int | None,
    unsat_cores: bool,
) -> Cvc5Solver:
    """Make a solver for `logic`."""
    if unsat_cores:
        raise SolverUnavailable("cvc5 gives no unsat cores through pysmt; bitwuzla and z3 do")
    return Cvc5Solver(
        environment,
        get_closer_logic(Cvc5Solver.LOGICS, convert_logic_from_string(logic)),
        solver_options=_options(logic, time_limit_ms),
    )


def solve_script(script: Script, *, time_limit_ms: int | None, values: Sequence[str]) -> Outcome:
    """Parse and solve a script.  UsageError for what cvc5's parser refuses."""
    manager = cvc5.TermManager()
    native = cvc5.Solver(manager)
    native.setOption("produce-models", "true")
    for name, value in _options(script.logic, time_limit_ms).items():
        native.setOption(name, value)
    symbols = cvc5.SymbolManager(manager)
    parser = cvc5.InputParser(native, symbols)
    read = 0
    try:
        parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, script.text, "script")
        while not (command := parser.nextCommand()).isNull():
            # cvc5 reports some errors as text and would go on with the next command.
            if complaint := command.invoke(native, symbols):
                raise UsageError(f"cvc5 cannot read the script: {one_line(complaint)}")
            read += command.getCommandName() == "assert"
    except RuntimeError as error:
        raise UsageError(f"cvc5 cannot read the script: {one_line(error)}") from error
    if read != script.assertions:
        raise UsageError(f"cvc5 read {read} of the script's {script.assertions} assertions")
    status, reason = _check(native, [])
    if status is not Status.SAT:
        return status, None, reason
    terms = {term.getSymbol(): term for term in symbols.getDeclaredTerms()}
    return status, {name: _number(native.getValue(terms[name])) for name in values}, ""


def _options(logic: str, time_limit_ms: int | None) -> dict[str, str]:
    options = {"bitblast": "eager"} if logic == "QF_BV" else {}
    if time_limit_ms is not None:
        options["tlimit-per"] = str(time_limit_ms)
    return options


def _number(value: cvc5.Term) -> int:
    if value.isBooleanValue():
        return int(value.getBooleanValue())
    if value.isBitVectorValue():
        return int(value.getBitVectorValue(10))
    raise InternalError(f"cvc5 gave {value} as a value")


def _check(native: cvc5.Solver, assumptions: Sequence[cvc5.Term]) -> tuple[Status, str]:
    """Run one check; where its result is unknown, say why."""
    try:
        result = native.checkSatAssuming(*assumptions) if assumptions else native.checkSat()
    except MemoryError:
        return Status.UNKNOWN, "memory"
    except RuntimeError as error:
        return Status.UNKNOWN, one_line(error)
    if result.isSat():
        return Status.SAT, ""
    if result.isUnsat():
        return Status.UNSAT, ""
    cause = result.getUnknownExplanation()
    reasons = {cvc5.UnknownExplanation.TIMEOUT: "time", cvc5.UnknownExplanation.MEMOUT: "memory"}
    return Status.UNKNOWN, reasons.get(cause, f"cvc5: {cause.name}")
