"""Joint bounds: several units that read the same few inputs, bounded together by one form in the inputs.

The channels y_c = f_c(max_i u_ci(x)) of one place of a convolution read the same patch of x.  Bounds of each of them
add up to

    sum_c a_c * y_c <= slant . x + k

but hardly any x attains all of them at once: what lifts one channel lets another one fall.  Here k is such that the sum
holds in every combination of the units' cases (`bvverify.bounds.groups`; disjunctive programming: Balas, "Disjunctive
programming", 1979; for ReLUs, Singh et al., "Beyond the single neuron convex barrier", NeurIPS 2019).  In each of them
every unit has a line, whose steepness is free, and the sum of the lines is bounded on the box.

Lines pay for every level that rounding may give; the envelopes of single units know it better
(`bvverify.bounds.envelope`).  So a share of each coefficient goes through joint bounds, and the rest through those.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bvverify.bounds.groups import Groups

FIRST_SHARE = 0.9
"""How much of each coefficient goes through these bounds at first."""


@dataclass(frozen=True, eq=False)
class JointUnits:
    """Groups as tensors; see `Groups`."""

    groups: Groups
    inputs: Tensor
    """[G, P]: network inputs, 0 where there are fewer."""
    read: Tensor
    """[G, P]: 1 where there is an input."""
    elements: Tensor
    """[G * C]"""
    sign: Tensor
    """[G, C]"""
    group: Tensor
    cases: Tensor
    """[G, K]: the cases of each group; its first one again where it has fewer."""
    steep: Tensor
    """[T, C, F]: 1 or 0."""
    weight: Tensor
    """[T, C * F, P], with the sign."""
    offset: Tensor
    """[T, C * F], with the sign."""
    size: Tensor
    """[G, C]: the coefficients that joint bounds are made for."""
    slope: Tensor
    """[T, C, F]: the steepness of staircases times these coefficients, for the sums of each case."""
    network_inputs: int

    @classmethod
    def of(cls, groups: Groups, row: Tensor, slope: Tensor, *, network_inputs: int) -> "JointUnits":
        """Return the tensors of groups, for coefficients like those of `row` [elements]; `slope` [U]: those of the
        units' staircases.
        """
        device = row.device
        places = [np.flatnonzero(groups.group == group) for group in range(len(groups.units))]
        most = max(map(len, places))
        cases = np.stack([np.pad(held, (0, most - len(held)), constant_values=held[0]) for held in places])

        def real(array: np.ndarray) -> Tensor:
            return torch.tensor(array, dtype=torch.float32, device=device)

        group, elements = (torch.tensor(array, device=device) for array in (groups.group, groups.elements))
        size = row[elements].abs() * real(np.abs(groups.sign))
        steepest = size * slope[torch.tensor(groups.units, device=device)]
        return cls(
            groups,
            torch.tensor(np.maximum(groups.inputs, 0), device=device),
            real(groups.inputs >= 0),
            elements.reshape(-1),
            real(groups.sign),
            group,
            torch.tensor(cases, device=device),
            real(groups.steep),
            real(groups.weight).flatten(1, 2)[group],
            real(groups.offset).flatten(1)[group],
            size,
            steepest[group][..., None] * real(groups.steep),
            network_inputs,
        )

    def greatest(self, cases: Tensor) -> Tensor:
        """Return the greatest of what belongs to the cases of each group, [T, ...] as [G, ...]."""
        return cases[self.cases].amax(1)

    def coefficients(self, row: Tensor) -> Tensor:
        """Return the coefficients [N, G, C] of the units in rows [N, elements], those that have the groups' signs."""
        return (row[:, self.elements].reshape(len(row), *self.sign.shape) * self.sign).clamp(min=0)


