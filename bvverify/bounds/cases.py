"""Bounds case by case: what holds of a unit behind other units both if it stays at its lowest level and if it rises.

A unit y = f(u) reads a sum u of other units' results.  For any linear form F in the inputs and in the results behind it

    y <= F + k

holds if it holds in two cases (disjunctive programming: Balas, "Disjunctive programming", 1979).  As long as the
staircase f has not risen, y is its lowest level l, and k >= l - F is needed.  From there on y is at most c + m * u, the
line with steepness m through a corner above the stairs, and k >= c + m * u - F is needed.  Either form is bounded by
going back through the layers, with multipliers of its own; a part of u's coefficient may be left to the interval that u
has in this case.

With F a line in u, and u left to its intervals, the two cases make the chord; so nothing is lost against lines.
With all coefficients free they are the hull of the two cases, each of them relaxed as the layers behind are: the unit
knows which inputs, and which results of other units, go together with its rise.

Case by case, bounds serve one sub-problem: their intercepts k depend on its intervals.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bvverify.bounds.envelope import Side
from bvverify.bounds.multipliers import Cased, Multipliers, Slanted
from bvverify.bounds.relaxation import Relaxation, Rows
from bvverify.bounds.situation import Situation
from bvverify.bounds.sums import nonlinear_behind, sums_of


@dataclass(frozen=True, eq=False)
class Cases:
    """Bounds of J units as descents carry them on, for one row; see `Cased`.

    `forms` [1, J, elements] per value behind; `steepness` [1, J], `rest` [1, 2, J]; `below` [1, 1, elements] per node
    behind: slopes of lines below for the forms of the two cases.  `weights` and `offset`, which stay, are those of
    the units' sums.
    """

    elements: Tensor
    weights: Mapping[int, Tensor]
    offset: Tensor
    forms: dict[int, Tensor]
    steepness: Tensor
    rest: Tensor
    below: dict[int, Tensor]

    def tensors(self) -> list[Tensor]:
        """Return what descents move."""
        return [*self.forms.values(), self.steepness, self.rest, *self.below.values()]

    def like(self, tensors: Iterator[Tensor]) -> "Cases":
        """Return the same with other tensors."""
        forms = {value: next(tensors) for value in self.forms}
        steepness, rest = next(tensors), next(tensors)
        below = {index: next(tensors) for index in self.below}
        return replace(self, forms=forms, steepness=steepness, rest=rest, below=below)

    def only(self, kept: Tensor) -> "Cases":
        """Return some of the units, marked bool [J]."""
        return replace(
            self,
            elements=self.elements[kept],
            weights={value: rows[kept] for value, rows in self.weights.items()},
            offset=self.offset[kept],
            forms={value: form[:, kept] for value, form in self.forms.items()},
            steepness=self.steepness[:, kept],
            rest=self.rest[:, :, kept],
        )


def first_cases(relaxation: Relaxation, situation: Situation, value: int, elements: Tensor, through: Tensor) -> Cases:
    """Return lines with slopes `through` [J] above some units of a value, as bounds case by case."""
    network, lines, count = relaxation.network, situation.lines[value - 1], len(elements)
    x, y = lines.x[0][:, elements], lines.y[0][:, elements]
    (source,) = network.nodes[value - 1].inputs
    sums = sums_of(network, source, elements.cpu().numpy())
    weights = {behind: relaxation.tensor(rows) for behind, rows in sums.weights.items()}
    forms = {
        behind: through[:, None] * weights[behind]
        if behind in weights
        else torch.zeros(count, network.values[behind].lower.size, device=relaxation.device)
        for behind in nonlinear_behind(network, value)
    }
    below = {index: held.below[:1, None].clone() for index, held in situation.lines.items() if index + 1 in forms}
    return Cases(
        elements,
        weights,
        relaxation.tensor(sums.offset),
        {behind: form[None] for behind, form in forms.items()},
        ((y[2] - y[1]) / (x[2] - x[1]).clamp(min=1))[None],
        torch.zeros(1, 2, count, device=relaxation.device),
        below,
    )


def scales(relaxation: Relaxation, situation: Situation, value: int, cases: Cases) -> Cases:
    """Return by how much each number may move in one step, relative to the rates."""
    lines = situation.lines[value - 1]
    x, y = lines.x[0][:, cases.elements], lines.y[0][:, cases.elements]
    rise = (y[3] - y[0]) / (x[3] - lines.turn[0][cases.elements]).clamp(min=1)
    with torch.no_grad():
        rows = Rows({behind: rise[:, None] * held for behind, held in cases.weights.items()}, rise * cases.offset)
        met = relaxation.bound(situation, rows, Multipliers({})).coefficients
    sizes = {
        behind: met[behind].abs() if behind in met else torch.zeros_like(form[0])
        for behind, form in cases.forms.items()
    }
    return replace(
        cases,
        forms={behind: (0.7 * size + 0.3 * size.mean(1, keepdim=True))[None] for behind, size in sizes.items()},
        steepness=rise[None],
        rest=rise.expand(1, 2, -1),
        below={index: situation.lines[index].above[:1, None].expand_as(below) for index, below in cases.below.items()},
    )


def cased(
    relaxation: Relaxation,
    situation: Situation,
    cases: Mapping[int, Cases],
    slanted: dict[Side, Slanted],
    *,
    heat: float = 0.0,
) -> dict[int, Cased]:
    """Return the bounds that cases stand for, each with the bounds of the values behind it; see
    `Relaxation.case_by_case`.
    """
    made: dict[int, Cased] = {}
    for value in sorted(cases):
        held = cases[value]
        behind = Multipliers({}, slanted, dict(made)).for_each(2 * len(held.elements))
        made[value] = relaxation.case_by_case(
            situation,
            value,
            held.elements,
            sums=(held.weights, held.offset),
            forms={number: form[0] for number, form in held.forms.items()},
            steepness=held.steepness[0].clamp(min=0),
            rest=held.rest[0],
            given=replace(behind, below={index: slopes[0] for index, slopes in held.below.items()}),
            heat=heat,
        )
    return made
