"""The child process of stage `bitvector`: encodes a question and solves it.  Free of torch."""

from pysmt.environment import reset_env
from pysmt.fnode import FNode

from bvverify.child import serve
from bvverify.encode import PysmtTerms, encode
from bvverify.search.bitvector import Question
from bvverify.search.solver_process import Solved
from bvverify.solvers import check


def solve(request: Question) -> Solved:
    """Return the answer to one question; the formula of the one before is dropped with its environment."""
    environment = reset_env()
    terms = PysmtTerms(environment)
    encoding = encode(request.network, request.box, request.question, terms)
    manager = environment.formula_manager
    words: list[FNode] = [
        terms.symbol(name, int(request.box.upper.flat[element] - level).bit_length())
        for name, (element, level) in encoding.inputs.items()
    ]
    formula = manager.And([*encoding.domain, encoding.violation])
    answer = check(formula, solver=request.solver, values=words)
    if answer.model is None:
        return Solved(answer.status, None, answer.reason)
    return Solved(answer.status, encoding.input_levels(request.box, dict(answer.model)))


if __name__ == "__main__":
    serve(solve)
