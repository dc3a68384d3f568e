"""Dive: linear programs that look for a violation where rounding decides, level by level.

A unit's level differs from a linear function of its sum by what rounding gives, and gradients do not see how many units
can be rounded to a violation's advantage at once.  A linear program around one input does: it keeps the phase of every
unit, and lets a unit that a violation wants high (low) reach the line above (below) its stairs.  Units whose levels are
nearest to integers are fixed there, so that their sums must reach the threshold, and the program is solved again: a
diving heuristic (Berthold, "Primal heuristics for mixed integer programs", 2006).  Thresholds may be missed at a price;
first units that miss theirs take a worse level.  What becomes of the rounding of later layers is left to chance, and to
exchanges of the first layer's levels (`bvverify.search.exchange`).

All this is done in floats and finds levels to start from; it proves nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.bounds.hull import HullMaker
from bvverify.network import IntArray, Step
from bvverify.queries import LevelBox, Overtaking
from bvverify.search.chain import Chain
from bvverify.search.lp import over_box, solve
from bvverify.search.stairs import FAR, LEAST_SLOPE, Stairs

_PENALTY, _FIRST_PENALTY = 2.0, 4.0
"""What a level costs that a later, or the first, layer's unit misses although it was fixed, relative to its worth."""
_LEAST_PENALTY = 1e-3
_MISSED = 1e-5
"""The part of a level that a first layer's unit may miss."""
_RETREATS = 3
"""How often units that miss their levels take worse ones before others are fixed."""
_SPARE = 1
"""By how many levels a unit may be better than where it was fixed."""
_PER_WEIGHT = 1e-5
"""Seconds for putting a weight into a program, three times what it takes; what would not be ready is not begun."""

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DiveEffort:
    """How carefully to dive."""

    part: float
    """Which part of the open units is fixed at a time."""
    room: float
    """How far beyond their thresholds the first layer's sums must be, in levels, for inputs will be rounded."""


_ROOMS = {0.4: (0.03, 0.05), 0.25: (0.03, 0.05), 0.15: (0.04,), 0.1: (0.03, 0.05), 0.05: (0.03,)}
EFFORTS = tuple(DiveEffort(part, room) for part, rooms in _ROOMS.items() for room in rooms)
"""Dives from quick to careful; each ends elsewhere."""


def dive(
    chain: Chain, box: LevelBox, start: IntArray, wanted: Overtaking, *, effort: DiveEffort, deadline: float
) -> IntArray | None:
    """Return levels of all first units (U,), int64, from which `wanted` may come true; None if the programs say that
    there are none in the phase of `start`, an input of `box`, or at `deadline` (of time.monotonic).
    """
    weights = chain.units.weight.size + sum(layer.weight.size for layer, _ in chain.layers)
    if time.monotonic() + _PER_WEIGHT * weights >= deadline:
        return None
    program = _Program(chain, box, start, wanted, effort, deadline)
    return program.first_levels() if program.promising() and program.fix_levels() else None


@dataclass(frozen=True, eq=False)
class _Unit:
    """A unit in a program: the row is its level minus slope times its sum (without the offset)."""

    level: Any
    row: Any
    missed: list[Any]
    """By how many levels it is above or below what the row allows; none where that must not be."""
    first: bool
    place: int
    """Its number in the layer."""
    up: bool
    """Whether a violation wants it high."""
    stairs: Stairs
    """Of its layer."""
    room: float
    """By how many levels its row is stricter than its stairs."""

    def free(self) -> None:
        """Let the level be any, as far as lines beside the stairs allow."""
        stairs = self.stairs
        self.level.SetBounds(float(stairs.base), float(stairs.top))
        for one in self.missed:
            one.SetUb(0.0)
        slope = float(stairs.slope[self.place])
        begin = stairs.base - slope * float(stairs.start[self.place])
        self._bound(begin + slope, begin + 1)

    def misses(self) -> bool:
        """Return whether the level is missed in the last solution."""
        return any(one.solution_value() > _MISSED for one in self.missed)

    def fix(self, level: int, *, spare: int) -> None:
        """Let the sum be such that the unit has this level, or one that is better by up to `spare` levels."""
        stairs = self.stairs
        level = min(max(level, stairs.base), stairs.top)
        self.level.SetBounds(float(level), float(level))
        for one in self.missed:
            one.SetUb(FAR)
        first, last = (level, min(level + spare, stairs.top)) if self.up else (max(level - spare, stairs.base), level)
        (low, _), (_, high) = stairs.between(self.place, first, room=0.0), stairs.between(self.place, last, room=0.0)
        self._bound(level - high, level - low)

    def _bound(self, low: float, high: float) -> None:
        stricter = self.room if self.up else -self.room
        self.row.SetBounds(low - stricter, high - stricter)


