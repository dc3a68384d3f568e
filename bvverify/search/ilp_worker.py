"""The child process of stage `ilp`.  Free of torch."""

import bvverify.solvers.cpsat  # noqa: F401  # loaded here, for time and memory are limited from the first request on
from bvverify.child import serve
from bvverify.search.ilp import ProgramQuestion, solve_programs
from bvverify.search.solver_process import Solved
from bvverify.solvers.integer import CP_SAT


def solve(request: ProgramQuestion) -> Solved:
    """Return the answer to one question."""
    return solve_programs(request, CP_SAT)


if __name__ == "__main__":
    serve(solve)
