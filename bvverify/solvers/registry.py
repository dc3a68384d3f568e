"""The solvers by name: which there are, which are installed, and how to open one."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, cast

from bvverify.errors import SolverUnavailable
from bvverify.solvers.backend import Backend, BackendModule, milliseconds

if TYPE_CHECKING:
    from pysmt.environment import Environment
    from pysmt.solvers.solver import Solver

#: In order of preference.
BACKENDS = (
    Backend(name="bitwuzla", package="bitwuzla", distribution="bitwuzla", unsat_cores=True, interruptible=True),
    Backend(name="cvc5", package="cvc5", distribution="cvc5", unsat_cores=False, interruptible=False),
    Backend(name="z3", package="z3", distribution="z3-solver", unsat_cores=True, interruptible=True),
)

DEFAULT_SOLVER = "bitwuzla"
"""The solver that is asked where the caller names none."""


def names() -> tuple[str, ...]:
    """Return every solver that bvverify knows, in order of preference."""
    return tuple(backend.name for backend in BACKENDS)


def installed() -> tuple[str, ...]:
    """Return those that are installed here, in order of preference.  Nothing is imported."""
    return tuple(backend.name for backend in BACKENDS if importlib.util.find_spec(backend.package) is not None)


def backend(name: str) -> Backend:
    """Return what is known of the solver `name`.  SolverUnavailable if nothing is."""
    for candidate in BACKENDS:
        if candidate.name == name:
            return candidate
    raise SolverUnavailable(f"solver {name!r} is not known; {_what_there_is()}")


def version(name: str) -> str:
    """Return the version that the installed solver reports of itself. SolverUnavailable if it is not known or not
    installed.
    """
    return load(name).version()


def open_solver(
    name: str,
    *,
    time_limit: float | None = None,
    logic: str = "QF_BV",
    unsat_cores: bool = False,
    environment: Environment | None = None,
) -> Solver:
    """Make a ready pysmt solver, to be used as a context manager.

    `time_limit` (seconds) holds for each check. It is soft: the solver looks at its clock while it searches, not while
    it simplifies the formula, which can take minutes for a very large one. With `unsat_cores`, `get_unsat_core()` works
    after UNSAT. `environment` is pysmt's global one unless given.

    An unknown result raises pysmt's SolverReturnedUnknownResultError, and the solver's `unknown_reason` then tells why.
    SolverUnavailable if the solver is not known, not installed, or cannot do what is asked; UsageError for a bad time
    limit.
    """
    from pysmt.environment import get_env
    from pysmt.exceptions import NoLogicAvailableError, UndefinedLogicError

    limit = milliseconds(time_limit)
    module = load(name)
    try:
        return module.make_solver(environment or get_env(), logic, time_limit_ms=limit, unsat_cores=unsat_cores)
    except (NoLogicAvailableError, UndefinedLogicError) as error:
        raise SolverUnavailable(f"solver {name} does not do logic {logic!r}: {error}") from error


def load(name: str) -> BackendModule:
    """Import and return the module of a backend. SolverUnavailable if the solver is not known or cannot be imported."""
    wanted = backend(name)
    try:
        return cast(BackendModule, importlib.import_module(f"bvverify.solvers.{name}"))
    except ImportError as error:
        raise SolverUnavailable(
            f"solver {name} cannot be imported ({error}); install {wanted.distribution} or choose another; "
            f"{_what_there_is()}"
        ) from error


def _what_there_is() -> str:
    return f"known: {', '.join(names())}; installed: {', '.join(installed()) or 'none'}"
