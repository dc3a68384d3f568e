"""Linear programs over the inputs of a box, solved in floats by CLP; they guide a search and prove nothing."""

from __future__ import annotations

import time
from typing import Any

import ortools.linear_solver.pywraplp as pywraplp

from bvverify.queries import LevelBox

_LONGEST = 600.0
"""Seconds for one program at most."""


def over_box(box: LevelBox) -> tuple[Any, list[Any]]:
    """Return an empty program, and its variables for the inputs of a box, flat."""
    solver = pywraplp.Solver.CreateSolver("CLP")
    ends = zip(box.lower.reshape(-1).tolist(), box.upper.reshape(-1).tolist(), strict=True)
    return solver, [solver.NumVar(float(low), float(high), "") for low, high in ends]


def solve(solver: Any, *, deadline: float) -> bool:
    """Return whether a program has a best solution, found until `deadline` (of time.monotonic)."""
    left = deadline - time.monotonic()
    if left <= 0:
        return False
    solver.SetTimeLimit(max(1, int(1000 * min(left, _LONGEST))))
    return bool(solver.Solve() == pywraplp.Solver.OPTIMAL)
