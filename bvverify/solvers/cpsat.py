"""CP-SAT (OR-Tools): integer programs in exact integers.  Its answers count."""

from __future__ import annotations

import numpy as np
from ortools.sat.python import cp_model

from bvverify.solvers.answer import Status
from bvverify.solvers.integer import ProgramAnswer
from bvverify.solvers.program import IntegerProgram


def solve(program: IntegerProgram) -> ProgramAnswer:
    """Return whether the program has a solution."""
    model = cp_model.CpModel()
    ends = zip(program.lower.tolist(), program.upper.tolist(), strict=True)
    variables = [model.new_int_var(low, high, "") for low, high in ends]
    columns, coefficients = program.columns.tolist(), program.coefficients.tolist()
    starts = program.starts.tolist()
    rows = zip(starts, starts[1:], program.row_lower.tolist(), program.row_upper.tolist(), strict=False)
    for start, end, least, most in rows:
        read = [variables[column] for column in columns[start:end]]
        model.add_linear_constraint(cp_model.LinearExpr.weighted_sum(read, coefficients[start:end]), least, most)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    found = solver.solve(model)
    if found in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return ProgramAnswer(Status.SAT, np.array([solver.value(variable) for variable in variables], dtype=np.int64))
    if found == cp_model.INFEASIBLE:
        return ProgramAnswer(Status.UNSAT)
    return ProgramAnswer(Status.UNKNOWN, reason=f"CP-SAT: {solver.status_name(found)}")
