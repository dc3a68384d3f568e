"""The linear relaxation of a network around a box, as a function of multipliers, in floats.

Any linear form in a value of the network is bounded from above by going back to the input.  Where an affine operation
made a value, the form is substituted.  Where a non-linear one made y from x, the form a * y becomes b * x plus the
largest value of a * y - b * x on the hull of the operation's graph (`bvverify.bounds.hull`), with a multiplier b that
is free: every choice gives a valid bound, and the bound is convex in all multipliers together.  One multiplier thus
plays the parts of a line's slope (alpha-CROWN: Xu et al., ICLR 2021) and of the dual of a split (beta-CROWN: Wang et
al., NeurIPS 2021), because a split merely narrows an interval.

Units fed by the box have other bounds besides, linear in the inputs (see `bvverify.bounds.envelope`): y <= c . x + k
for any vector c, with a small k that is valid.  Units of later layers have bounds case by case, linear in the inputs
and in the results of all units behind them (see `bvverify.bounds.cases`).

Nothing here proves anything: `bvverify.bounds.certificate` evaluates the multipliers that were found in integers.
Tensors may live on any device of torch; rows and sub-problems are batched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bvverify.bounds.attained import intercept, on_box, on_hull
from bvverify.bounds.envelope import Envelope, Side
from bvverify.bounds.hull import NetworkHulls
from bvverify.bounds.multipliers import Cased, Multipliers
from bvverify.bounds.situation import Enveloped, Lines, Situation, Values, reads_all, situation_of
from bvverify.network import Affine, Gather, Max, Product


@dataclass(frozen=True, eq=False)
class Rows:
    """Linear forms, one per row, each over all values named: coefficients [N, elements], and constants [N]."""

    start: dict[int, Tensor]
    constant: Tensor


@dataclass(frozen=True, eq=False)
class _Units:
    """An envelope's units as tensors; see `bvverify.bounds.envelope`."""

    sign: int
    segments: int
    elements: Tensor
    sums: Tensor
    """[U, F, P]: the weights without the sign."""
    weight: Tensor
    """[U, alternatives, sums, P]"""
    offset: Tensor
    inputs: Tensor
    read: Tensor
    """[U, P]: 1 where there is an input, 0 where a unit has fewer."""
    size: int
    """Number of network inputs."""
    dense: bool
    """Whether every unit reads all inputs in their order."""


@dataclass(frozen=True, eq=False)
class Bounded:
    """Upper bounds [N] of rows, with what led to them."""

    bound: Tensor
    coefficients: dict[int, Tensor] = field(default_factory=dict)
    """The rows' coefficients in every value, where they met it; the input is value 0."""


