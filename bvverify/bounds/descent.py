"""Descent: multipliers that make the bounds of the relaxation small, found by Adam; warm starts, batches of rows.

The bound is convex in the multipliers and has kinks everywhere, so steps shrink geometrically and the best multipliers
met are kept.
"""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bvverify.bounds.cases import Cases, cased
from bvverify.bounds.cases import scales as scales_of_cases
from bvverify.bounds.envelope import Side
from bvverify.bounds.joint import Joint
from bvverify.bounds.multipliers import Multipliers, Slanted
from bvverify.bounds.relaxation import Relaxation, Rows
from bvverify.bounds.situation import Situation

_RATE_BACK, _RATE_SLANT, _RATE_SHARE, _RATE_UNDER = 0.1, 0.5, 0.1, 0.6
_RATE_FORM, _RATE_CASE = 0.25, 0.01
_RATE_JOINT_SLANT, _RATE_COMMON, _RATE_OWN, _RATE_JOINT_SHARE = 0.4, 0.2, 0.1, 0.05
_FIRST_FACTOR = 0.3
_MOMENTA = (0.5, 0.9)
_MEMORY = 0.9
"""How much of running averages is kept in each step."""
_TRY_AVERAGES = 10
"""After so many steps the bound of running averages is computed."""
_FIRST_HEAT = 0.04
"""Cases whose bounds differ by less than this part of a unit's levels share the gradient in the first step."""


@dataclass(frozen=True, eq=False)
class Effort:
    """How much work a descent may do."""

    steps: int
    decay: float
    """The last step's size relative to the first one's."""
    deadline: float
    """Of time.monotonic()."""
    first: float = 1.0
    """The first step's size, relative to one that suits multipliers that are far from the best ones."""
    enough: float = -math.inf
    """Bounds this low need not be lowered further."""


class _Adam:
    """Adam (Kingma and Ba, ICLR 2015) on tensors with a rate each; rates decay geometrically."""

    def __init__(
        self, rates: Sequence[tuple[Tensor, float]], effort: "Effort", *, momenta: tuple[float, float]
    ) -> None:
        self._parts = [(tensor, rate, torch.zeros_like(tensor), torch.zeros_like(tensor)) for tensor, rate in rates]
        self._first = effort.first
        self._decay = effort.decay ** (1 / max(1, effort.steps))
        self._momenta, self._taken = momenta, 0

    def step(self) -> None:
        """Move the tensors against their gradients, and forget these."""
        first, second = self._momenta
        factor = self._first * self._decay**self._taken
        self._taken += 1
        factor /= 1 - first**self._taken
        with torch.no_grad():
            for tensor, rate, mean, square in self._parts:
                if tensor.grad is None:
                    continue
                mean.lerp_(tensor.grad, 1 - first)
                square.mul_(second).addcmul_(tensor.grad, tensor.grad, value=1 - second)
                spread = (square / (1 - second**self._taken)).sqrt_().add_(1e-12)
                tensor.addcdiv_(mean, spread, value=-rate * factor)
                tensor.grad = None


@dataclass(frozen=True, eq=False)
class Slants:
    """Slanted bounds as descents carry them on: made from slopes [A, U, F] of the sums and from `free` [A, U, P];
    `steepness` [A, U, segments, alternatives, sums], `share` [N, U].
    """

    slopes: Tensor
    free: Tensor
    steepness: Tensor
    share: Tensor

    def tensors(self) -> list[Tensor]:
        """Return what descents move."""
        return [self.slopes, self.free, self.steepness, self.share]


