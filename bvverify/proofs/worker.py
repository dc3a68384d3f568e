"""The child process that solves questions.  Free of torch."""

from bvverify.child import serve
from bvverify.proofs.prove import Request
from bvverify.proofs.questions import ACCUMULATOR, CLAIMED, COMPUTED
from bvverify.solvers import Answer, check_smtlib


def solve(request: Request) -> Answer:
    """Return the answer to one question; the solver gives up by itself soon after nobody can be waiting any more."""
    values = (ACCUMULATOR, COMPUTED, CLAIMED) if request.question.witness else ()
    return check_smtlib(request.question.text, solver=request.solver, time_limit=request.seconds + 1, values=values)


if __name__ == "__main__":
    serve(solve)
