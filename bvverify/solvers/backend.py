"""What every backend offers, and the few helpers they share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bvverify.errors import UsageError
from bvverify.solvers.answer import Status

if TYPE_CHECKING:
    from pysmt.environment import Environment
    from pysmt.solvers.solver import Solver

    from bvverify.solvers.script import Script

#: A status, the values that were asked for (with SAT), and the reason (with UNKNOWN).
Outcome = tuple[Status, dict[str, int] | None, str]

# z3 reads its limit as an unsigned 32-bit number; this is the longest limit that all three take: 24 days.
_LONGEST_MS = 2**31 - 1


@dataclass(frozen=True)
class Backend:
    """One solver and what it can do here.

    All of them are incremental (push and pop), take assumptions and give models. `package` is the module that Python
    imports, `distribution` the name to install it by. `unsat_cores`: `get_unsat_core()` works after UNSAT.
    `interruptible`: another thread may call `interrupt()` on the solver to stop the check that is running; without it,
    only a time limit or the end of the process does.
    """

    name: str
    package: str
    distribution: str
    unsat_cores: bool
    interruptible: bool


class BackendModule(Protocol):
    """The module of one backend.  Importing it imports the solver's binding."""

    def version(self) -> str:
        """Return the version that the solver reports of itself."""
        ...

    def make_solver(
        self, environment: Environment, logic: str, *, time_limit_ms: int | None, unsat_cores: bool
    ) -> Solver:
        """Make a pysmt solver with an attribute `unknown_reason`, which tells why its last `solve` raised for an
        unknown result.
        """
        ...

    def solve_script(self, script: Script, *, time_limit_ms: int | None, values: Sequence[str]) -> Outcome:
        """Parse and solve a script natively.  UsageError for what the solver's parser refuses."""
        ...


def milliseconds(time_limit: float | None) -> int | None:
    """Turn a time limit in seconds into the whole milliseconds that the solvers take. UsageError unless it is finite
    and positive.
    """
    if time_limit is None:
        return None
    if not (math.isfinite(time_limit) and time_limit > 0):
        raise UsageError(f"time limit {time_limit!r}: expected seconds above 0, or None for no limit")
    return min(math.ceil(time_limit * 1000), _LONGEST_MS)


def one_line(error: object) -> str:
    """Return the message of a native error, on one line."""
    message = " ".join(str(error).split())
    return message or type(error).__name__
