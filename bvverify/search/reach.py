"""Reach: inputs of a box that give levels to all units of a first layer, for many choices of levels at once.

Inputs and their sums have to lie in two sets that are easily projected on: the box of the inputs and the steps of the
levels, and the graph of the layer.  Projections in turn (Douglas and Rachford, 1956; Lions and Mercier, 1979) come near
both where that is possible, in matrix products alone, so that hundreds of choices cost little more than one.  What they
reach is rounded, and single inputs are moved until all sums are on their steps.

The first is done in floats; the second keeps integers, below 2**53, in floats.  Neither proves anything.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bvverify.bounds.boxfed import BoxUnits
from bvverify.network import IntArray
from bvverify.queries import LevelBox
from bvverify.search.stairs import Stairs
from bvverify.search.surrogate import Reals

_RELAXED = np.float32(1.6)
"""How far to go towards, and beyond, what projections give."""
_END = np.float32(1)
"""Half the width of the box of scaled inputs."""
_MOVES, _RESTING = 200, 10
"""Moves of single inputs at most, and how many others come before an input moves again."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Approach:
    """How near inputs have come to levels, one choice of levels per row."""

    inputs: Reals
    """What is projected next (n, K)."""
    sums: Reals
    """What is projected next (n, U)."""
    point: Reals
    """The inputs reached (n, K), from -1 to 1 over the box."""
    missed: Reals
    """By how many levels the sum that is furthest from its step misses it (n,)."""

    def only(self, rows: IntArray) -> Approach:
        """Return some rows, in their order."""
        return Approach(self.inputs[rows], self.sums[rows], self.point[rows], self.missed[rows])


class Reach:
    """What sums a first layer's units have on a box."""

    def __init__(self, units: BoxUnits, stairs: Stairs, box: LevelBox, *, room: float) -> None:
        """Take units of one sum each; sums are to keep `room` levels from the ends of their steps."""
        self._box = box
        lower, upper = box.lower.reshape(-1), box.upper.reshape(-1)
        self._free = np.flatnonzero(lower < upper)
        self._middle, self._radius = (lower + upper) / 2, (upper - lower) / 2
        weights = np.zeros((len(units.elements), lower.size))
        np.put_along_axis(weights, units.inputs, units.weight[:, 0].astype(np.float64), axis=1)
        self._weights, self._stairs = weights, stairs
        along = weights * stairs.slope[:, None]
        self._matrix = (along * self._radius)[:, self._free].astype(np.float32)
        product = self._matrix.astype(np.float64) @ self._matrix.T.astype(np.float64)
        self._inverse = np.linalg.inv(np.eye(len(product)) + product).astype(np.float32)
        low, high = (
            stairs.slope[:, None] * ends - (along @ self._middle)[:, None] for ends in (stairs.least, stairs.most)
        )
        inside = np.minimum(room, (high - low) / 2)
        self._low, self._high = (low + inside).astype(np.float32), (high - inside).astype(np.float32)

    def start(self, point: IntArray) -> Approach:
        """Return a start at one input of the box."""
        inputs = ((point.reshape(-1) - self._middle)[self._free] / self._radius[self._free]).astype(np.float32)[None]
        return Approach(inputs, inputs @ self._matrix.T, inputs, np.full(1, np.inf, dtype=np.float32))

    def approach(self, levels: IntArray, start: Approach, *, steps: int) -> Approach:
        """Return how near inputs come to levels (n, U) in so many steps; `start` has n rows, or one for all."""
        low, high = self._steps(levels)
        inputs, sums, point = (
            np.repeat(one, len(levels) // len(one), axis=0) for one in (start.inputs, start.sums, start.point)
        )
        for _ in range(steps):
            off = (inputs @ self._matrix.T - sums) @ self._inverse
            along, total = inputs - off @ self._matrix, sums + off
            point = np.clip(along + along - inputs, -_END, _END)
            inputs = np.add(inputs, _RELAXED * (point - along), dtype=np.float32)
            sums = np.add(sums, _RELAXED * (np.clip(total + total - sums, low, high) - total), dtype=np.float32)
        reached = point @ self._matrix.T
        missed: Reals = np.maximum(low - reached, reached - high).max(axis=1, initial=0.0)
        return Approach(inputs, sums, point, missed)

    def settled(self, levels: IntArray, point: Reals, *, deadline: float) -> IntArray:
        """Return an input of the box, int64 of its shape, near a point (K,) that was reached, whose sums are on the
        steps of levels (U,) or miss them by little; moves end at `deadline` (of time.monotonic).
        """
        rows = np.arange(len(levels))
        least, most = (ends[rows, levels - self._stairs.base] for ends in (self._stairs.least, self._stairs.most))
        lower, upper = (end.reshape(-1) for end in (self._box.lower, self._box.upper))
        found = self._middle.copy()
        found[self._free] += point * self._radius[self._free]
        found = np.clip(np.rint(found), lower, upper)
        best, fewest, rests = found.copy(), np.inf, np.zeros(len(found))
        for move in range(_MOVES):
            sums = (self._weights @ found)[:, None]
            missed = float(_missed(sums, least, most, self._stairs.slope)[0])
            if missed < fewest:
                best, fewest = found.copy(), missed
            if missed == 0.0 or time.monotonic() >= deadline:
                break
            resting = rests > move
            costs = np.stack(
                [
                    np.where(resting | (found == end), np.inf, _missed(moved, least, most, self._stairs.slope))
                    for end, moved in ((upper, sums + self._weights), (lower, sums - self._weights))
                ]
            )
            side, place = np.unravel_index(int(costs.argmin()), costs.shape)
            if costs[side, place] == np.inf:
                break
            found[place] += 1 - 2 * int(side)
            rests[place] = move + _RESTING
        inputs: IntArray = self._box.allowed(best.astype(np.int64).reshape(1, *self._box.lower.shape))[0]
        return inputs

    def _steps(self, levels: IntArray) -> tuple[Reals, Reals]:
        """Return between which sums, in levels from the middle of the box, levels (n, U) are had."""
        rows, places = np.arange(levels.shape[1]), levels - self._stairs.base
        return self._low[rows, places], self._high[rows, places]


def _missed(sums: Doubles, least: Doubles, most: Doubles, slope: Doubles) -> Doubles:
    """Return by how many levels sums (U, n) miss their steps, the squares' sum over units (n,)."""
    beyond = np.maximum(least[:, None] - sums, sums - most[:, None]).clip(0)
    return np.asarray(((slope[:, None] * beyond) ** 2).sum(axis=0))