class _Program:
    def __init__(
        self, chain: Chain, box: LevelBox, start: IntArray, wanted: Overtaking, effort: DiveEffort, deadline: float
    ) -> None:
        self._effort, self._deadline = effort, deadline
        self._solver, self._inputs = over_box(box)
        self._goal = self._solver.Objective()
        self._goal.SetMaximization()
        self._units: list[_Unit] = []
        reached = _reached(chain, start)
        worth = _worth(chain, reached, wanted)
        hidden = self._hidden(chain, reached, worth)
        self._first = hidden[0]
        self._score = self._overtake(chain, hidden[-1], reached[-1], wanted)

    def promising(self) -> bool:
        """Return whether a violation is possible as long as levels are no integers."""
        return self._solve() and self._score.solution_value() >= 0

    def fix_levels(self) -> bool:
        """Fix the levels of all units; return whether that was possible."""
        open_, fixed = self._units, list[_Unit]()
        while open_:
            values = np.array([unit.level.solution_value() for unit in open_])
            order = np.argsort(np.abs(values - np.rint(values)), kind="stable").tolist()
            count = max(1, int(np.ceil(self._effort.part * len(open_))))
            for place in order[:count]:
                open_[place].fix(int(np.rint(values[place])), spare=_SPARE)
            fixed += [open_[place] for place in order[:count] if open_[place].first]
            open_ = [open_[place] for place in order[count:]]
            if not self._solve() or not self._retreat(fixed):
                return False
        return True

    def first_levels(self) -> IntArray:
        """Return the levels of the first units."""
        return np.array([round(level.solution_value()) for level in self._first])

    def _solve(self) -> bool:
        return solve(self._solver, deadline=self._deadline)

    def _retreat(self, fixed: list[_Unit]) -> bool:
        """Let units that miss their levels take worse ones; return whether there still is a solution."""
        for _ in range(_RETREATS):
            missing = [(unit, round(unit.level.solution_value())) for unit in fixed if unit.misses()]
            if not missing:
                break
            for unit, level in missing:
                unit.fix(level - 1 if unit.up else level + 1, spare=_SPARE)
            if not self._solve():
                return False
        return True

    def _hidden(self, chain: Chain, reached: list[tuple[IntArray, IntArray]], worth: list[Reals]) -> list[list[Any]]:
        """Add all hidden units; return the levels of each layer."""
        units = chain.units
        stairs = Stairs.of(chain.first, units.channel, units.offset[:, 0])
        read = [[self._inputs[place] for place in places] for places in units.inputs.tolist()]
        found = [self._layer(stairs, worth[0], reached[0][1], units.weight[:, 0], read, first=True)]
        for (affine, step), worths, (_, now) in zip(chain.layers[:-1], worth[1:], reached[1:-1], strict=True):
            stairs = Stairs.of(step, np.arange(len(affine.offset)), affine.offset)
            read = [found[-1] for _ in affine.offset]
            found.append(self._layer(stairs, worths, now, affine.weight[0], read, first=False))
        return found

    def _layer(
        self,
        stairs: Stairs,
        worth: Reals,
        now: IntArray,
        weights: IntArray,
        read: list[list[Any]],
        *,
        first: bool,
    ) -> list[Any]:
        """Add the units of one layer; return their levels."""
        levels = []
        for unit in range(len(now)):
            level = int(now[unit])
            variable = self._solver.NumVar(0.0, 0.0, "")
            row, up = self._solver.Constraint(-FAR, FAR), bool(worth[unit] > 0)
            row.SetCoefficient(variable, 1.0)
            open_ = bool(stairs.steady[unit]) and stairs.base < level < stairs.top
            missed, slope = [], float(stairs.slope[unit])
            if open_ or not first:
                price = (_FIRST_PENALTY if first else _PENALTY) * abs(float(worth[unit])) + _LEAST_PENALTY
                for side in (1.0, -1.0):
                    missed.append(self._solver.NumVar(0.0, 0.0, ""))
                    row.SetCoefficient(missed[-1], side)
                    self._goal.SetCoefficient(missed[-1], -price)
            for source, weight in zip(read[unit], weights[unit].astype(float).tolist(), strict=True):
                if weight:
                    row.SetCoefficient(source, -slope * weight)
            room = self._effort.room if first else 0.0
            made = _Unit(variable, row, missed, first, unit, up, stairs, room)
            if open_:
                made.free()
                self._units.append(made)
            else:
                made.fix(level, spare=0)
            levels.append(variable)
        return levels

    def _overtake(self, chain: Chain, levels: list[Any], outputs: tuple[IntArray, IntArray], wanted: Overtaking) -> Any:
        """Let the winner and the loser be on their sides of the boundaries of the level at which the winner most nearly
        wins; return by how many levels both are beyond.
        """
        affine, step = chain.layers[-1]
        slopes = HullMaker(step).channel_slopes
        sums, now = outputs
        reached = [
            _position(step, channel, int(sums[channel]), int(now[channel])) for channel in (wanted.winner, wanted.loser)
        ]
        level = int(np.rint((sum(reached) - wanted.margin) / 2))
        score = self._solver.NumVar(-self._solver.infinity(), self._solver.infinity(), "")
        self._goal.SetCoefficient(score, 1.0)
        winning = int(np.clip(level + wanted.margin - step.base - 1, 0, step.levels - 1))
        losing = int(np.clip(level - step.base, 0, step.levels - 1))
        for channel, threshold, side in (
            (wanted.winner, float(step.thresholds[wanted.winner][winning]), 1.0),
            (wanted.loser, float(step.thresholds[wanted.loser][losing]) - 1, -1.0),
        ):
            row = self._solver.Constraint(-self._solver.infinity(), self._solver.infinity())
            for source, weight in zip(levels, affine.weight[0][channel].astype(float).tolist(), strict=True):
                row.SetCoefficient(source, side * weight)
            row.SetCoefficient(score, -1.0 / max(float(slopes[channel]), LEAST_SLOPE))
            row.SetLb(side * (threshold - float(affine.offset[channel])))
        return score


