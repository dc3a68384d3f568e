"""Bounds case by case: what holds of a unit behind other units both if it stays at its lowest level and if it rises.

A unit y = f(u(x)) reads a sum u of other units' results.  For any numbers a, b and any k,

    y <= b * u + a . x + k

holds if it holds in two cases (disjunctive programming: Balas, "Disjunctive programming", 1979).  As long as the
staircase f has not risen, y is its lowest level l, and k >= l - b * u - a . x is needed.  From there on y is at most
c + m * u, the line with steepness m through a corner above the stairs, and k >= c + (m - b) * u - a . x is needed.
Either form in u and x is bounded by going back through the layers, with multipliers of its own; a part of u's
coefficient may stay with the interval that u has in this case.  With a = 0 and all of u left to the intervals, the two
cases make the chord, so these bounds are never worse than lines; with a they know that a box of inputs cannot push all
units to the middle of their chords at once.

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

FIRST_SHARE = 0.9
"""How much of each coefficient goes through these bounds at first."""


@dataclass(frozen=True, eq=False)
class Cases:
    """Bounds of J units as descents carry them on, for one row; see `Cased`.

    `through`, `steepness` and `share` [1, J], `slant` [1, J, inputs], `kept` [1, 2, J]; `below` [1, 2 * J, elements]
    per node behind: slopes of lines below for the forms of the two cases.
    """

    elements: Tensor
    through: Tensor
    slant: Tensor
    steepness: Tensor
    kept: Tensor
    share: Tensor
    below: dict[int, Tensor]

    def tensors(self) -> list[Tensor]:
        """Return what descents move."""
        return [self.through, self.slant, self.steepness, self.kept, self.share, *self.below.values()]

    def like(self, tensors: Iterator[Tensor]) -> "Cases":
        """Return the same with other tensors."""
        through, slant, steepness, kept, share = (next(tensors) for _ in range(5))
        below = {index: next(tensors) for index in self.below}
        return Cases(self.elements, through, slant, steepness, kept, share, below)


def first_cases(relaxation: Relaxation, situation: Situation, value: int, elements: Tensor, through: Tensor) -> Cases:
    """Return lines with slopes `through` [J] above some units of a value, as bounds case by case."""
    lines, count = situation.lines[value - 1], len(elements)
    x, y = lines.x[0][:, elements], lines.y[0][:, elements]
    steepness = (y[2] - y[1]) / (x[2] - x[1]).clamp(min=1)
    inputs = situation.middle.shape[1]
    below = {
        index: behind.below[:1, None].expand(1, 2 * count, -1).clone()
        for index, behind in situation.lines.items()
        if index < value - 1
    }
    return Cases(
        elements,
        through[None],
        torch.zeros(1, count, inputs, device=relaxation.device),
        steepness[None],
        torch.zeros(1, 2, count, device=relaxation.device),
        torch.full((1, count), FIRST_SHARE, device=relaxation.device),
        below,
    )


def scales(relaxation: Relaxation, situation: Situation, value: int, cases: Cases) -> Cases:
    """Return by how much each number may move in one step, relative to the rates."""
    lines, places = situation.lines[value - 1], torch.arange(len(cases.elements))
    x, y = lines.x[0][:, cases.elements], lines.y[0][:, cases.elements]
    rise = (y[3] - y[0]) / (x[3] - lines.turn[0][cases.elements]).clamp(min=1)
    (source,) = relaxation.network.nodes[value - 1].inputs
    forms = torch.zeros(len(places), lines.x.shape[2], device=relaxation.device)
    forms[places, cases.elements] = rise
    with torch.no_grad():
        rows = Rows({source: forms}, torch.zeros(len(places), device=relaxation.device))
        met = relaxation.bound(situation, rows, Multipliers({})).coefficients[0].abs()
    return Cases(
        cases.elements,
        rise[None],
        (0.7 * met + 0.3 * met.mean(1, keepdim=True))[None],
        rise[None],
        rise.expand(1, 2, -1),
        torch.ones_like(cases.share),
        {index: situation.lines[index].above[:1, None].expand_as(below) for index, below in cases.below.items()},
    )


def cased(
    relaxation: Relaxation, situation: Situation, cases: Mapping[int, Cases], slanted: dict[Side, Slanted]
) -> dict[int, Cased]:
    """Return the bounds that cases stand for, each with the bounds of the values behind it."""
    made: dict[int, Cased] = {}
    for value in sorted(cases):
        held = cases[value]
        behind = Multipliers({}, slanted, dict(made)).for_each(2 * len(held.elements))
        below = {index: slopes[0] for index, slopes in held.below.items()}
        made[value] = relaxation.case_by_case(
            situation,
            value,
            held.elements,
            through=held.through[0],
            slant=held.slant[0],
            steepness=held.steepness[0].clamp(min=0),
            kept=held.kept[0],
            given=replace(behind, below=below),
            share=held.share.clamp(0, 1),
        )
    return made
