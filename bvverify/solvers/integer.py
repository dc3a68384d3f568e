"""The solvers of integer programs by name, and one way to ask them, in this process."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib import metadata
from typing import Protocol, cast

from bvverify.errors import SolverUnavailable
from bvverify.solvers.answer import Status
from bvverify.solvers.program import IntArray, IntegerProgram


@dataclass(frozen=True)
class IntegerBackend:
    """One solver of integer programs, and the module that asks it."""

    name: str
    module: str


CP_SAT = IntegerBackend("cp-sat", "bvverify.solvers.cpsat")
"""It computes in integers: its answers count."""
HIGHS = IntegerBackend("highs", "bvverify.solvers.highs")
"""It computes in floats: its UNSAT is no proof."""
INTEGER_BACKENDS = (CP_SAT, HIGHS)


@dataclass(frozen=True, eq=False)
class ProgramAnswer:
    """What a solver said about one program."""

    status: Status
    solution: IntArray | None = None
    """With SAT: a value for each variable, int64 [V]."""
    reason: str = ""
    """With UNKNOWN: what the solver said."""


class _Module(Protocol):
    def solve(self, program: IntegerProgram) -> ProgramAnswer: ...


def solve_program(program: IntegerProgram, backend: IntegerBackend) -> ProgramAnswer:
    """Return the solver's answer, from one thread and always the same seed.  There is no time limit: ask in a child
    process.  SolverUnavailable if the solver is not installed.
    """
    program_solver_version()
    return cast(_Module, importlib.import_module(backend.module)).solve(program)


def program_solver_version() -> str:
    """Return the version of OR-Tools, which brings both solvers.  SolverUnavailable if it is not installed."""
    try:
        return metadata.version("ortools")
    except metadata.PackageNotFoundError as error:
        raise SolverUnavailable("integer programs need OR-Tools: install ortools, or choose other stages") from error
