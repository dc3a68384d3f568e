"""Descent: multipliers that make the bounds of the relaxation small, found by Adam; warm starts, batches of rows.

The bound is convex in the multipliers and has kinks everywhere, so steps shrink geometrically and the best multipliers
met are kept.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bvverify.bounds.relaxation import Multipliers, Relaxation, Rows, Situation, Slanted

_RATE_BACK, _RATE_SLANT, _RATE_SHARE = 0.1, 0.5, 0.1
_MOMENTA = (0.5, 0.9)


@dataclass(frozen=True, eq=False)
class Effort:
    """How much work a descent may do."""

    steps: int
    decay: float
    """The last step's size relative to the first one's."""
    deadline: float
    """Of time.monotonic()."""


@dataclass(frozen=True, eq=False)
class Dual:
    """Multipliers of N rows as descents carry them on: `back` as in Multipliers; slanted bounds are made from slopes
    [A, U, F] of the sums and from `free` [A, U, P]; `share` [N, U].
    """

    back: dict[int, Tensor]
    slopes: Tensor | None
    free: Tensor | None
    share: Tensor | None

    @classmethod
    def stack(cls, duals: Sequence["Dual"]) -> "Dual":
        """Return the duals of several sub-problems as one."""
        first = duals[0]

        def joined(name: str) -> Tensor | None:
            return None if getattr(first, name) is None else torch.cat([getattr(dual, name) for dual in duals])

        back = {index: torch.cat([dual.back[index] for dual in duals]) for index in first.back}
        return cls(back, joined("slopes"), joined("free"), joined("share"))

    def row(self, index: int) -> "Dual":
        """Return one row, if each has slanted bounds of its own."""

        def one(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[index : index + 1]

        back = {node: tensor[index : index + 1] for node, tensor in self.back.items()}
        return Dual(back, one(self.slopes), one(self.free), one(self.share))


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
    back = relaxation.start(situation, rows).back
    if (box := situation.box) is None:
        return Dual(back, None, None, None)
    count = len(rows.constant)
    free = torch.zeros_like(box.middle)
    share = box.bent.expand(count, -1).clone()
    return Dual(back, box.chord.clone(), free, share)


def multipliers(relaxation: Relaxation, situation: Situation, dual: Dual) -> Multipliers:
    """Return a dual as the multipliers that it stands for."""
    if situation.box is None or dual.slopes is None or dual.free is None or dual.share is None:
        return Multipliers(dual.back)
    slant = relaxation.slant(dual.slopes) + dual.free
    share = dual.share.clamp(0, 1) * situation.box.bent
    return Multipliers(dual.back, Slanted(slant, relaxation.intercept(situation.box, slant), share))


def descend(relaxation: Relaxation, situation: Situation, rows: Rows, start: Dual, effort: Effort) -> Descended:
    """Lower the bounds of rows, each with slanted bounds of its own; stop early when all are negative."""
    scales = _scales(relaxation, situation, rows, start)
    moved = {index: torch.zeros_like(back, requires_grad=True) for index, back in start.back.items()}
    groups = [{"params": list(moved.values()), "lr": _RATE_BACK}]
    slopes, free, share = start.slopes, start.free, start.share
    slope_scale = free_scale = torch.zeros(())
    if situation.box is not None and slopes is not None and free is not None and share is not None:
        slant = (relaxation.slant(slopes) + free).abs()
        free_scale = 0.7 * slant + 0.3 * slant.mean(2, keepdim=True)
        slope_scale = 0.2 * situation.box.slope[..., None].expand_as(slopes)
        slopes, free, share = (
            torch.zeros_like(slopes, requires_grad=True),
            torch.zeros_like(free, requires_grad=True),
            share.clone().requires_grad_(),
        )
        groups += [{"params": [slopes, free], "lr": _RATE_SLANT}, {"params": [share], "lr": _RATE_SHARE}]

    def dual() -> Dual:
        back = {index: start.back[index] + scales[index] * moved[index] for index in moved}
        if slopes is None or free is None or start.slopes is None or start.free is None:
            return Dual(back, None, None, None)
        return Dual(back, start.slopes + slope_scale * slopes, start.free + free_scale * free, share)

    optimizer = torch.optim.Adam(groups, betas=_MOMENTA)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, effort.decay ** (1 / max(1, effort.steps)))
    best, least = _detached(start), torch.full_like(rows.constant, torch.inf)
    primal: dict[int, Tensor] = {}
    coefficients: dict[int, Tensor] = {}
    averaged = 0
    for step in range(effort.steps + 1):
        now = dual()
        found = relaxation.bound(situation, rows, multipliers(relaxation, situation, now))
        late = step >= effort.steps - effort.steps // 3 - 1
        if late:
            for tensor in found.coefficients.values():
                if tensor.requires_grad:
                    tensor.retain_grad()
        optimizer.zero_grad()
        found.bound.sum().backward()
        better = found.bound.detach() < least
        best, least = _chosen(better, now, best), torch.minimum(least, found.bound.detach())
        coefficients = {value: tensor.detach() for value, tensor in found.coefficients.items()}
        if late:
            averaged += 1
            for value, tensor in found.coefficients.items():
                if tensor.requires_grad and tensor.grad is not None:
                    primal[value] = primal[value] + tensor.grad if value in primal else tensor.grad.clone()
        if (least < 0).all() or time.monotonic() > effort.deadline:
            break
        optimizer.step()
        schedule.step()
        if share is not None:
            with torch.no_grad():
                share.clamp_(0, 1)
    primal = {value: total / max(1, averaged) for value, total in primal.items()}
    return Descended(best, least, primal, coefficients)


def descend_under(
    relaxation: Relaxation, situation: Situation, rows: Rows, claim: Rows, proof: Dual, effort: Effort
) -> tuple[Dual, Tensor]:
    """Lower the bounds of N rows on the part of one sub-problem where a claim's form is not negative (INVPROP: Kotha
    et al., NeurIPS 2023): a multiple of the form, with a free factor, is added to each row.

    `proof` is the claim's own dual: its slanted bounds serve all rows, and multiples of its multipliers are where the
    rows start.  Returns the rows' duals and the factors [N].
    """
    count = len(rows.constant)
    base = relaxation.start(situation, rows).back
    slanted = multipliers(relaxation, situation, proof).slanted
    factor = torch.full((count, 1), 0.3, requires_grad=True)
    moved, scales = {}, {}
    for index, back in proof.back.items():
        moved[index] = torch.zeros(count, back.shape[1], requires_grad=True)
        scales[index] = 0.3 * back.abs() + 0.1 * back.abs().mean()
        if index in base:
            scales[index] = scales[index] + 0.3 * base[index].abs() + 0.1 * base[index].abs().mean(1, keepdim=True)
    params = [factor, *moved.values()]
    share = None
    if slanted is not None:
        share = slanted.share.expand(count, -1).clone().requires_grad_()
        params.append(share)
    optimizer = torch.optim.Adam(params, lr=_RATE_BACK, betas=(0.8, 0.98))
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, effort.decay ** (1 / max(1, effort.steps)))

    def dual() -> Dual:
        back = {
            index: factor * proof.back[index] + scales[index] * moved[index] + (base[index] if index in base else 0)
            for index in moved
        }
        return Dual(back, proof.slopes, proof.free, share)

    best = _detached(dual())
    kept, least = factor.detach().clone(), torch.full_like(rows.constant, torch.inf)
    for step in range(effort.steps + 1):
        now = dual()
        added = dict(rows.start)
        for value, row in claim.start.items():
            added[value] = added[value] + factor * row if value in added else factor * row
        together = Rows(added, rows.constant + factor[:, 0] * claim.constant)
        own = Multipliers(now.back)
        if slanted is not None and share is not None and situation.box is not None:
            own = Multipliers(
                now.back, Slanted(slanted.slant, slanted.intercept, share.clamp(0, 1) * situation.box.bent)
            )
        found = relaxation.bound(situation, together, own).bound
        with torch.no_grad():
            better = found < least
            best, kept = _chosen(better, now, best), torch.where(better[:, None], factor, kept)
            least = torch.minimum(least, found)
        if step == effort.steps or time.monotonic() > effort.deadline:
            break
        optimizer.zero_grad()
        found.sum().backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            factor.clamp_(min=0)
            if share is not None:
                share.clamp_(0, 1)
    return best, kept[:, 0]


def _scales(relaxation: Relaxation, situation: Situation, rows: Rows, start: Dual) -> dict[int, Tensor]:
    """Return by how much multipliers may move in one step, relative to the rates: as much as matters to the bound."""
    with torch.no_grad():
        met = relaxation.bound(situation, rows, multipliers(relaxation, situation, start)).coefficients
    scales = {}
    for index, back in start.back.items():
        size = met[index + 1].abs()
        size = torch.maximum(size, 0.3 * size.mean(1, keepdim=True))
        if index in situation.lines:
            lines = situation.lines[index]
            rise = (lines.y[:, 3] - lines.y[:, 0]) / (lines.x[:, 3] - lines.x[:, 0]).clamp(min=1)
            slope = torch.maximum(lines.above, rise)
            scales[index] = size * torch.maximum(slope, 0.1 * slope.mean(1, keepdim=True))
        else:
            repeat = back.shape[1] // size.shape[1]
            scales[index] = size.repeat_interleave(repeat, dim=1)
    return scales


def _chosen(better: Tensor, new: Dual, old: Dual) -> Dual:
    """Return the new rows where they are better."""

    def pick(first: Tensor | None, second: Tensor | None) -> Tensor | None:
        if first is None or second is None or len(first) != len(better):
            return first if first is None else first.detach()
        return torch.where(better.reshape(-1, *[1] * (first.dim() - 1)), first.detach(), second)

    back = {}
    for index in new.back:
        chosen = pick(new.back[index], old.back[index])
        assert chosen is not None
        back[index] = chosen
    return Dual(back, pick(new.slopes, old.slopes), pick(new.free, old.free), pick(new.share, old.share))


def _detached(dual: Dual) -> Dual:
    def one(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.detach().clone()

    back = {index: tensor.detach().clone() for index, tensor in dual.back.items()}
    return Dual(back, one(dual.slopes), one(dual.free), one(dual.share))
