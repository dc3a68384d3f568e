"""The child process of the baseline: integer programs for HiGHS, whose UNSAT is no proof."""

import bvverify.solvers.highs  # noqa: F401  # loaded here, for time is limited from the first request on
from bvverify.child import serve
from bvverify.search.ilp import ProgramQuestion, solve_programs
from bvverify.search.solver_process import Solved
from bvverify.solvers.integer import HIGHS


def solve(request: ProgramQuestion) -> Solved:
    """Return what HiGHS says about one question."""
    return solve_programs(request, HIGHS)


if __name__ == "__main__":
    serve(solve)
