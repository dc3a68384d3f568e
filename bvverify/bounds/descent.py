"""Descent: multipliers that make the bounds of the relaxation small, found by Adam; warm starts, batches of rows.

The bound is convex in the multipliers and has kinks everywhere, so steps shrink geometrically and the best multipliers
met are kept.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bvverify.bounds.relaxation import Multipliers, Relaxation, Rows, Situation, Slanted

_RATE_BACK, _RATE_SLANT, _RATE_SHARE, _RATE_UNDER = 0.1, 0.5, 0.1, 0.6
_FIRST_FACTOR = 0.3
_MOMENTA = (0.5, 0.9)
_ENOUGH = -0.02
"""Bounds this low need not be lowered further: integers will confirm that they are negative."""


@dataclass(frozen=True, eq=False)
class Effort:
    """How much work a descent may do."""

    steps: int
    decay: float
    """The last step's size relative to the first one's."""
    deadline: float
    """Of time.monotonic()."""


class _Adam:
    """Adam (Kingma and Ba, ICLR 2015) on tensors with a rate each; rates decay geometrically."""

    def __init__(
        self, rates: Sequence[tuple[Tensor, float]], effort: "Effort", *, momenta: tuple[float, float]
    ) -> None:
        self._parts = [(tensor, rate, torch.zeros_like(tensor), torch.zeros_like(tensor)) for tensor, rate in rates]
        self._decay = effort.decay ** (1 / max(1, effort.steps))
        self._momenta, self._taken = momenta, 0

    def step(self) -> None:
        """Move the tensors against their gradients, and forget these."""
        first, second = self._momenta
        factor = self._decay**self._taken
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
    `share` [N, U].
    """

    slopes: Tensor
    free: Tensor
    share: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> "Slants":
        return Slants(change(self.slopes), change(self.free), change(self.share))


@dataclass(frozen=True, eq=False)
class Dual:
    """Multipliers of N rows as descents carry them on."""

    back: dict[int, Tensor]
    """[N, elements of the source] per non-linear node."""
    slants: dict[int, Slants]
    """Per value whose units are fed by the box."""

    @classmethod
    def stack(cls, duals: Sequence["Dual"]) -> "Dual":
        """Return the duals of several sub-problems as one."""
        back = {index: torch.cat([dual.back[index] for dual in duals]) for index in duals[0].back}
        slants = {
            value: Slants(
                *(
                    torch.cat([getattr(dual.slants[value], name) for dual in duals])
                    for name in ("slopes", "free", "share")
                )
            )
            for value in duals[0].slants
        }
        return cls(back, slants)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Dual":
        """Return the dual with every tensor changed."""
        back = {index: change(tensor) for index, tensor in self.back.items()}
        return Dual(back, {value: slants.map(change) for value, slants in self.slants.items()})

    def row(self, index: int) -> "Dual":
        """Return one row, where each has slanted bounds of its own."""
        return self.map(lambda tensor: tensor[index : index + 1])


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
        value: Slants(
            box.chord.clone(),
            box.middle.new_zeros(*box.chord.shape[:2], box.middle.shape[2]),
            box.late.expand(count, -1).clone(),
        )
        for value, box in situation.boxes.items()
        if value <= max(rows.start)
    }
    return Dual(relaxation.start(situation, rows).back, slants)


def slanted(relaxation: Relaxation, situation: Situation, slants: dict[int, Slants]) -> dict[int, Slanted]:
    """Return the bounds that slants stand for."""
    made = {}
    for value, held in slants.items():
        slant = relaxation.slant(value, held.slopes, held.free)
        intercept = relaxation.intercept(value, situation.boxes[value], slant)
        made[value] = Slanted(slant, intercept, held.share.clamp(0, 1) * situation.boxes[value].late)
    return made


