"""bitwuzla: a native pysmt solver for QF_BV, and its own parser for scripts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import bitwuzla
from bitwuzla import BitwuzlaException, Option, Result
from pysmt.environment import Environment
from pysmt.exceptions import PysmtValueError, SolverReturnedUnknownResultError, SolverStatusError
from pysmt.fnode import FNode
from pysmt.logics import QF_BV, convert_logic_from_string, get_closer_logic
from pysmt.solvers.eager import EagerModel
from pysmt.solvers.options import SolverOptions
from pysmt.solvers.solver import IncrementalTrackingSolver, UnsatCoreSolver

from bvverify.errors import UsageError
from bvverify.solvers.answer import Status
from bvverify.solvers.backend import Outcome, one_line
from bvverify.solvers.bitwuzla_converter import BitwuzlaConverter
from bvverify.solvers.script import Script, plain_name


def version() -> str:
    """Return the version that bitwuzla reports of itself."""
    return str(bitwuzla.version())


class BitwuzlaOptions(SolverOptions):  # type: ignore[misc]  # pysmt is untyped
    """pysmt's common options.  `solver_options` takes bitwuzla's long names, such as "time-limit-per" (ms)."""

    def __call__(self, solver: BitwuzlaSolver) -> None:
        """Write the options into `solver.native_options`.  PysmtValueError for one that bitwuzla does not take."""
        options = solver.native_options
        options.set(Option.PRODUCE_MODELS, self.generate_models)
        options.set(Option.PRODUCE_UNSAT_CORES, self.unsat_cores_mode is not None)
        if self.random_seed is not None:
            options.set(Option.SEED, self.random_seed)
        for name, value in self.solver_options.items():
            try:
                options.set(name, value)
            except (BitwuzlaException, TypeError, ValueError) as error:
                raise PysmtValueError(f"bitwuzla option {name}={value!r}: {one_line(error)}") from error


class BitwuzlaSolver(IncrementalTrackingSolver, UnsatCoreSolver):  # type: ignore[misc]  # pysmt is untyped
    """bitwuzla behind pysmt's solver interface.

    `solve` raises SolverReturnedUnknownResultError for an unknown result, and `unknown_reason` then tells why. An
    assumption may be any Boolean formula.
    """

    LOGICS = (QF_BV,)
    OptionsClass = BitwuzlaOptions

    def __init__(self, environment: Environment, logic: object, **options: Any) -> None:
        super().__init__(environment=environment, logic=logic, **options)
        self.pending_pop: bool = False
        self.unknown_reason = ""
        self.native_options = bitwuzla.Options()
        self.options(self)
        self._terms = bitwuzla.TermManager()
        self.converter = BitwuzlaConverter(environment, self._terms)
        self._stop = threading.Event()
        self._native = self._new_native()

    def interrupt(self) -> None:
        """Stop the check that is running, from another thread; it ends as unknown. Without a running check, nothing
        happens.
        """
        self._stop.set()

    @property
    def assertions(self) -> list[FNode]:
        """The formulas on the assertion stack, oldest first."""
        self._settle()
        return [formula for _, formula in self._assertion_stack]

    def get_value(self, formula: FNode) -> FNode:
        """Return the constant that `formula` has in the model of the last check. SolverStatusError unless that was
        satisfiable.
        """
        self._assert_no_function_type(formula)
        if self.last_result is not True or self.last_command != "solve":
            raise SolverStatusError("values can be asked only right after a satisfiable check")
        if not self.options.generate_models:
            raise SolverStatusError("this solver was opened with generate_models=False")
        return self.converter.back(self._native.get_value(self.converter.convert(formula)))

    def get_model(self) -> EagerModel:
        """Return a model of every symbol that the solver has seen.  It outlives the solver."""
        values = {symbol: self.get_value(symbol) for symbol in tuple(self.converter.symbols)}
        return EagerModel(assignment=values, environment=self.environment)

    def get_unsat_core(self) -> set[FNode]:
        """Return assertions that, with the assumptions of the last check, have no model. In mode "named": those of them
        with a name.
        """
        return set(self.get_named_unsat_core().values())

    def get_named_unsat_core(self) -> dict[str, FNode]:
        """Return the same by name.  In mode "all" an assertion without a name is called "_a_0", "_a_1", ..."""
        self._check_unsat_core_config()
        core = set(self._native.get_unsat_core())
        members = [
            (name, formula) for name, formula in self._assertion_stack if self.converter.convert(formula) in core
        ]
        named = {name: formula for name, formula in members if name is not None}
        if self.options.unsat_cores_mode == "all":
            free = (f"_a_{number}" for number in range(2 * len(members)) if f"_a_{number}" not in named)
            named |= {next(free): formula for name, formula in members if name is None}
        return named

    def _new_native(self) -> bitwuzla.Bitwuzla:
        native = bitwuzla.Bitwuzla(self._terms, self.native_options)
        # Asking a Python method now and then is also what lets other threads run during a check.
        native.configure_terminator(self._stop.is_set)
        return native

    def _settle(self) -> None:
        """Remove the level that `is_sat` leaves behind for its model."""
        if self.pending_pop:
            self.pending_pop = False
            self.pop()

    def _reset_assertions(self) -> None:
        self.pending_pop = False
        self._native = self._new_native()

    def _add_assertion(self, formula: FNode, named: str | None = None) -> tuple[str | None, FNode]:
        self._settle()
        self._assert_is_boolean(formula)
        if named is not None and any(named == name for name, _ in self._assertion_stack):
            raise PysmtValueError(f"an assertion named {named!r} is there already")
        self._native.assert_formula(self.converter.convert(formula))
        return named, formula

    def _solve(self, assumptions: Iterable[FNode] | None = None) -> bool:
        self._settle()
        self._last_result = None
        formulas = tuple(assumptions or ())
        for formula in formulas:
            self._assert_is_boolean(formula)
        terms = [self.converter.convert(formula) for formula in formulas]
        self._stop.clear()
        status, self.unknown_reason = _check(self._native, self.native_options, terms, self._stop)
        if status is Status.UNKNOWN:
            raise SolverReturnedUnknownResultError(f"bitwuzla: {self.unknown_reason}")
        return status is Status.SAT

    def _push(self, levels: int = 1) -> None:
        self._settle()
        self._native.push(levels)

    def _pop(self, levels: int = 1) -> None:
        self._settle()
        self._native.pop(levels)

    def _exit(self) -> None:
        del self._native


def register(environment: Environment) -> None:
    """Make pysmt's own factory of `environment` know "bitwuzla", and prefer it.

    After that, `Solver(name="bitwuzla")`, `is_sat(formula, solver_name="bitwuzla")` and so on work.
    """
    factory = environment.factory
    # pysmt has a public way in for external executables only, none for native solvers.
    factory._all_solvers["bitwuzla"] = BitwuzlaSolver
    factory._all_unsat_core_solvers["bitwuzla"] = BitwuzlaSolver
    others = [name for name in factory.solver_preference_list if name != "bitwuzla"]
    factory.set_solver_preference_list(["bitwuzla", *others])


def make_solver(
    environment: Environment,
    logic: str,
    *,
    time_limit_ms: int | None,
    unsat_cores: bool,
) -> BitwuzlaSolver:
    """Make a solver for `logic`."""
    return BitwuzlaSolver(
        environment,
        get_closer_logic(BitwuzlaSolver.LOGICS, convert_logic_from_string(logic)),
        unsat_cores_mode="all" if unsat_cores else None,
        solver_options={} if time_limit_ms is None else {"time-limit-per": time_limit_ms},
    )


def solve_script(script: Script, *, time_limit_ms: int | None, values: Sequence[str]) -> Outcome:
    """Parse and solve a script.  UsageError for what bitwuzla's parser refuses."""
    options = bitwuzla.Options()
    options.set(Option.PRODUCE_MODELS, True)
    if time_limit_ms is not None:
        options.set(Option.TIME_LIMIT_PER, time_limit_ms)
    parser = bitwuzla.Parser(bitwuzla.TermManager(), options)
    try:
        parser.parse(script.text, True, False)
    except BitwuzlaException as error:
        raise UsageError(f"bitwuzla cannot read the script: {one_line(error)}") from error
    native = parser.bitwuzla()
    read = len(native.get_assertions())
    if read != script.assertions:
        raise UsageError(f"bitwuzla read {read} of the script's {script.assertions} assertions")
    status, reason = _check(native, options, [], threading.Event())
    if status is not Status.SAT:
        return status, None, reason
    terms = {plain_name(term.symbol()): term for term in parser.get_declared_funs()}
    return status, {name: int(native.get_value(terms[name]).value(10)) for name in values}, ""


def _check(
    native: bitwuzla.Bitwuzla, options: bitwuzla.Options, assumptions: Sequence[bitwuzla.Term], stop: threading.Event
) -> tuple[Status, str]:
    """Run one check; where its result is unknown, say why. bitwuzla gives none, so it follows from what could have
    stopped it.
    """
    started = time.monotonic()
    try:
        result = native.check_sat(*assumptions)
    except MemoryError:
        return Status.UNKNOWN, "memory"
    except BitwuzlaException as error:
        return Status.UNKNOWN, one_line(error)
    if result == Result.SAT:
        return Status.SAT, ""
    if result == Result.UNSAT:
        return Status.UNSAT, ""
    limit_ms = options.get(Option.TIME_LIMIT_PER)
    if stop.is_set():
        return Status.UNKNOWN, "interrupted"
    if limit_ms and (time.monotonic() - started) * 1000 >= limit_ms:
        return Status.UNKNOWN, "time"
    return Status.UNKNOWN, "bitwuzla gave no reason"
