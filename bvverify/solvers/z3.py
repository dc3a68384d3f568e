"""z3: pysmt's solver with the reason of unknown results and an interrupt, and z3's own parser for scripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import z3
from pysmt.environment import Environment
from pysmt.exceptions import SolverReturnedUnknownResultError
from pysmt.fnode import FNode
from pysmt.logics import convert_logic_from_string, get_closer_logic
from pysmt.solvers.z3 import Z3Solver as PysmtZ3Solver

from bvverify.errors import UsageError
from bvverify.solvers.answer import Status
from bvverify.solvers.backend import Outcome, one_line
from bvverify.solvers.script import Script

_REASONS = {
    "timeout": "time",
    "max. memory exceeded": "memory",
    "out of memory": "memory",
    "interrupted": "interrupted",
    "interrupted from keyboard": "interrupted",
}


def version() -> str:
    """Return the version that z3 reports of itself."""
    return str(z3.get_version_string())


class Z3Solver(PysmtZ3Solver):  # type: ignore[misc]  # pysmt is untyped
    """pysmt's z3 solver. After an unknown result, `unknown_reason` tells why. All of them share z3's global context."""

    unknown_reason = ""

    def interrupt(self) -> None:
        """Stop the check that is running, from another thread; it ends as unknown. Without a running check, nothing
        happens.
        """
        self.z3.interrupt()

    def _solve(self, assumptions: Iterable[FNode] | None = None) -> bool:
        self._last_result = None
        self.unknown_reason = ""
        try:
            return bool(super()._solve(assumptions=None if assumptions is None else list(assumptions)))
        except SolverReturnedUnknownResultError:
            self.unknown_reason = _reason(self.z3.reason_unknown())
        except (z3.Z3Exception, MemoryError) as error:
            self.unknown_reason = _failure(error)
        raise SolverReturnedUnknownResultError(f"z3: {self.unknown_reason}")


def make_solver(
    environment: Environment,
    logic: str,
    *,
    time_limit_ms: int | None,
    unsat_cores: bool,
) -> Z3Solver:
    """Make a solver for `logic`."""
    return Z3Solver(
        environment,
        get_closer_logic(Z3Solver.LOGICS, convert_logic_from_string(logic)),
        unsat_cores_mode="all" if unsat_cores else None,
        solver_options={} if time_limit_ms is None else {"timeout": time_limit_ms},
    )


def solve_script(script: Script, *, time_limit_ms: int | None, values: Sequence[str]) -> Outcome:
    """Parse and solve a script.  UsageError for what z3's parser refuses."""
    context = z3.Context()
    # The solver of another logic takes the operators of this one as uninterpreted, and answers wrongly.
    native = z3.SolverFor(script.logic, ctx=context)
    if time_limit_ms is not None:
        native.set("timeout", time_limit_ms)
    try:
        native.from_string(script.text)
    except z3.Z3Exception as error:
        if _failure(error) == "memory":
            return Status.UNKNOWN, None, "memory"
        raise UsageError(f"z3 cannot read the script: {_message(error)}") from error
    read = len(native.assertions())
    if read != script.assertions:
        raise UsageError(f"z3 read {read} of the script's {script.assertions} assertions")
    try:
        result = native.check()
    except (z3.Z3Exception, MemoryError) as error:
        return Status.UNKNOWN, None, _failure(error)
    if result == z3.unsat:
        return Status.UNSAT, None, ""
    if result != z3.sat:
        return Status.UNKNOWN, None, _reason(native.reason_unknown())
    model = native.model()
    return Status.SAT, {name: _value(model, name, script.widths[name]) for name in values}, ""


def _value(model: z3.ModelRef, name: str, width: int) -> int:
    if width == 0:
        return int(z3.is_true(model.eval(z3.Bool(name, model.ctx), model_completion=True)))
    return int(model.eval(z3.BitVec(name, width, model.ctx), model_completion=True).as_long())


def _reason(said: str) -> str:
    return _REASONS.get(said, f"z3: {said or 'no reason'}")


def _failure(error: Exception) -> str:
    return "memory" if isinstance(error, MemoryError) else _reason(_message(error))


def _message(error: Exception) -> str:
    """z3 hands its messages over as bytes."""
    said = error.args[0] if error.args else ""
    return one_line(said.decode(errors="replace") if isinstance(said, bytes) else said)