def multipliers(relaxation: Relaxation, situation: Situation, dual: Dual) -> Multipliers:
    """Return a dual as the multipliers that it stands for."""
    return Multipliers(dual.back, slanted(relaxation, situation, dual.slants))


def descend(relaxation: Relaxation, situation: Situation, rows: Rows, start: Dual, effort: Effort) -> Descended:
    """Lower the bounds of rows, each with slanted bounds of its own; stop early when all are negative."""
    scales = _scales(relaxation, situation, rows, start)
    moved = start.map(lambda tensor: torch.zeros_like(tensor, requires_grad=True))
    rates = [(tensor, _RATE_BACK) for tensor in moved.back.values()]
    for slants in moved.slants.values():
        rates += [(slants.slopes, _RATE_SLANT), (slants.free, _RATE_SLANT), (slants.share, _RATE_SHARE)]
    optimizer = _Adam(rates, effort, momenta=_MOMENTA)
    # With gradients, the rows themselves tell the values at which the bounds are attained.
    rows = Rows({value: row.clone().requires_grad_() for value, row in rows.start.items()}, rows.constant)
    best, least = start, torch.full_like(rows.constant, torch.inf)
    primal: dict[int, Tensor] = {}
    coefficients: dict[int, Tensor] = {}
    averaged = 0
    for step in range(effort.steps + 1):
        now = _combined(start, scales, moved)
        found = relaxation.bound(situation, rows, multipliers(relaxation, situation, now))
        for tensor in found.coefficients.values():
            tensor.retain_grad()
        found.bound.sum().backward()
        better = found.bound.detach() < least
        best, least = _chosen(better, now, best), torch.minimum(least, found.bound.detach())
        enough = bool((least < _ENOUGH).all()) or time.monotonic() > effort.deadline
        if enough or step >= effort.steps - effort.steps // 3 - 1:
            averaged += 1
            coefficients = {value: tensor.detach() for value, tensor in found.coefficients.items()}
            for value, tensor in found.coefficients.items():
                assert tensor.grad is not None
                primal[value] = primal[value] + tensor.grad if value in primal else tensor.grad.clone()
        if enough:
            break
        optimizer.step()
        for row in rows.start.values():
            row.grad = None
    primal = {value: total / averaged for value, total in primal.items()}
    return Descended(best, least, primal, coefficients)


@dataclass(frozen=True, eq=False)
class Assumed:
    """Multipliers of N rows under the assumption of a claim: `factor` [N, 1] times the claim's own, plus `rest`.

    `shares` [N, U] per value whose units are fed by the box.
    """

    factor: Tensor
    rest: dict[int, Tensor]
    shares: dict[int, Tensor]

    def rows(self, chosen: Tensor) -> "Assumed":
        """Return some of the rows."""
        rest = {index: tensor[chosen] for index, tensor in self.rest.items()}
        return Assumed(self.factor[chosen], rest, {value: tensor[chosen] for value, tensor in self.shares.items()})

    def multipliers(self, situation: Situation, proof: Multipliers) -> Multipliers:
        """Return the multipliers of the rows together with the claim, whose own are `proof`."""
        back = {index: self.factor * proof.back[index] + rest for index, rest in self.rest.items()}
        slanted = {
            value: Slanted(
                proof.slanted[value].slant,
                proof.slanted[value].intercept,
                share.clamp(0, 1) * situation.boxes[value].late,
            )
            for value, share in self.shares.items()
        }
        return Multipliers(back, slanted)


def first_assumed(relaxation: Relaxation, situation: Situation, rows: Rows, proof: Dual) -> Assumed:
    """Return the multipliers of CROWN for the rows, and a little of the claim."""
    count = len(rows.constant)
    own = relaxation.start(situation, rows).back
    rest = {index: own.get(index, torch.zeros(count, back.shape[1])) for index, back in proof.back.items()}
    shares = {value: slants.share.expand(count, -1).clone() for value, slants in proof.slants.items()}
    return Assumed(torch.full((count, 1), _FIRST_FACTOR), rest, shares)


