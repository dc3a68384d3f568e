"""HiGHS, as it comes with OR-Tools: integer programs in floats, with tolerances.

Its UNSAT is no proof, and a solution must be checked.  Only baselines and cross-checks ask it.
"""

from __future__ import annotations

import numpy as np
from ortools.linear_solver.python import model_builder_helper as native

from bvverify.solvers.answer import Status
from bvverify.solvers.integer import ProgramAnswer
from bvverify.solvers.program import UNBOUNDED_ABOVE, UNBOUNDED_BELOW, IntegerProgram


def solve(program: IntegerProgram) -> ProgramAnswer:
    """Return whether the program has a solution, as far as floats can tell; a solution is rounded to integers."""
    model = native.ModelBuilderHelper()
    ends = program.lower.astype(np.float64), program.upper.astype(np.float64)
    model.add_var_array_with_bounds(*ends, ~program.implied, "")  # type: ignore[arg-type]  # its stubs are wrong
    columns, coefficients, starts = program.columns.tolist(), program.coefficients.tolist(), program.starts.tolist()
    for row, (least, most) in enumerate(zip(program.row_lower.tolist(), program.row_upper.tolist(), strict=True)):
        model.add_linear_constraint()
        model.set_constraint_lower_bound(row, -np.inf if least == UNBOUNDED_BELOW else least)
        model.set_constraint_upper_bound(row, np.inf if most == UNBOUNDED_ABOVE else most)
        for entry in range(starts[row], starts[row + 1]):
            model.add_term_to_constraint(row, columns[entry], coefficients[entry])
    solver = native.ModelSolverHelper("highs")
    solver.enable_output(False)
    solver.set_solver_specific_parameters("threads=1\nrandom_seed=0\noutput_flag=false")
    solver.solve(model)
    found = solver.status()
    if solver.has_solution() and found in (native.SolveStatus.OPTIMAL, native.SolveStatus.FEASIBLE):
        return ProgramAnswer(Status.SAT, np.rint(solver.variable_values()).astype(np.int64))
    if found == native.SolveStatus.INFEASIBLE:
        return ProgramAnswer(Status.UNSAT)
    return ProgramAnswer(Status.UNKNOWN, reason=f"HiGHS: {found.name}")