class Relaxation:
    """The relaxation of one network."""

    def __init__(self, hulls: NetworkHulls, *, device: str = "cpu") -> None:
        self.hulls, self.network = hulls, hulls.network
        self.device = device
        self._weights = {
            index: (self.tensor(node.operation.weight), self.tensor(node.operation.offset))
            for index, node in enumerate(self.network.nodes)
            if isinstance(node.operation, Affine)
        }
        self._wires = {
            index: torch.tensor(node.operation.indices.reshape(-1), device=device)
            for index, node in enumerate(self.network.nodes)
            if isinstance(node.operation, Gather)
        }
        self._units = {side: self._as_tensors(envelope) for side, envelope in hulls.envelopes.items()}

    def situation(self, problems: Sequence[Values]) -> Situation:
        """Return the hulls of sub-problems, given the bounds of all values in each."""
        return situation_of(self.hulls, problems, device=self.device)

    def intercept(self, side: Side, around: Enveloped, slant: Tensor, steepness: Tensor) -> Tensor:
        """Return k [A, U] with sign * y <= slant . x + k on the box, for a slant [A, U, P] and a steepness >= 0 [A, U,
        segments, alternatives, sums].
        """
        units = self._units[side]
        return intercept(
            slant,
            steepness,
            weight=units.weight,
            offset=units.offset,
            corners=(around.x, around.y),
            middle=around.middle,
            radius=around.radius,
        )

    def slant(self, side: Side, slopes: Tensor, free: Tensor) -> Tensor:
        """Return the vectors [A, U, P] that add up the sums of each unit with slopes [A, U, F], plus `free`."""
        units = self._units[side]
        if units.sums.shape[1] == 1:
            slant = slopes * units.sums[:, 0]
        else:
            slant = torch.einsum("auf,ufp->aup", slopes, units.sums)
        return slant + free if units.dense else (slant + free) * units.read

    def start(self, situation: Situation, rows: Rows, given: Multipliers) -> dict[int, Tensor]:
        """Return the multipliers that CROWN would choose (Zhang et al., NeurIPS 2018) for what the given bounds of
        units leave.
        """
        return self._walk(situation, rows, Multipliers({}, given.slanted, given.cased, given.joined))[1]

    def bound(self, situation: Situation, rows: Rows, multipliers: Multipliers, *, watched: bool = False) -> Bounded:
        """Return upper bounds of the rows.

        The gradients in the coefficients that are returned are values at which the bounds are attained, if they are
        `watched`.
        """
        return self._walk(situation, rows, multipliers, watched=watched)[0]

    def case_by_case(
        self,
        situation: Situation,
        value: int,
        elements: Tensor,
        *,
        sums: tuple[Mapping[int, Tensor], Tensor],
        forms: dict[int, Tensor],
        steepness: Tensor,
        rest: Tensor,
        given: Multipliers,
        heat: float,
    ) -> Cased:
        """Return bounds of units of one sub-problem case by case; `given` are multipliers of the 2 * J rows that bound
        the two cases.

        The gradient is that of the greater case; with `heat`, a mixture of both, which wavers less while they are
        about equal: within that part of a unit's levels.
        """
        lines, (weights, offset) = situation.lines[value - 1], sums
        x, y, turn = lines.x[0][:, elements], lines.y[0][:, elements], lines.turn[0][elements]
        corner = torch.maximum(*(y[end] - steepness * x[end] for end in (1, 2)))
        through = torch.stack([torch.zeros_like(steepness), steepness]) - rest
        low, high = torch.stack([x[0], turn]), torch.stack([turn - 1, x[3]])
        beside = torch.maximum(rest * low, rest * high) + torch.stack([y[0], corner])
        start = {behind: -form.repeat(2, 1) for behind, form in forms.items()}
        for behind, held in weights.items():
            _add(start, behind, through.reshape(-1, 1) * held.repeat(2, 1))
        found, chosen = self._walk(situation, Rows(start, (through * offset).reshape(-1)), given)
        both = found.bound.reshape(2, -1) + beside
        intercept = both.amax(0)
        if heat:
            with torch.no_grad():
                share = torch.softmax(both / (heat * (y[3] - y[0]).clamp(min=1)), 0)
                greatest = intercept.clone()
            mixed = (share * both).sum(0)
            intercept = mixed + (greatest - mixed.detach())
        proof = Multipliers(chosen, given.slanted, given.cased)
        return Cased(elements, forms, steepness, rest, intercept, proof)

    def _walk(
        self, situation: Situation, rows: Rows, given: Multipliers, *, watched: bool = False
    ) -> tuple[Bounded, dict[int, Tensor]]:
        """Go back from the rows to the input; return the multipliers as well."""
        held, total = dict(rows.start), rows.constant
        met: dict[int, Tensor] = {}
        chosen = dict(given.back)
        for value in range(max(held), 0, -1):
            if (row := held.pop(value, None)) is None:
                continue
            # As a copy, its gradient is that of what follows alone.
            met[value] = row = row.clone() if watched else row
            row, constant = self._through_units(value, row, given, held)
            total = total + constant
            index, sources = value - 1, self.network.nodes[value - 1].inputs
            match self.network.nodes[index].operation:
                case Affine() as affine:
                    total = total + self._offset(index, row)
                    self._through_affine(index, affine, row, sources[0], held)
                    continue
                case Gather() as gather:
                    parts, constant = self._through_gather(index, gather, row)
                case Max():
                    if index not in chosen:
                        chosen[index] = _start_window(row, *situation.windows[index])
                    part, constant = _through_window(row, chosen[index], *situation.windows[index])
                    parts = [part]
                case Product():
                    if index not in chosen:
                        chosen[index] = _start_product(row, *situation.factors[index])
                    first, second = situation.factors[index]
                    parts = list(chosen[index].split(first.shape[2], dim=1))
                    ahead = parts[0][:, None] * first + parts[1][:, None] * second
                    constant = (row[:, None] * first * second - ahead).amax(1).sum(1)
                case _:
                    lines = situation.lines[index]
                    if index in chosen:
                        constant = on_hull(row, chosen[index], lines.x, lines.y).sum(1)
                    else:
                        chosen[index], constant = _along_lines(row, lines, given.below.get(index, lines.below))
                    parts = [chosen[index]]
            total = total + constant
            for source, part in zip(sources, parts, strict=True):
                _add(held, source, part)
        if 0 in held:
            met[0] = row = held[0].clone() if watched else held[0]
            total = total + on_box(row, situation.middle, situation.radius)
        return Bounded(total, met), chosen

    def _through_units(
        self, value: int, row: Tensor, given: Multipliers, held: dict[int, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return what bounds of units leave of rows over a value, and constants; add to `held` what they make of it."""
        total = row.new_zeros(())
        if value in given.joined:
            row, constant, forms = given.joined[value].through(row)
            total = total + constant
            _add(held, 0, forms)
        left = row
        for side in ((value, 1), (value, -1)):
            if side in given.slanted:
                units, bounds = self._units[side], given.slanted[side]
                part = (units.sign * row.index_select(1, units.elements)).relu() * bounds.share
                if len(bounds.intercept) == 1:
                    total = total + part @ bounds.intercept[0]
                else:
                    total = total + (part * bounds.intercept).sum(1)
                _spread(units, part, bounds.slant, held)
                left = left.index_add(1, units.elements, part, alpha=-units.sign)
        if value in given.cased:
            cases = given.cased[value]
            part = row.index_select(1, cases.elements).relu()
            total = total + part @ cases.intercept
            for behind, form in cases.forms.items():
                _add_product(held, behind, part, form)
            left = left.index_add(1, cases.elements, part, alpha=-1)
        return left, total

    def _through_affine(self, index: int, affine: Affine, row: Tensor, source: int, held: dict[int, Tensor]) -> None:
        groups, outputs, _ = affine.weight.shape
        weight = self._weights[index][0]
        if row.shape[1] == outputs:
            _add_product(held, source, row, weight[0])
            return
        parts = row.reshape(len(row), -1, groups, outputs)
        found = parts[:, :, 0] @ weight[0] if groups == 1 else torch.einsum("npgm,gmk->npgk", parts, weight)
        _add(held, source, found.reshape(len(row), -1))

    def _offset(self, index: int, row: Tensor) -> Tensor:
        offset = self._weights[index][1]
        return (row.reshape(len(row), -1, len(offset)) @ offset).sum(1)

    def _through_gather(self, index: int, gather: Gather, row: Tensor) -> tuple[list[Tensor], Tensor]:
        sizes = [self.network.values[source].lower.size for source in self.network.nodes[index].inputs]
        wires = self._wires[index]
        total = torch.zeros(len(row), sum(sizes) + 1, device=self.device)
        total = total.index_add(1, torch.where(wires < 0, sum(sizes), wires), row)
        return list(total[:, :-1].split(sizes, dim=1)), total[:, -1] * gather.padding

    def _as_tensors(self, envelope: Envelope) -> _Units:
        units = envelope.units
        size = self.network.values[0].lower.size
        return _Units(
            envelope.sign,
            envelope.segments,
            torch.tensor(units.elements, device=self.device),
            self.tensor(units.weight),
            self.tensor(envelope.weight),
            self.tensor(envelope.offset),
            torch.tensor(np.maximum(units.inputs, 0), device=self.device),
            self.tensor(units.inputs >= 0),
            size,
            reads_all(units, self.network),
        )

    def tensor(self, array: np.ndarray) -> Tensor:
        """Return an array as a float tensor on the relaxation's device."""
        return torch.tensor(np.asarray(array), dtype=torch.float32, device=self.device)


def _spread(units: _Units, part: Tensor, slant: Tensor, held: dict[int, Tensor]) -> None:
    """Add to the coefficients in the inputs what part [N, U] times slant [A, U, P] makes."""
    if not units.dense:
        weighted = (part[..., None] * slant).reshape(len(part), -1)
        spread = torch.zeros(len(part), units.size, device=part.device)
        _add(held, 0, spread.index_add(1, units.inputs.reshape(-1), weighted))
    elif len(slant) == 1:
        _add_product(held, 0, part, slant[0])
    else:
        _add(held, 0, torch.einsum("nu,nup->np", part, slant))


def _along_lines(row: Tensor, lines: Lines, below: Tensor) -> tuple[Tensor, Tensor]:
    """Return multipliers of rows [N, elements] along lines above, and lines below with slopes [1 or N, elements], and
    the constants [N].
    """
    over = row.relu()
    under = row - over
    back = torch.addcmul(under * below, over, lines.above)
    if len(row) > 1 and len(lines.x) == len(below) == 1:
        one = torch.ones_like(below)
        above, under_line = on_hull(one, lines.above, lines.x, lines.y), on_hull(-one, -below, lines.x, lines.y)
        return back, over @ above[0] - under @ under_line[0]
    return back, on_hull(row, back, lines.x, lines.y).sum(1)


def _add(held: dict[int, Tensor], value: int, part: Tensor) -> None:
    held[value] = held[value] + part if value in held else part


def _add_product(held: dict[int, Tensor], value: int, rows: Tensor, matrix: Tensor) -> None:
    held[value] = torch.addmm(held[value], rows, matrix) if value in held else rows @ matrix


def _start_window(row: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return multipliers [N, places * window] of a maximum: above, the chord of max(x, m) in the element x that reaches
    highest, where m is what the others do not exceed; below, the element with the greatest lower end.
    """
    over, under = high.argmax(2, keepdim=True), low.argmax(2, keepdim=True)
    first, last = low.gather(2, over), high.gather(2, over)
    others = high.scatter(2, over, -torch.inf).amax(2, keepdim=True)
    slope = (last - torch.maximum(first, others)) / (last - first).clamp(min=1)
    above = torch.zeros_like(low).scatter(2, over, slope.clamp(min=0))
    below = torch.zeros_like(low).scatter(2, under, 1.0)
    return torch.where(row[..., None] > 0, row[..., None] * above, row[..., None] * below).flatten(1)


def _through_window(row: Tensor, back: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the row in the elements of each window and what is added to the constant.

    Where the coefficient a is positive, a * max(x) is a times one element; multipliers outside [0, a] are of no use.
    Where it is negative, a * max(x) is at most any mixture of the elements with negative weights that add up to a: the
    multipliers are brought to that form.
    """
    windows = back.reshape(*row.shape, -1)
    mixture = windows.clamp(max=0)
    total = mixture.sum(2, keepdim=True)
    alone = row[..., None] * torch.zeros_like(low).scatter(2, low.argmax(2, keepdim=True), 1.0)
    mixture = torch.where(total < 0, mixture * (row[..., None] / total.clamp(max=-1e-30)), alone)
    above = torch.minimum(windows.clamp(min=0), row[..., None])
    windows = torch.where(row[..., None] > 0, above, mixture)
    each = row[..., None, None] * torch.eye(windows.shape[2], device=row.device) - windows[:, :, None, :]
    reached = (each.clamp(min=0) * high[:, :, None] + each.clamp(max=0) * low[:, :, None]).sum(3).amax(2)
    return windows.flatten(1), torch.where(row > 0, reached, 0).sum(1)


def _start_product(row: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return multipliers [N, 2 * elements] of a product: McCormick's planes."""
    low, second_low, second_high = first[:, 0], second[:, 0], second[:, 1]
    by_first = torch.where(row > 0, row * second_high, row * second_low)
    return torch.cat([by_first, row * low], dim=1)
