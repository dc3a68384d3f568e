"""One thing to be proved."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from bvverify.proofs.questions import Question, Staircase


@dataclass(frozen=True)
class Obligation:
    """That a row of thresholds equals its pipeline on the accumulators in [lower, upper].

    It is met if every one of `questions` is unsatisfiable, and not met if one with a witness is satisfiable.  Where
    another one is, the `direct` question decides.  Of a layer without weights, `channel` is the first channel of a row,
    or 0, and `form` says which of its pipelines it is about.
    """

    layer: str
    channel: int
    lower: int
    upper: int
    staircase: Staircase
    questions: tuple[Question, ...]
    direct: Question
    form: str = ""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the questions, hexadecimal: equal questions need one proof."""
        return hashlib.sha256("\n".join(question.text for question in self.questions).encode()).hexdigest()
