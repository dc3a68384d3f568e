"""Neighbourhoods: integer programs over a few inputs at a time look for a violation where rounding decides.

Where sums read few inputs, as those of convolutions do, every unit has a handful of levels on the box, and gradients do
not see which of them go together.  An integer program does: around the best input met, all inputs are kept but those
that a few units beside each other read, and these are chosen best (large neighbourhood search: Shaw, CP 1998).  At
first the programs maximise the lead of the winner over the loser; when that is enough, the winner has to be above a
boundary of the output levels, and the loser below it.  Neighbourhoods grow where programs are solved, and shrink where
they are not.

Every input that is met is evaluated by the network itself; nothing is proved.
"""

import time
from dataclasses import dataclass

import numpy as np

from bvverify.bounds.boxfed import box_units
from bvverify.bounds.envelope import FEW_INPUTS
from bvverify.encode.linear import encode_forms
from bvverify.errors import NotLinear
from bvverify.network import IntArray, StepNetwork
from bvverify.queries import LevelBox, Overtaking, Robustness
from bvverify.search.claims import Boundaries, boundaries
from bvverify.solvers.cpsat import Best, maximize

_GROW, _SHRINK, _LARGEST = 1.15, 0.85, 4
"""What a program that was solved, or was not, makes of the size of neighbourhoods; and the most they may grow."""
_SLACK, _MORE_SLACK = 0.1, 0.02
"""Levels by which the winner must lead before boundaries are aimed at; more after each try that was in vain."""
_URGENT = 4
"""How much a level that is missing at a boundary counts, relative to a level of lead."""


@dataclass(frozen=True)
class NeighbourhoodEffort:
    """How much work the search may do."""

    inputs: int = 60
    """Free inputs of a neighbourhood, at first."""
    work: float = 0.25
    """For each program, in CP-SAT's deterministic seconds."""
    patience: int = 80
    """Programs without improvement before the search gives up."""
    seed: int = 0


class Neighbourhoods:
    """The neighbourhoods of one question's inputs, and what is wanted of them."""

    def __init__(
        self, network: StepNetwork, box: LevelBox, question: Robustness, patches: list[IntArray], wanted: Boundaries
    ) -> None:
        self._network, self._box, self._question = network, box, question
        self._patches, self._wanted = patches, wanted

    @classmethod
    def of(
        cls, network: StepNetwork, box: LevelBox, question: Robustness, wanted: Overtaking
    ) -> "Neighbourhoods | None":
        """Return the neighbourhoods, None if the network's units read many inputs each."""
        aims = boundaries(network, wanted)
        free = (box.lower < box.upper).reshape(-1)
        patches = {
            tuple(sorted({place for place in inputs.tolist() if place >= 0 and free[place]}))
            for units in box_units(network).values()
            if units.inputs.shape[1] <= FEW_INPUTS
            for inputs in units.inputs
        } - {()}
        if aims is None or not patches:
            return None
        return cls(network, box, question, [np.array(patch) for patch in sorted(patches)], aims)

    def search(self, start: IntArray, effort: NeighbourhoodEffort, *, deadline: float) -> IntArray:
        """Return the best input of the box that is met on steps from `start`, one that violates the question if there
        is one; until `deadline` (of time.monotonic).
        """
        random = np.random.default_rng(effort.seed)
        best, size, slack, waited = self._met(start), float(effort.inputs), _SLACK, 0
        while waited < effort.patience and time.monotonic() < deadline:
            waited += 1
            aiming = best.lead >= slack
            slack += _MORE_SLACK if aiming else 0.0
            free = self._neighbourhood(random, int(size))
            found = self._improved(best, free, aiming=aiming, work=effort.work, deadline=deadline)
            solved = found is not None and found.optimal
            size = min(size * _GROW, _LARGEST * effort.inputs) if solved else max(size * _SHRINK, 1.0)
            if found is None:
                continue
            met = self._met(found.solution)
            if self._question.violated_by(self._network.evaluate(met.point[None]))[0]:
                return met.point
            if (met.least > best.least) if aiming else (met.lead > best.lead):
                best, waited = met, 0
        return best.point

    def _met(self, point: IntArray) -> "_Met":
        wanted = self._wanted
        (reached,) = self._network.evaluate_values(point[None], [wanted.value])
        forms = wanted.rows @ reached.reshape(-1) + wanted.constants
        level = int(forms.min(axis=1).argmax())
        return _Met(point, level, float(forms[level].sum()) / wanted.unit, float(forms[level].min()) / wanted.unit)

    def _neighbourhood(self, random: np.random.Generator, size: int) -> IntArray:
        """Return inputs that units beside each other read, about so many."""
        left = list(self._patches)
        chosen = left.pop(int(random.integers(len(left))))
        while len(chosen) < size and left:
            shared = [len(np.intersect1d(chosen, patch)) / len(patch) for patch in left]
            chosen = np.union1d(chosen, left.pop(int(np.argmax(shared))))
        return chosen

    def _improved(self, best: "_Met", free: IntArray, *, aiming: bool, work: float, deadline: float) -> Best | None:
        """Return the best input that differs from one that was met in `free` inputs only, None if none was found."""
        low, high = best.point.reshape(-1).copy(), best.point.reshape(-1).copy()
        low[free], high[free] = self._box.lower.reshape(-1)[free], self._box.upper.reshape(-1)[free]
        shape, missing = best.point.shape, self._box.missing
        part = LevelBox(low.reshape(shape), high.reshape(shape), missing[np.isin(missing[:, 0], free)])
        wanted, values = self._wanted, self._network.interval(part.lower, part.upper)
        constants = wanted.constants[best.level]
        try:
            program = encode_forms(self._network, part, wanted.value, wanted.rows, constants, values=values)
        except NotLinear:
            return None
        inputs = program.encoding.inputs
        hint = dict(zip(inputs[free].tolist(), best.point.reshape(-1)[free].tolist(), strict=True))
        objective = dict.fromkeys(program.forms, 1) | ({program.least: _URGENT} if aiming else {})
        seconds = max(0.0, deadline - time.monotonic())
        found = maximize(program.encoding.program, objective, hint, work=work, seconds=seconds)
        if found is None:
            return None
        return Best(program.encoding.input_levels(part, found.solution), found.optimal)


@dataclass(frozen=True, eq=False)
class _Met:
    """An input, and how near it is to what is wanted."""

    point: IntArray
    level: int
    """The boundary that it is nearest to."""
    lead: float
    """The sum of the forms, in output levels."""
    least: float
    """The lesser form."""
