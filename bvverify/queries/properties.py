"""Properties of the outputs: robustness of a class, with the tie rule of argmax written out."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from bvverify.errors import UsageError
from bvverify.network import IntArray


class TieRule(StrEnum):
    """What equal largest outputs mean."""

    LOWEST_INDEX = "lowest-index"
    """The class with the lowest index is predicted, as torch.argmax does."""
    ANY_TIE_VIOLATES = "any-tie-violates"
    """The label must be strictly larger than every other output."""
    NO_TIE_VIOLATES = "no-tie-violates"
    """The label must be at least as large as every other output."""


@dataclass(frozen=True)
class Robustness:
    """The label stays the predicted class, under a tie rule, among `classes` outputs."""

    label: int
    classes: int
    tie: TieRule = TieRule.LOWEST_INDEX

    def __post_init__(self) -> None:
        if not 0 <= self.label < self.classes:
            raise UsageError(f"label {self.label} is not one of the {self.classes} outputs")

    def rivals(self) -> list[tuple[int, int]]:
        """Return (class, margin) pairs: the property is violated exactly when some y[class] - y[label] >= margin."""
        return [(rival, self._margin(rival)) for rival in range(self.classes) if rival != self.label]

    def violated_by(self, outputs: IntArray) -> npt.NDArray[np.bool_]:
        """Return, for outputs (n, classes), which rows violate the property."""
        violated = np.zeros(len(outputs), dtype=np.bool_)
        for rival, margin in self.rivals():
            violated |= outputs[:, rival] - outputs[:, self.label] >= margin
        return violated

    def _margin(self, rival: int) -> int:
        match self.tie:
            case TieRule.LOWEST_INDEX:
                return 0 if rival < self.label else 1
            case TieRule.ANY_TIE_VIOLATES:
                return 0
            case TieRule.NO_TIE_VIOLATES:
                return 1


def predicted_class(outputs: IntArray) -> IntArray:
    """Return torch.argmax's class for outputs (n, classes): the lowest index among the largest."""
    return np.asarray(outputs.argmax(axis=1))
