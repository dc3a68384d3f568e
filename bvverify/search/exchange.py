"""Exchange: local search over the levels of a first layer, among those that inputs of a box can give.

A dive rounds first units to a violation's advantage and leaves the rounding of later layers to chance.  Here a few
levels at a time are raised and lowered so that the network behind them, all of its rounding included, is nearer to a
violation.  Whether inputs give such levels together is asked of a linear program: how much they miss.  Its prices bound
what other levels miss too, where steps are equally wide (a Benders cut: Benders, 1962), so that most exchanges need no
program.

All this is done in floats and finds levels to aim at; it proves nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bvverify.network import IntArray
from bvverify.queries import LevelBox, Overtaking
from bvverify.search.lp import FAR, over_box, solve
from bvverify.search.stairs import Stairs
from bvverify.search.surrogate import Surrogate, boundary_distances

_CANDIDATES = 4000
"""Exchanges that are looked at at a time; first all of one level, then some of up to _MOST levels."""
_MOST = 4
_TRIES = 10
"""Programs until new exchanges are looked at."""
_PATIENCE = 100
"""How often exchanges are looked at without one that cuts allow."""
_CUTS = 2000
"""The last ones are kept."""
_MISSED, _BETTER = 1e-6, 1e-6
_LEAST_PRICE = 1e-3
_WHOLE, _AT_ONCE = 1e-6, 0.8
"""How near to an integer an input is one, and which part of those that are none is fixed at a time."""
_LEAD, _LEAST = 0.15, 0.01
"""Output levels beyond which a lead, and the lesser distance from boundaries, need not grow."""
_ENOUGH = _LEAD + 2 * _LEAST

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Missed:
    """How much levels miss what inputs can give."""

    total: float
    """The sum over units, in levels, weighed with what they are worth."""
    prices: Reals
    """By how much it grows per level that a unit is raised (U,)."""


class Reach:
    """A linear program: how near inputs of a box come to given levels of all units of a first layer."""

    def __init__(self, stairs: list[Stairs], weights: IntArray, inputs: IntArray, box: LevelBox, worth: Reals) -> None:
        """Take one row of `weights` (U, K) on the elements `inputs` (U, K) of the box per unit, and what a level of it
        is worth.
        """
        self._stairs = stairs
        self._solver, self._inputs = over_box(box)
        goal = self._solver.Objective()
        goal.SetMinimization()
        prices = worth + max(_LEAST_PRICE, 0.1 * float(worth.mean()))
        self._rows = []
        for unit, stair in enumerate(stairs):
            row = self._solver.Constraint(-FAR, FAR)
            for place, weight in zip(inputs[unit].tolist(), weights[unit].tolist(), strict=True):
                row.SetCoefficient(self._inputs[place], stair.slope * weight)
            for side in (1.0, -1.0):
                missed = self._solver.NumVar(0.0, FAR, "")
                row.SetCoefficient(missed, side)
                goal.SetCoefficient(missed, float(prices[unit]))
            self._rows.append(row)

    def ends(self, levels: IntArray) -> tuple[IntArray, IntArray]:
        """Return between which levels (U,) prices are valid that are found between them: those that are no unit's first
        or last one, for these are reached by sums of any size; units that have such a level keep it.
        """
        low = np.array([stair.base + 1 for stair in self._stairs])
        high = np.array([stair.top - 1 for stair in self._stairs])
        inside = (levels >= low) & (levels <= high)
        return np.where(inside, low, levels), np.where(inside, high, levels)

    def missed(self, levels: IntArray, *, room: float, deadline: float) -> Missed | None:
        """Return by how much levels (U,) are missed if sums keep `room` levels from the ends of their steps; None at
        `deadline` (of time.monotonic).
        """
        self._aim(levels, room)
        if not solve(self._solver, deadline=deadline):
            return None
        return Missed(self._solver.Objective().Value(), np.array([row.dual_value() for row in self._rows]))

    def inputs(self, levels: IntArray, *, room: float, deadline: float) -> Reals | None:
        """Return inputs (N,) that nearly give levels (U,), integers if possible: those that are nearly integers are
        fixed, for good, and the program is solved again.  None at `deadline` (of time.monotonic).
        """
        self._aim(levels, room)
        point = None
        while solve(self._solver, deadline=deadline):
            point = np.array([one.solution_value() for one in self._inputs])
            distance = np.abs(point - np.rint(point))
            (broken,) = np.nonzero(distance > _WHOLE)
            if not len(broken):
                break
            count = int(np.ceil(_AT_ONCE * len(broken)))
            for place in broken[np.argsort(distance[broken], kind="stable")][:count].tolist():
                self._inputs[place].SetBounds(float(np.rint(point[place])), float(np.rint(point[place])))
        return point

    def _aim(self, levels: IntArray, room: float) -> None:
        for row, stair, level in zip(self._rows, self._stairs, levels.tolist(), strict=True):
            row.SetBounds(*stair.between(level, room=room))


def exchange(
    surrogate: Surrogate,
    value: int,
    reach: Reach,
    levels: IntArray,
    open_: IntArray,
    wanted: Overtaking,
    *,
    room: float,
    deadline: float,
) -> IntArray:
    """Return levels (U,) that lead nearer to `wanted` than `levels` do and miss no more of what is within reach.

    `value` is the value of the network that they are, `open_` holds the units whose levels may change.
    """
    random = np.random.default_rng(0)
    ends = reach.ends(levels)
    cuts = _Cuts(np.zeros((0, len(levels))), np.zeros(0))
    best, score = levels, _scores(surrogate, value, levels[None], wanted)[0]
    now = reach.missed(levels, room=room, deadline=deadline)
    waited = 0
    while now is not None and waited < _PATIENCE and score < _ENOUGH and time.monotonic() < deadline:
        waited += 1
        candidates = _exchanges(random, best, open_, ends)
        scores = _scores(surrogate, value, candidates, wanted)
        promise = np.flatnonzero(scores > score + _BETTER)
        least = cuts.least(candidates[promise])
        allowed = max(_MISSED, now.total)
        promise, least = promise[least <= allowed], least[least <= allowed]
        # Of two that promise the same, the one that is further within reach.
        for place in promise[np.argsort(least - scores[promise], kind="stable")][:_TRIES].tolist():
            levels = candidates[place]
            if cuts.least(levels[None])[0] > allowed:
                continue
            missed = reach.missed(levels, room=room, deadline=deadline)
            if missed is None:
                break
            waited = 0
            if missed.total <= allowed:
                best, score, now = levels, scores[place], missed
                break
            cuts = cuts.with_(missed, levels)
    return best


@dataclass(frozen=True, eq=False)
class _Cuts:
    """Linear functions of the levels that are not above what they miss, where steps are equally wide."""

    prices: Reals
    constants: Reals

    def least(self, levels: IntArray) -> Reals:
        """Return what each row of levels (n, U) misses at least."""
        if not len(self.constants):
            return np.zeros(len(levels))
        return np.asarray((levels @ self.prices.T + self.constants).max(axis=1))

    def with_(self, missed: Missed, levels: IntArray) -> _Cuts:
        constant = missed.total - float(missed.prices @ levels)
        prices = np.concatenate([self.prices, missed.prices[None]])[-_CUTS:]
        return _Cuts(prices, np.append(self.constants, constant)[-_CUTS:])


def _exchanges(
    random: np.random.Generator, levels: IntArray, open_: IntArray, ends: tuple[IntArray, IntArray]
) -> IntArray:
    """Return levels (n, U) that differ from `levels` in a few units."""
    rows = np.arange(_CANDIDATES)
    changed = np.repeat(levels[None], _CANDIDATES, axis=0)
    changed[rows, open_[rows % len(open_)]] += np.where(rows // len(open_) % 2, 1, -1)
    more = np.where(rows < 2 * len(open_), 1, random.integers(1, _MOST + 1, _CANDIDATES))
    for count in range(1, _MOST):
        (several,) = np.nonzero(more > count)
        changed[several, random.choice(open_, len(several))] += random.choice([-1, 1], len(several))
    return np.asarray(np.clip(changed, *ends))


def _scores(surrogate: Surrogate, value: int, levels: IntArray, wanted: Overtaking) -> Reals:
    """Return how near to a violation levels (n, U) lead; _ENOUGH if they give one."""
    outputs = surrogate.rounded_outputs(value, levels)
    over, under = boundary_distances(outputs[:, wanted.winner], outputs[:, wanted.loser], wanted.margin)
    return np.asarray(np.minimum(over + under, _LEAD) + 2 * np.minimum(np.minimum(over, under), _LEAST))
