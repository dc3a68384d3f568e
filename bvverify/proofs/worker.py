"""The child process that solves questions.  Free of torch."""

from bvverify.child import serve
from bvverify.proofs.prove import Request
from bvverify.solvers import Answer, check_smtlib


def solve(request: Request) -> Answer:
    """Return the answer to one question; the solver gives up by itself soon after nobody can be waiting any more."""
    question = request.question
    return check_smtlib(question.text, solver=request.solver, time_limit=request.seconds + 1, values=question.unknowns)


if __name__ == "__main__":
    serve(solve)