@dataclass(frozen=True, eq=False)
class Joint:
    """Joint bounds as descents carry them on, for rows with the coefficients `JointUnits.size`.

    `slant` [A, G, P]; the steepness of lines is `common` [A, G, C, F] plus `own` [A, T, C, F], where the sums of a case
    have one; `share` [N, G], how much of each coefficient goes through the bounds.  A is 1 or N.
    """

    units: JointUnits
    slant: Tensor
    common: Tensor
    own: Tensor
    share: Tensor

    @classmethod
    def first(cls, units: JointUnits, single: Tensor) -> "Joint":
        """Return lines along the stairs, from below a mixture of all sums, for what slants of single units [G, C,
        inputs of a unit] add up to.
        """
        groups, places = units.groups, torch.tensor(units.groups.places, device=single.device).flatten(1)
        slant = single.new_zeros(len(places), groups.inputs.shape[1] + 1)
        slant = slant.scatter_add(1, places, (single * units.size[..., None]).flatten(1))[:, :-1]
        among = units.steep.sum(2, keepdim=True).clamp(min=1)
        share = torch.full((1, len(slant)), FIRST_SHARE, device=slant.device)
        return cls(
            units, slant[None], units.greatest(units.slope / among)[None], torch.zeros_like(units.slope)[None], share
        )

    def scales(self) -> "Joint":
        """Return by how much each number may move in one step, relative to the rates."""
        size, slope = self.slant.abs(), 0.4 * self.units.slope
        return Joint(
            self.units,
            0.7 * size + 0.3 * size.mean(2, keepdim=True),
            self.units.greatest(slope).expand_as(self.common),
            slope.expand_as(self.own),
            torch.ones_like(self.share),
        )

    @property
    def steepness(self) -> Tensor:
        """The steepness of the lines in each case, [A, T, C, F], not negative."""
        return ((self.common[:, self.units.group] + self.own) * self.units.steep).clamp(min=0)

    def tensors(self) -> list[Tensor]:
        """Return what descents move."""
        return [self.slant, self.common, self.own, self.share]

    def like(self, tensors: Iterator[Tensor]) -> "Joint":
        """Return the same with other tensors."""
        return Joint(self.units, *(next(tensors) for _ in range(4)))

    def around(self, middle: Tensor, radius: Tensor, above: tuple[Tensor, Tensor]) -> "Joined":
        """Return the bounds on boxes [S, inputs], given the points (x, y) of the units' hulls, [S, points, U] each."""
        units, groups = self.units, self.units.groups
        members = torch.tensor(groups.units[groups.group])  # [T, C]
        points = torch.tensor(groups.points).permute(2, 0, 1)  # [points, T, C]
        x, y = (units.sign[units.group] * hull[:, points, members] for hull in above)
        share = self.share.clamp(0, 1)
        return Joined(
            units,
            self.slant * units.read,
            self.steepness,
            share,
            middle[:, units.inputs],
            radius[:, units.inputs],
            x,
            y,
        )


@dataclass(frozen=True, eq=False)
class Joined:
    """Joint bounds around S sub-problems; S is 1 or N.

    `slant` [A, G, P], `steepness` [A, T, C, F] and `share` [N, G] as in `Joint`, clipped to what is valid; `middle` and
    `radius` [S, G, P] of the inputs, `x` and `y` [S, points, T, C] of the units' hulls, with the sign.
    """

    units: JointUnits
    slant: Tensor
    steepness: Tensor
    share: Tensor
    middle: Tensor
    radius: Tensor
    x: Tensor
    y: Tensor

    def through(self, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is left of rows [N, elements], constants [N], and forms [N, inputs] in the network's inputs."""
        units = self.units
        over = units.coefficients(row) * self.share[..., None]
        factor = over.sum(2) / units.size.sum(1)
        slant = factor[..., None] * self.slant
        with torch.no_grad():
            every = slice(None), units.group
            chosen = self._greatest(over[every], factor[every], slant[every])
        constant = self._constant(over, factor, slant, chosen).sum(1)
        left = row.index_add(1, units.elements, (over * units.sign).flatten(1), alpha=-1)
        forms = row.new_zeros(len(row), units.network_inputs)
        return left, constant, forms.index_add(1, units.inputs.flatten(), slant.flatten(1))

    def _greatest(self, over: Tensor, factor: Tensor, slant: Tensor) -> Tensor:
        """Return the case of each group in which the forms are greatest, [N, G]."""
        units = self.units
        steepness = factor[..., None, None] * self.steepness
        total = steepness.sum(3)[:, None]
        corners = (over[:, None] * self.y - total * self.x).amax(1).sum(2)
        steepness = steepness.flatten(2)
        form = torch.einsum("ntk,tkp->ntp", steepness, units.weight) - slant
        middle, radius = (end[:, units.group] for end in (self.middle, self.radius))
        reached = corners + (steepness * units.offset).sum(2) + (form * middle).sum(2) + (form.abs_() * radius).sum(2)
        return units.cases[torch.arange(len(units.cases)), reached[:, units.cases].argmax(2)]

    def _constant(self, over: Tensor, factor: Tensor, slant: Tensor, chosen: Tensor) -> Tensor:
        """Return the greatest values of the forms in one case of each group, [N, G]."""
        units, rows, problems = self.units, torch.arange(len(self.steepness)), torch.arange(len(self.x))
        steepness = factor[..., None, None] * self.steepness[rows[:, None], chosen]
        total = steepness.sum(3)[:, None]
        x, y = (points[problems[:, None], :, chosen].transpose(1, 2) for points in (self.x, self.y))
        corners = (over[:, None] * y - total * x).amax(1).sum(2)
        steepness = steepness.flatten(2)
        form = (steepness[..., None] * units.weight[chosen]).sum(2) - slant
        reached = corners + (steepness * units.offset[chosen]).sum(2)
        return reached + (form * self.middle).sum(2) + (form.abs() * self.radius).sum(2)
