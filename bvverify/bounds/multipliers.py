"""Multipliers of the relaxation, and of the bounds of units that rows go through, as tensors and in integers."""

from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from bvverify.bounds.certificate import (
    CASE_BITS,
    SLANT_BITS,
    STEEP_BITS,
    IntegerCases,
    IntegerJoint,
    IntegerMultipliers,
    IntegerSlants,
)
from bvverify.bounds.envelope import Side
from bvverify.bounds.joint import Joined
from bvverify.errors import InternalError
from bvverify.network import IntArray

_HUGE = 1 << 60


@dataclass(frozen=True, eq=False)
class Slanted:
    """Bounds sign * y <= slant . x + k of the units fed by the box, and how much of each coefficient goes through them;
    see `bvverify.bounds.envelope`.

    `slant` [A, U, P], `steepness` [A, U, segments, alternatives, sums], `intercept` [A, U] (k), `share` [N, U] in
    [0, 1]; A is 1 or N.
    """

    slant: Tensor
    steepness: Tensor
    intercept: Tensor
    share: Tensor


@dataclass(frozen=True, eq=False)
class Multipliers:
    """One multiplier per row and element of non-linear nodes, [N, elements of the node's source]; nodes that have none
    get those of CROWN.
    """

    back: dict[int, Tensor]
    slanted: dict[Side, Slanted] = field(default_factory=dict)
    cased: dict[int, "Cased"] = field(default_factory=dict)
    joined: dict[int, Joined] = field(default_factory=dict)
    below: dict[int, Tensor] = field(default_factory=dict)
    """Slopes [N, elements] of lines below, for nodes that have no multipliers, where CROWN's are not wanted."""

    def for_each(self, count: int) -> "Multipliers":
        """Return the bounds of single units that one row goes through as those of so many rows."""
        slanted = {side: replace(held, share=held.share.expand(count, -1)) for side, held in self.slanted.items()}
        return Multipliers({}, slanted, self.cased)


@dataclass(frozen=True, eq=False)
class Cased:
    """Bounds y <= sum_v forms[v] . v + k of J units that read sums, case by case; see `bvverify.bounds.cases`.

    `elements` [J]; `forms` [J, elements] per value behind; `steepness` and `intercept` (k) [J], `rest` [2, J].
    """

    elements: Tensor
    forms: dict[int, Tensor]
    steepness: Tensor
    rest: Tensor
    intercept: Tensor
    proof: Multipliers
    """What led to the intercepts: multipliers of 2 * J rows, first those of the case without a rise."""


def integer_multipliers(found: Multipliers, factor: float) -> IntegerMultipliers:
    """Return multipliers in integers, for rows that were multiplied by `factor`."""

    def rounded(tensor: Tensor, scale: float) -> IntArray:
        scaled = tensor.detach().numpy().astype(np.float64) * scale
        if not np.isfinite(scaled).all():
            raise InternalError("bounds: a multiplier is not finite")
        return np.rint(np.clip(scaled, -_HUGE, _HUGE)).astype(np.int64)  # any integers are valid

    back = {index: rounded(tensor, factor) for index, tensor in found.back.items()}
    slanted = {
        side: IntegerSlants(
            rounded(held.slant, 1 << SLANT_BITS),
            rounded(held.steepness, 1 << STEEP_BITS).clip(0),
            held.share.detach().numpy(),
        )
        for side, held in found.slanted.items()
    }
    cased = {
        value: IntegerCases(
            held.elements.numpy(),
            {behind: rounded(form, 1 << SLANT_BITS) for behind, form in held.forms.items()},
            rounded(held.steepness, 1 << CASE_BITS).clip(0),
            rounded(held.rest, 1 << CASE_BITS),
            integer_multipliers(held.proof, 2.0**CASE_BITS),
        )
        for value, held in found.cased.items()
    }
    joined = {
        value: IntegerJoint(
            held.units.groups,
            held.units.size.sum(1).numpy().astype(np.float64) * factor,
            rounded(held.slant[0], factor),
            rounded(held.steepness[0], factor).clip(0),
            held.share.detach().numpy(),
        )
        for value, held in found.joined.items()
    }
    return IntegerMultipliers(back, slanted, cased, joined)