def descend_under(
    relaxation: Relaxation, situation: Situation, rows: Rows, claim: Rows, proof: Dual, start: Assumed, effort: Effort
) -> Assumed:
    """Lower the bounds of N rows on the part of one sub-problem where a claim's form is not negative (INVPROP: Kotha
    et al., NeurIPS 2023): a multiple of the form, with a free factor, is added to each row.

    `proof` is the claim's own dual: its slanted bounds serve all rows.
    """
    own = multipliers(relaxation, situation, proof)
    factor = start.factor.clone().requires_grad_()
    moved, scales = {}, {}
    for index, rest in start.rest.items():
        back = proof.back[index].abs()
        moved[index] = torch.zeros_like(rest, requires_grad=True)
        scales[index] = 0.3 * (back + rest.abs()) + 0.1 * (back.mean() + rest.abs().mean(1, keepdim=True))
    shares = {value: share.clone().requires_grad_() for value, share in start.shares.items()}
    rates = [(tensor, _RATE_UNDER) for tensor in (factor, *moved.values(), *shares.values())]
    optimizer = _Adam(rates, effort, momenta=_MOMENTA)
    best, least = start, torch.full_like(rows.constant, torch.inf)
    for step in range(effort.steps + 1):
        now = Assumed(factor, {index: start.rest[index] + scales[index] * moved[index] for index in moved}, shares)
        added = dict(rows.start)
        for value, row in claim.start.items():
            added[value] = added[value] + factor * row if value in added else factor * row
        together = Rows(added, rows.constant + factor[:, 0] * claim.constant)
        found = relaxation.bound(situation, together, now.multipliers(situation, own)).bound
        with torch.no_grad():
            better = (found < least)[:, None]
            best = Assumed(
                torch.where(better, factor, best.factor),
                {index: torch.where(better, tensor, best.rest[index]) for index, tensor in now.rest.items()},
                {value: torch.where(better, share, best.shares[value]) for value, share in shares.items()},
            )
            least = torch.minimum(least, found)
        if step == effort.steps or time.monotonic() > effort.deadline:
            break
        found.sum().backward()
        optimizer.step()
        with torch.no_grad():
            factor.clamp_(min=0)
    return best


def _combined(start: Dual, scales: Dual, moved: Dual) -> Dual:
    """Return start + scales * moved; shares stay in [0, 1]."""
    back = {index: tensor + scales.back[index] * moved.back[index] for index, tensor in start.back.items()}
    slants = {}
    for value, held in start.slants.items():
        scale, change = scales.slants[value], moved.slants[value]
        slants[value] = Slants(
            held.slopes + scale.slopes * change.slopes,
            held.free + scale.free * change.free,
            (held.share + change.share).clamp(0, 1),
        )
    return Dual(back, slants)


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
    for value, held in start.slants.items():
        slant = relaxation.slant(value, held.slopes, held.free).abs()
        free = 0.7 * slant + 0.3 * slant.mean(2, keepdim=True)
        slopes = 0.2 * situation.boxes[value].slope[..., None].expand_as(held.slopes)
        slants[value] = Slants(slopes, free, torch.ones_like(held.share))
    return Dual(back, slants)


def _chosen(better: Tensor, new: Dual, old: Dual) -> Dual:
    """Return the new rows where they are better, the old ones elsewhere."""

    def pick(first: Tensor, second: Tensor) -> Tensor:
        return torch.where(better.reshape(-1, *[1] * (first.dim() - 1)), first.detach(), second)

    back = {index: pick(tensor, old.back[index]) for index, tensor in new.back.items()}
    slants = {
        value: Slants(
            pick(held.slopes, old.slants[value].slopes),
            pick(held.free, old.slants[value].free),
            pick(held.share, old.slants[value].share),
        )
        for value, held in new.slants.items()
    }
    return Dual(back, slants)
