"""Smaller intervals where a claim holds: accumulators are bounded under the assumption of a violation.

This is INVPROP (Kotha et al., NeurIPS 2023).  The bounds are exact integers, so that what remains to be searched is
always an exact set.
"""

import time

import numpy as np
import torch
from torch import Tensor

from bvverify.bounds.certificate import Certifier, IntegerMultipliers, IntegerRows, greatest_where
from bvverify.bounds.descent import Assumed, Effort, descend_under, first_assumed, multipliers
from bvverify.bounds.relaxation import Rows
from bvverify.network import IntArray
from bvverify.search.claim_bounds import FLAT, UNIT_BITS, ClaimBounds, as_tensor
from bvverify.search.splits import erring
from bvverify.search.subproblem import Subproblem, narrow

_MOST = 0.8
"""Accumulators are bounded where the relaxation errs, until this part of all error is met."""


class Tightening:
    """Narrows the intervals of sub-problems to where one claim holds; remembers multipliers to start from."""

    def __init__(self, bounds: ClaimBounds, steps: int) -> None:
        """Prepare to bound accumulators by descents of so many steps."""
        self._bounds, self._steps = bounds, steps
        self._relaxation, self._network = bounds.relaxation, bounds.relaxation.network
        self._assumed: dict[int, Assumed] = {}

    def tighten(self, problem: Subproblem, *, deadline: float) -> bool:
        """Bound the sources of staircases where the claim holds; return whether some interval became smaller."""
        changed = False
        assert problem.dual is not None
        for index in sorted(problem.dual.back):
            if problem.closed or time.monotonic() > deadline:
                break
            if index in self._relaxation.hulls.fed_by_box:
                changed |= self._tighten_by_inputs(problem, index)
            elif index in self._relaxation.hulls.makers:
                changed |= self._tighten_value(problem, index, deadline)
        return changed

    def _tighten_by_inputs(self, problem: Subproblem, index: int) -> bool:
        """Bound the sums of inputs that a staircase reads where the claim's bound, a linear form in the inputs, is not
        negative.
        """
        value = self._network.nodes[index].inputs[0]
        claimed = self._bounds.certified_form(problem)
        elements = self._curved(problem, index)
        if claimed is None or not len(elements):
            return False
        size = problem.values[value][0].size
        unit = np.zeros((len(elements), size), dtype=np.int64)
        unit[np.arange(len(elements)), elements] = 1
        none = IntegerMultipliers({}, {})
        certifier = Certifier(self._relaxation.hulls, problem.values)
        forms = certifier.input_forms(IntegerRows({value: unit}, np.zeros(len(unit), dtype=np.int64)), none)
        if forms is None:
            return False
        rows, constants = forms
        both = np.concatenate([rows, -rows]), np.concatenate([constants, -constants])
        low, high = (end.reshape(-1) for end in problem.values[0])
        most = greatest_where(both, claimed, low, high)
        return most is not None and narrow(
            self._network, problem, value, elements, most[: len(rows)], -most[len(rows) :]
        )

    def _promising(self, problem: Subproblem, index: int) -> IntArray:
        """Return those curved elements of a staircase where the relaxation errs most, for most of all its error."""
        curved = self._curved(problem, index)
        error = erring(self._network, problem, index).error[curved]
        order = np.argsort(-error, kind="stable")
        part = np.cumsum(error[order])
        return np.sort(curved[order[: np.searchsorted(part, _MOST * part[-1:])[0] + 1]]) if len(curved) else curved

    def _curved(self, problem: Subproblem, index: int) -> IntArray:
        """Return the elements of a staircase for which smaller intervals help: where it does not only rise."""
        hull = self._relaxation.hulls.hull(index, *problem.values[self._network.nodes[index].inputs[0]])
        slopes = self._relaxation.hulls.makers[index].slopes(hull.x.shape[1])
        flat = np.maximum(hull.x[1] - hull.x[0], hull.x[3] - hull.x[4]) * np.where(np.isfinite(slopes), slopes, 1.0)
        return np.flatnonzero((hull.y[3] > hull.y[0]) & (flat > FLAT))

    def _tighten_value(self, problem: Subproblem, index: int, deadline: float) -> bool:
        """Bound the accumulators that a staircase reads, each with multipliers of its own."""
        value = self._network.nodes[index].inputs[0]
        low, _ = (end.reshape(-1) for end in problem.values[value])
        elements = self._promising(problem, index)
        if not len(elements):
            return False
        situation = self._relaxation.situation([problem.values])
        bits = UNIT_BITS
        slopes = self._relaxation.hulls.makers[index].slopes(len(low))[elements]
        slopes = np.where(np.isfinite(slopes), slopes, 1.0)
        weight = np.maximum(1, np.rint(slopes * 2.0**bits)).astype(np.int64)
        one = np.zeros((len(elements), len(low)), dtype=np.int64)
        one[np.arange(len(elements)), elements] = weight
        unit = np.concatenate([one, -one])
        rows = Rows({value: as_tensor(unit / 2.0**bits)}, torch.zeros(len(unit)))
        assert problem.dual is not None
        chosen = torch.tensor(np.concatenate([elements, len(low) + elements]))
        if value in self._assumed:
            start = self._assumed[value].rows(chosen)
        else:
            start = first_assumed(self._relaxation, situation, rows, problem.dual)
        effort = Effort(self._steps, 0.03, deadline)
        best = descend_under(self._relaxation, situation, rows, self._bounds.rows(1), problem.dual, start, effort)
        self._remember(value, len(low), chosen, best)
        found = best.multipliers(situation, multipliers(self._relaxation, situation, problem.dual))
        most = self._bounds.certified_under(problem, value, unit, best.factor, found)
        if most is None:
            return False
        above, below = np.split(most, 2)
        return narrow(self._network, problem, value, elements, above // weight, -(below // weight))

    def _remember(self, value: int, elements: int, chosen: Tensor, best: Assumed) -> None:
        """Keep multipliers to start from next time."""
        if value not in self._assumed:
            factor = torch.full((2 * elements, 1), 0.3)
            rest = {index: torch.zeros(2 * elements, tensor.shape[1]) for index, tensor in best.rest.items()}
            shares = {side: torch.ones(2 * elements, tensor.shape[1]) for side, tensor in best.shares.items()}
            self._assumed[value] = Assumed(factor, rest, shares)
        kept = self._assumed[value]
        kept.factor[chosen] = best.factor.detach()
        for index, tensor in best.rest.items():
            kept.rest[index][chosen] = tensor.detach()
        for side, tensor in best.shares.items():
            kept.shares[side][chosen] = tensor.detach()