@dataclass(frozen=True, eq=False)
class Dual:
    """Multipliers of N rows as descents carry them on."""

    back: dict[int, Tensor]
    """[N, elements of the source] per non-linear node."""
    slants: dict[Side, Slants]
    cases: dict[int, Cases] = field(default_factory=dict)
    """Per value; for one row only."""
    joints: dict[int, Joint] = field(default_factory=dict)
    """Per value."""

    @classmethod
    def stack(cls, duals: Sequence["Dual"]) -> "Dual":
        """Return the duals of several sub-problems as one."""
        if len(duals) == 1:
            return duals[0]
        assert not any(dual.cases for dual in duals)
        return duals[0].like(map(torch.cat, zip(*(dual.tensors() for dual in duals), strict=True)))

    def tensors(self) -> list[Tensor]:
        """Return what descents move."""
        parts: list[Slants | Cases | Joint] = [*self.slants.values(), *self.cases.values(), *self.joints.values()]
        return [*self.back.values(), *(tensor for part in parts for tensor in part.tensors())]

    def like(self, tensors: Iterable[Tensor]) -> "Dual":
        """Return the same with other tensors."""
        given = iter(tensors)
        back = {index: next(given) for index in self.back}
        slants = {side: Slants(*(next(given) for _ in range(4))) for side in self.slants}
        cases = {value: held.like(given) for value, held in self.cases.items()}
        return Dual(back, slants, cases, {value: held.like(given) for value, held in self.joints.items()})

    def rates(self) -> list[float]:
        """Return the rate of each tensor."""
        rates = [_RATE_BACK for _ in self.back]
        for _ in self.slants:
            rates += [_RATE_SLANT, _RATE_SLANT, _RATE_SLANT, _RATE_SHARE]
        for cases in self.cases.values():
            rates += [_RATE_FORM for _ in cases.forms] + [_RATE_CASE, _RATE_CASE]
            rates += [_RATE_BACK for _ in cases.below]
        for _ in self.joints:
            rates += [_RATE_JOINT_SLANT, _RATE_COMMON, _RATE_OWN, _RATE_JOINT_SHARE]
        return rates

    def row(self, index: int) -> "Dual":
        """Return one row, where each has slanted bounds of its own."""
        return self.like(tensor[index : index + 1] for tensor in self.tensors())


@dataclass(frozen=True, eq=False)
class Descended:
    """What a descent found."""

    dual: Dual
    bound: Tensor
    """[N]: the least bounds met; those of `dual`."""
    primal: dict[int, Tensor]
    """[N, elements] per value that rows met: averages of the values at which the relaxation attains the bounds."""
    coefficients: dict[int, Tensor]
    """[N, elements]: the rows' coefficients in these values, at the end."""


def first_dual(relaxation: Relaxation, situation: Situation, rows: Rows) -> Dual:
    """Return the multipliers of CROWN, and slanted bounds along each unit's chord."""
    count = len(rows.constant)
    slants = {
        side: Slants(
            around.chord.clone(),
            around.middle.new_zeros(*around.chord.shape[:2], around.middle.shape[2]),
            around.steepness.clone(),
            around.gains.expand(count, -1).clone(),
        )
        for side, around in situation.envelopes.items()
        if side[0] <= max(rows.start)
    }
    given = Multipliers({}, slanted(relaxation, situation, slants))
    return Dual(relaxation.start(situation, rows, given), slants)


def slanted(relaxation: Relaxation, situation: Situation, slants: dict[Side, Slants]) -> dict[Side, Slanted]:
    """Return the bounds that slants stand for."""
    made = {}
    for side, held in slants.items():
        around = situation.envelopes[side]
        slant, steepness = relaxation.slant(side, held.slopes, held.free), held.steepness.clamp(min=0)
        intercept = relaxation.intercept(side, around, slant, steepness)
        made[side] = Slanted(slant, steepness, intercept, held.share.clamp(0, 1) * around.gains)
    return made


def multipliers(relaxation: Relaxation, situation: Situation, dual: Dual, *, heat: float = 0.0) -> Multipliers:
    """Return a dual as the multipliers that it stands for; see `Relaxation.case_by_case` for `heat`."""
    bounds = slanted(relaxation, situation, dual.slants)
    joints = {
        value: joint.around(situation.middle, situation.radius, situation.envelopes[value, 1].hull)
        for value, joint in dual.joints.items()
    }
    return Multipliers(dual.back, bounds, cased(relaxation, situation, dual.cases, bounds, heat=heat), joints)


