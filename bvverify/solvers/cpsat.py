"""CP-SAT (OR-Tools): integer programs in exact integers.  Its answers count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ortools.sat.python import cp_model

from bvverify.solvers.answer import Status
from bvverify.solvers.integer import ProgramAnswer
from bvverify.solvers.program import IntArray, IntegerProgram


def solve(program: IntegerProgram) -> ProgramAnswer:
    """Return whether the program has a solution."""
    model, variables = _model(program)
    solver = _solver()
    found = solver.solve(model)
    if found in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return ProgramAnswer(Status.SAT, _values(solver, variables))
    if found == cp_model.INFEASIBLE:
        return ProgramAnswer(Status.UNSAT)
    return ProgramAnswer(Status.UNKNOWN, reason=f"CP-SAT: {solver.status_name(found)}")


@dataclass(frozen=True, eq=False)
class Best:
    """The best solution that was found."""

    solution: IntArray
    """int64 [V]"""
    optimal: bool
    """Whether there is no better one."""


def maximize(
    program: IntegerProgram, objective: dict[int, int], hint: dict[int, int], *, work: float, seconds: float
) -> Best | None:
    """Return a solution with a great sum of coefficient * x[variable], or None if none was found.

    `hint`: values of variables to start from; `work`: how much may be done, in CP-SAT's deterministic seconds;
    `seconds` of wall clock are the limit of last resort.
    """
    model, variables = _model(program)
    model.maximize(
        cp_model.LinearExpr.weighted_sum([variables[place] for place in objective], list(objective.values()))
    )
    for place, value in hint.items():
        model.add_hint(variables[place], value)
    solver = _solver()
    solver.parameters.max_deterministic_time = work
    solver.parameters.max_time_in_seconds = seconds
    found = solver.solve(model)
    if found not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    return Best(_values(solver, variables), bool(found == cp_model.OPTIMAL))


def _model(program: IntegerProgram) -> tuple[cp_model.CpModel, list[cp_model.IntVar]]:
    model = cp_model.CpModel()
    ends = zip(program.lower.tolist(), program.upper.tolist(), strict=True)
    variables = [model.new_int_var(low, high, "") for low, high in ends]
    columns, coefficients = program.columns.tolist(), program.coefficients.tolist()
    starts = program.starts.tolist()
    rows = zip(starts, starts[1:], program.row_lower.tolist(), program.row_upper.tolist(), strict=False)
    for start, end, least, most in rows:
        read = [variables[column] for column in columns[start:end]]
        model.add_linear_constraint(cp_model.LinearExpr.weighted_sum(read, coefficients[start:end]), least, most)
    return model, variables


def _solver() -> cp_model.CpSolver:
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    return solver


def _values(solver: cp_model.CpSolver, variables: list[cp_model.IntVar]) -> IntArray:
    return np.array([solver.value(variable) for variable in variables], dtype=np.int64)
