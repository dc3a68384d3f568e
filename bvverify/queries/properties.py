"""Properties of the outputs: which class may be predicted, with the tie rule of argmax written out."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

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


class Overtaking(NamedTuple):
    """y[winner] - y[loser] >= margin."""

    winner: int
    loser: int
    margin: int


@dataclass(frozen=True)
class Robustness:
    """The label stays the predicted class, under a tie rule, among `classes` outputs; or, with `forbidden`, that one
    class is not predicted (targeted robustness).

    With `forbidden` the property is violated exactly when that class is the predicted one: `lowest-index` reads equal
    largest outputs as torch.argmax does, under `any-tie-violates` sharing the first place is enough, under
    `no-tie-violates` it takes to be strictly largest.  What the label is does not matter then.
    """

    label: int
    classes: int
    tie: TieRule = TieRule.LOWEST_INDEX
    forbidden: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.label < self.classes:
            raise UsageError(f"label {self.label} is not one of the {self.classes} outputs")
        if self.forbidden is not None and not 0 <= self.forbidden < self.classes:
            raise UsageError(f"forbidden class {self.forbidden} is not one of the {self.classes} outputs")
        if self.forbidden == self.label:
            raise UsageError(f"forbidden class {self.forbidden} is the label itself; name another class")

    def rivals(self) -> list[tuple[int, int]]:
        """Return (class, margin) pairs: the property holds where no y[class] - y[label] >= margin, and without a
        forbidden class it is violated elsewhere; `ways` is exact always.
        """
        rivals = range(self.classes) if self.forbidden is None else [self.forbidden]
        return [(rival, self._margin(rival, self.label)) for rival in rivals if rival != self.label]

    def ways(self) -> list[list[Overtaking]]:
        """Return the ways to violate the property: it is violated exactly when everything in one of them holds."""
        if self.forbidden is None:
            return [[Overtaking(rival, self.label, margin)] for rival, margin in self.rivals()]
        others = [other for other in range(self.classes) if other != self.forbidden]
        return [[Overtaking(self.forbidden, other, self._margin(self.forbidden, other)) for other in others]]

    def violated_by(self, outputs: IntArray) -> npt.NDArray[np.bool_]:
        """Return, for outputs (n, classes), which rows violate the property."""
        violated = np.zeros(len(outputs), dtype=np.bool_)
        for way in self.ways():
            taken = np.ones(len(outputs), dtype=np.bool_)
            for winner, loser, margin in way:
                taken &= outputs[:, winner] - outputs[:, loser] >= margin
            violated |= taken
        return violated

    def _margin(self, winner: int, loser: int) -> int:
        """Return the least y[winner] - y[loser] with which `winner` comes before `loser`."""
        match self.tie:
            case TieRule.LOWEST_INDEX:
                return 0 if winner < loser else 1
            case TieRule.ANY_TIE_VIOLATES:
                return 0
            case TieRule.NO_TIE_VIOLATES:
                return 1


def predicted_class(outputs: IntArray) -> IntArray:
    """Return torch.argmax's class for outputs (n, classes): the lowest index among the largest."""
    return np.asarray(outputs.argmax(axis=1))