def descend(relaxation: Relaxation, situation: Situation, rows: Rows, start: Dual, effort: Effort) -> Descended:
    """Lower the bounds of rows, each with slanted bounds of its own; stop early when all are low enough.

    Steps waver around the best multipliers, so their running averages are tried as well.
    """
    scales = _scales(relaxation, situation, rows, start)
    moved = [torch.zeros_like(tensor, requires_grad=True) for tensor in start.tensors()]
    averages = [tensor.detach().clone() for tensor in moved]
    optimizer = _Adam(list(zip(moved, start.rates(), strict=True)), effort, momenta=_MOMENTA)
    # With gradients, the rows themselves tell the values at which the bounds are attained.
    rows = Rows({value: row.clone().requires_grad_() for value, row in rows.start.items()}, rows.constant)
    best, least = start, torch.full_like(rows.constant, torch.inf)
    primal: dict[int, Tensor] = {}
    coefficients: dict[int, Tensor] = {}
    averaged = 0

    def moved_by(changes: Sequence[Tensor]) -> Dual:
        ahead = zip(start.tensors(), scales.tensors(), changes, strict=True)
        return start.like(torch.addcmul(tensor, scale, change) for tensor, scale, change in ahead)

    for step in range(effort.steps + 1):
        last = step == effort.steps
        if step % _TRY_AVERAGES == _TRY_AVERAGES - 1 or last:
            with torch.no_grad():
                now = moved_by(averages)
                bound = relaxation.bound(situation, rows, multipliers(relaxation, situation, now)).bound
            best, least = _chosen(bound < least, now, best), torch.minimum(least, bound)
        now = moved_by(moved)
        heat = _FIRST_HEAT * effort.decay ** (step / max(1, effort.steps))
        found = relaxation.bound(situation, rows, multipliers(relaxation, situation, now, heat=heat), watched=True)
        for tensor in found.coefficients.values():
            tensor.retain_grad()
        found.bound.sum().backward()
        best, least = _chosen(found.bound < least, now, best), torch.minimum(least, found.bound.detach())
        enough = bool((least < effort.enough).all()) or time.monotonic() > effort.deadline
        if enough or step >= effort.steps - effort.steps // 3 - 1:
            averaged += 1
            coefficients = {value: tensor.detach() for value, tensor in found.coefficients.items()}
            for value, tensor in found.coefficients.items():
                assert tensor.grad is not None
                primal[value] = primal[value] + tensor.grad if value in primal else tensor.grad.clone()
        if enough:
            break
        optimizer.step()
        weight = 1 - _MEMORY if step >= _TRY_AVERAGES // 2 else 1.0
        with torch.no_grad():
            for average, tensor in zip(averages, moved, strict=True):
                average.lerp_(tensor, weight)
        for row in rows.start.values():
            row.grad = None
    primal = {value: total / averaged for value, total in primal.items()}
    return Descended(best, least, primal, coefficients)


@dataclass(frozen=True, eq=False)
class Assumed:
    """Multipliers of N rows under the assumption of a claim: `factor` [N, 1] times the claim's own, plus `rest`.

    `shares` [N, U] per envelope.
    """

    factor: Tensor
    rest: dict[int, Tensor]
    shares: dict[Side, Tensor]

    def rows(self, chosen: Tensor) -> "Assumed":
        """Return some of the rows."""
        rest = {index: tensor[chosen] for index, tensor in self.rest.items()}
        return Assumed(self.factor[chosen], rest, {side: tensor[chosen] for side, tensor in self.shares.items()})

    def multipliers(self, situation: Situation, proof: Multipliers) -> Multipliers:
        """Return the multipliers of the rows together with the claim, whose own are `proof`."""
        back = {index: self.factor * proof.back[index] + rest for index, rest in self.rest.items()}
        slanted = {
            side: replace(proof.slanted[side], share=share.clamp(0, 1) * situation.envelopes[side].gains)
            for side, share in self.shares.items()
        }
        return Multipliers(back, slanted, proof.cased, proof.joined)


def first_assumed(relaxation: Relaxation, situation: Situation, rows: Rows, proof: Dual) -> Assumed:
    """Return the multipliers of CROWN for the rows, and a little of the claim."""
    count = len(rows.constant)
    own = relaxation.start(situation, rows, multipliers(relaxation, situation, proof))
    rest = {index: own.get(index, torch.zeros(count, back.shape[1])) for index, back in proof.back.items()}
    shares = {side: slants.share.expand(count, -1).clone() for side, slants in proof.slants.items()}
    return Assumed(torch.full((count, 1), _FIRST_FACTOR), rest, shares)