def _worth(chain: Chain, reached: list[tuple[IntArray, IntArray]], wanted: Overtaking) -> list[Reals]:
    """Return what one level more of each hidden unit is worth for `wanted`, in output levels, per layer."""
    affine, step = chain.layers[-1]
    slopes = np.nan_to_num(HullMaker(step).channel_slopes, posinf=1.0)
    weight = affine.weight[0].astype(float)
    worth = [weight[wanted.winner] * slopes[wanted.winner] - weight[wanted.loser] * slopes[wanted.loser]]
    for (hidden, stairs), (_, now) in zip(chain.layers[-2::-1], reached[-2:0:-1], strict=True):
        rising = (now > stairs.base) & (now < stairs.base + stairs.levels)
        slope = np.nan_to_num(HullMaker(stairs).channel_slopes, posinf=1.0)
        worth.insert(0, (worth[0] * slope * rising) @ hidden.weight[0].astype(float))
    return worth


def _reached(chain: Chain, start: IntArray) -> list[tuple[IntArray, IntArray]]:
    """Return the sums and the levels of all layers at an input, the outputs last; int64 of one element per unit."""
    first, network = chain.units, chain.network
    wanted = [network.nodes[first.step].inputs[0], *range(first.value, len(network.values))]
    sums, *values = (value.reshape(-1) for value in network.evaluate_values(start[None], wanted))
    return list(zip([sums[first.sums[:, 0]], *values[1::2]], values[::2], strict=True))


def _position(step: Step, channel: int, total: int, level: int) -> float:
    """Return an output before it is rounded, in levels."""
    slope = float(np.nan_to_num(HullMaker(step).channel_slopes[channel], posinf=1.0))
    place = min(level - step.base, step.levels - 1)
    return step.base + place + 0.5 + float(total - step.thresholds[channel][place]) * slope
