"""Satisfiability solvers behind one interface.  Knows formulas and scripts, no network.

A solver's binding is imported when that solver is first used.
"""

from bvverify.solvers.answer import Answer, Status
from bvverify.solvers.backend import Backend
from bvverify.solvers.check import check, check_smtlib
from bvverify.solvers.registry import BACKENDS, DEFAULT_SOLVER, backend, installed, names, open_solver, version

__all__ = [
    "BACKENDS",
    "DEFAULT_SOLVER",
    "Answer",
    "Backend",
    "Status",
    "backend",
    "check",
    "check_smtlib",
    "installed",
    "names",
    "open_solver",
    "version",
]
