"""Bounds of a claim: multipliers that floats look for, and what integers prove with them."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bvverify.bounds.cases import first_cases
from bvverify.bounds.certificate import Certifier, IntegerRows
from bvverify.bounds.descent import Descended, Dual, Effort, descend, first_dual, multipliers, slanted
from bvverify.bounds.groups import groups_of
from bvverify.bounds.joint import Joint, JointUnits
from bvverify.bounds.multipliers import Multipliers, integer_multipliers
from bvverify.bounds.relaxation import Relaxation, Rows
from bvverify.bounds.situation import Situation
from bvverify.network import IntArray
from bvverify.search.claims import Claim
from bvverify.search.subproblem import Subproblem

UNIT_BITS = 36
"""Bits of the integers that one output level of a certified row is."""
_SCALES = (UNIT_BITS, 30, 24)
"""Tried in turn until 64 bits suffice."""
_EXACT_INT = 1 << 62
FLAT = 0.75
"""Staircases with a longer flat part than this many levels are worth more work."""


class ClaimBounds:
    """Bounds of one claim on sub-problems of one network."""

    def __init__(self, relaxation: Relaxation, claim: Claim) -> None:
        self.relaxation, self.claim = relaxation, claim
        self._row = as_tensor(claim.row / claim.unit)[None]
        self._constant = (claim.constant - claim.threshold) / claim.unit
        self._largest = max(abs(claim.constant - claim.threshold), *map(abs, claim.row.tolist()))

    def rows(self, count: int) -> Rows:
        return Rows({self.claim.value: self._row.expand(count, -1)}, torch.full((count,), self._constant))

    def add_cases(self, problem: Subproblem) -> bool:
        """Let units of later layers be bounded case by case, where the claim pushes them up and they need not rise;
        return whether there are any.  Their bounds are those that the problem's dual stands for.
        """
        assert problem.dual is not None
        assert problem.found is not None
        situation = self.relaxation.situation([problem.values])
        back, cases = dict(problem.dual.back), {}
        for index in sorted(back):
            maker = self.relaxation.hulls.makers.get(index)
            if maker is None or not maker.stairs or index in self.relaxation.hulls.fed_by_box:
                continue
            row = problem.found.coefficients[index + 1]
            (elements,) = torch.nonzero((row > 0) & self._stays_or_rises(situation, index), as_tuple=True)
            if not len(elements):
                continue
            through = (back[index][0, elements] / row[elements]).clamp(min=0)
            cases[index + 1] = first_cases(self.relaxation, situation, index + 1, elements, through)
            back[index] = back[index].index_fill(1, elements, 0.0)
        problem.dual = replace(problem.dual, back=back, cases=cases)
        return bool(cases)

    def drop_cases(self, problem: Subproblem) -> None:
        """Let lines bound those units again that only stay, or only rise, on a part that has become smaller."""
        assert problem.dual is not None
        assert problem.found is not None
        situation = self.relaxation.situation([problem.values])
        back, cases = dict(problem.dual.back), {}
        for value, held in problem.dual.cases.items():
            kept = self._stays_or_rises(situation, value - 1)[held.elements]
            dropped = held.elements[~kept]
            lines, row = situation.lines[value - 1], problem.found.coefficients[value]
            through = row[dropped].relu() * lines.above[0, dropped]
            back[value - 1] = back[value - 1].index_add(1, dropped, through[None])
            if kept.any():
                cases[value] = held.only(kept)
        problem.dual = replace(problem.dual, back=back, cases=cases)

    def _stays_or_rises(self, situation: Situation, index: int) -> Tensor:
        """Return which units of a staircase have a long flat part at their lowest level, and rise after it."""
        lines, maker = situation.lines[index], self.relaxation.hulls.makers[index]
        slopes = as_tensor(np.nan_to_num(maker.slopes(lines.x.shape[2]), posinf=1.0))
        return ((lines.turn[0] - lines.x[0, 0]) * slopes > FLAT) & (lines.turn[0] <= lines.x[0, 3])

    def add_joints(self, problem: Subproblem) -> bool:
        """Let units that read the same few inputs be bounded together; return whether there are any."""
        assert problem.dual is not None
        assert problem.found is not None
        relaxation = self.relaxation
        situation, joints = relaxation.situation([problem.values]), {}
        with torch.no_grad():
            single = slanted(relaxation, situation, problem.dual.slants)
        for value in sorted({value for value, _ in single} & problem.found.coefficients.keys()):
            row = problem.found.coefficients[value]
            groups = groups_of(relaxation.hulls, value, problem.values, row.numpy())
            if groups is None:
                continue
            slope, inputs = situation.envelopes[value, 1].slope[0], situation.middle.shape[1]
            units = JointUnits.of(groups, row, slope, network_inputs=inputs)
            above, below = (single[value, sign].slant[0][torch.tensor(groups.units)] for sign in (1, -1))
            joints[value] = Joint.first(units, torch.where(units.sign[..., None] > 0, above, below))
        if joints:
            dual = replace(problem.dual, joints=joints)
            given = multipliers(relaxation, situation, dual)
            with torch.no_grad():
                start = relaxation.start(situation, self.rows(1), given)
            first = min(joints)
            back = {index: start[index] if index < first else held for index, held in dual.back.items()}
            problem.dual = replace(dual, back=back)
        return bool(joints)

    def descend(self, problems: list[Subproblem], effort: Effort) -> dict[int, Tensor]:
        """Lower the bounds of sub-problems, and close those that integers exclude; return the values [N, elements] at
        which the bounds are attained.
        """
        if len(problems) > 1 and any(problem.dual is not None and problem.dual.cases for problem in problems):
            # Bounds case by case belong to one sub-problem.
            each = [self.descend([problem], effort) for problem in problems]
            return {value: torch.cat([primal[value] for primal in each]) for value in each[0]}
        situation = self.relaxation.situation([problem.values for problem in problems])
        rows = self.rows(len(problems))
        duals = [problem.dual for problem in problems if problem.dual is not None]
        start = Dual.stack(duals) if duals else first_dual(self.relaxation, situation, rows)
        found = descend(self.relaxation, situation, rows, start, effort)
        for index, problem in enumerate(problems):
            problem.dual = found.dual.row(index)
            # What was proved of the whole holds of a part.
            problem.bound = min(problem.bound, float(found.bound[index]))
            problem.found = Descended(
                problem.dual,
                found.bound[index : index + 1],
                {value: tensor[index] for value, tensor in found.primal.items()},
                {value: tensor[index] for value, tensor in found.coefficients.items()},
            )
            if float(found.bound[index]) < 0:
                problem.closed = self._certified(problem)
        return found.primal

    def _certified(self, problem: Subproblem) -> bool:
        """Return whether integers confirm that the claim does not hold."""
        claimed = self.certified_form(problem)
        if claimed is None:
            return False
        form, constant = claimed
        low, high = (end.reshape(-1).tolist() for end in problem.values[0])
        ends = zip(form.tolist(), low, high, strict=True)
        return bool(constant + sum(factor * (most if factor > 0 else least) for factor, least, most in ends) < 0)

    def certified_form(self, problem: Subproblem) -> tuple[IntArray, int] | None:
        """Return a linear form in the inputs, coefficients int64 and constant, that is not negative wherever the claim
        holds; None if 64 bits do not suffice.
        """
        assert problem.dual is not None
        situation = self.relaxation.situation([problem.values])
        found = multipliers(self.relaxation, situation, problem.dual)
        certifier = Certifier(self.relaxation.hulls, problem.values)
        for bits in _SCALES:
            shift = max(0, bits - int(self.claim.unit).bit_length())
            if self._largest << shift >= _EXACT_INT:
                continue
            rows = IntegerRows(
                {self.claim.value: self.claim.row[None] << shift},
                np.array([self.claim.constant - self.claim.threshold], dtype=np.int64) << shift,
            )
            scaled = integer_multipliers(found, self.claim.unit * 2.0**shift)
            if (forms := certifier.input_forms(rows, scaled)) is not None:
                return forms[0][0], int(forms[1][0])
        return None

    def certified_under(
        self, problem: Subproblem, value: int, unit: IntArray, factor: Tensor, found: Multipliers
    ) -> IntArray | None:
        """Return int64 [rows] that the rows `unit` do not exceed where the claim holds, `factor` [N, 1] times which is
        added to them; `found` are multipliers of these sums.
        """
        scale = 2.0**UNIT_BITS
        factors = factor[:, 0].detach().numpy().astype(np.float64)
        added = np.rint(np.clip(factors * scale / self.claim.unit, 0, _EXACT_INT)).astype(np.int64)
        if int(added.max(initial=0)) * self._largest + int(np.abs(unit).max(initial=0)) >= _EXACT_INT:
            return None
        start = {value: unit}
        part = added[:, None] * self.claim.row[None]
        start[self.claim.value] = start[self.claim.value] + part if self.claim.value == value else part
        rows = IntegerRows(start, added * (self.claim.constant - self.claim.threshold))
        return Certifier(self.relaxation.hulls, problem.values).greatest(rows, integer_multipliers(found, scale))


def as_tensor(array: npt.ArrayLike) -> Tensor:
    """Return an array as a float32 tensor."""
    return torch.tensor(np.asarray(array), dtype=torch.float32)
