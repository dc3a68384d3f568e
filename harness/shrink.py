"""Shrinking of a failing case: smaller models and simpler numbers, as long as the failure stays.

Every reduction is applied alike to all models of a case, so that what they share stays shared.
"""

from collections.abc import Callable
from typing import TypeAlias

from bvverify.model import QuantizedModel
from harness.shrink_case import Array, Case
from harness.shrink_reductions import REDUCTIONS, Reduction

Fails: TypeAlias = Callable[[tuple[QuantizedModel, ...], Array], bool]

_ATTEMPTS = 4000
"""How often a failure is tried, at most; shrinking stops there."""


def shrink(
    models: tuple[QuantizedModel, ...], inputs: Array, fails: Fails, *, attempts: int = _ATTEMPTS
) -> tuple[tuple[QuantizedModel, ...], Array]:
    """Return a smaller case for which `fails` still holds: models and inputs (n, *input_shape).

    `models` is one model, or several of one architecture; `inputs` are float32, or bytes for the first layer to put
    out.  A candidate for which `fails` raises is not taken.
    """
    search = _Search(Case(models, inputs), fails, attempts)
    while search.pass_over():
        pass
    return search.case.models, search.case.inputs


class _Search:
    def __init__(self, case: Case, fails: Fails, attempts: int) -> None:
        self.case, self._fails, self.attempts = case, fails, attempts

    def pass_over(self) -> bool:
        """Try all reductions, each as long as some candidate of it still fails; return whether any was taken."""
        before = self.case
        for reduction in REDUCTIONS:
            while self._step(reduction):
                pass
        return self.case is not before

    def _step(self, reduction: "Reduction") -> bool:
        for candidate in reduction(self.case):
            if not self.attempts:
                return False
            self.attempts -= 1
            if self._holds(candidate):
                self.case = candidate
                return True
        return False

    def _holds(self, candidate: Case) -> bool:
        try:
            return self._fails(candidate.models, candidate.inputs)
        except Exception:  # a candidate may be no valid model at all
            return False
