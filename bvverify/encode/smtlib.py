"""Export of a question as an SMT-LIB 2 script (QF_BV)."""

from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from bvverify.encode.bitvector import encode
from bvverify.encode.terms import SmtLibTerms
from bvverify.network import StepNetwork
from bvverify.queries import LevelBox, Robustness

Status: TypeAlias = Literal["sat", "unsat", "unknown"]


def smtlib_lines(
    network: StepNetwork, box: LevelBox, question: Robustness, *, status: Status, comments: Sequence[str]
) -> Iterator[str]:
    """Yield the lines of a script that is satisfiable exactly when some input of `box` violates `question`.

    A free word `x<i>` stands for element i of the flattened network input, counted from its lower end.  `comments`
    go first, one line each; a model's target belongs there.
    """
    terms = SmtLibTerms()
    encoding = encode(network, box, question, terms)
    yield from (f"; {' '.join(comment.split())}" for comment in comments)
    for name, (element, level) in encoding.inputs.items():
        yield f"; {name} = input element {element} minus {level}"
    yield f"(set-info :status {status})"
    yield "(set-logic QF_BV)"
    yield from terms.lines
    yield from (f"(assert {condition})" for condition in encoding.domain)
    yield f"(assert {encoding.violation})"
    yield "(check-sat)"
    yield "(exit)"