def descend_under(
    relaxation: Relaxation, situation: Situation, rows: Rows, claim: Rows, proof: Dual, start: Assumed, effort: Effort
) -> Assumed:
    """Lower the bounds of N rows on the part of one sub-problem where a claim's form is not negative (INVPROP: Kotha
    et al., NeurIPS 2023): a multiple of the form, with a free factor, is added to each row.

    `proof` is the claim's own dual: its slanted bounds serve all rows.
    """
    with torch.no_grad():
        own = multipliers(relaxation, situation, proof)
    factor = start.factor.clone().requires_grad_()
    moved, scales = {}, {}
    for index, rest in start.rest.items():
        back = proof.back[index].abs()
        moved[index] = torch.zeros_like(rest, requires_grad=True)
        scales[index] = 0.3 * (back + rest.abs()) + 0.1 * (back.mean() + rest.abs().mean(1, keepdim=True))
    shares = {side: share.clone().requires_grad_() for side, share in start.shares.items()}
    rates = [(tensor, _RATE_UNDER) for tensor in (factor, *moved.values(), *shares.values())]
    optimizer = _Adam(rates, effort, momenta=_MOMENTA)
    best, least = start, torch.full_like(rows.constant, torch.inf)
    for step in range(effort.steps + 1):
        now = Assumed(factor, {index: start.rest[index] + scales[index] * moved[index] for index in moved}, shares)
        found = relaxation.bound(situation, _together(rows, claim, factor), now.multipliers(situation, own)).bound
        with torch.no_grad():
            better = (found < least)[:, None]
            best = Assumed(
                torch.where(better, factor, best.factor),
                {index: torch.where(better, tensor, best.rest[index]) for index, tensor in now.rest.items()},
                {side: torch.where(better, share.clamp(0, 1), best.shares[side]) for side, share in shares.items()},
            )
            least = torch.minimum(least, found)
        if step == effort.steps or time.monotonic() > effort.deadline:
            break
        found.sum().backward()
        optimizer.step()
        with torch.no_grad():
            factor.clamp_(min=0)
    return best


def _together(rows: Rows, claim: Rows, factor: Tensor) -> Rows:
    """Return N rows, to each of which a multiple of a claim is added, factor [N, 1]."""
    added = dict(rows.start)
    for value, row in claim.start.items():
        added[value] = added[value] + factor * row if value in added else factor * row
    return Rows(added, rows.constant + factor[:, 0] * claim.constant)


def _scales(relaxation: Relaxation, situation: Situation, rows: Rows, start: Dual) -> Dual:
    """Return by how much multipliers may move in one step, relative to the rates: as much as matters to the bound."""
    with torch.no_grad():
        met = relaxation.bound(situation, rows, multipliers(relaxation, situation, start)).coefficients
    back = {}
    for index, tensor in start.back.items():
        size = met[index + 1].abs()
        size = torch.maximum(size, 0.3 * size.mean(1, keepdim=True))
        if index in situation.lines:
            lines = situation.lines[index]
            rise = (lines.y[:, 3] - lines.y[:, 0]) / (lines.x[:, 3] - lines.x[:, 0]).clamp(min=1)
            slope = torch.maximum(lines.above, rise)
            back[index] = size * torch.maximum(slope, 0.1 * slope.mean(1, keepdim=True))
        else:
            back[index] = size.repeat_interleave(tensor.shape[1] // size.shape[1], dim=1)
    slants = {}
    for side, held in start.slants.items():
        slant = relaxation.slant(side, held.slopes, held.free).abs()
        slope = situation.envelopes[side].slope[..., None]
        slants[side] = Slants(
            0.2 * slope.expand_as(held.slopes),
            0.7 * slant + 0.3 * slant.mean(2, keepdim=True),
            0.4 * slope[..., None, None].expand_as(held.steepness),
            torch.ones_like(held.share),
        )
    cases = {value: scales_of_cases(relaxation, situation, value, held) for value, held in start.cases.items()}
    return Dual(back, slants, cases, {value: held.scales() for value, held in start.joints.items()})


def _chosen(better: Tensor, new: Dual, old: Dual) -> Dual:
    """Return the new rows where they are better, the old ones elsewhere."""
    if len(better) == 1:
        return new.like(tensor.detach() for tensor in new.tensors()) if bool(better) else old
    pairs = zip(new.tensors(), old.tensors(), strict=True)
    return new.like(
        torch.where(better.reshape(-1, *[1] * (first.dim() - 1)), first.detach(), second) for first, second in pairs
    )
