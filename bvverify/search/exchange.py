"""Exchange: local search over the levels of a first layer, among those that inputs of a box can give.

Where rounding decides, a violation may need many units at once to be rounded to its advantage, in the first layer and
in the layers behind it, and gradients do not see which.  Here a few levels of the first layer at a time are raised and
lowered, and the network behind them is computed with all of its rounding.  Thousands of such exchanges are scored at a
time; the best of them, and some at random, are tried: how near inputs of the box come to giving those levels
(`bvverify.search.reach`), in few steps for many of them and in many steps for the nearest.

Levels are left for worse ones too: those are accepted that are better than what was had some exchanges ago (late
acceptance hill climbing: Burke and Bykov, EJOR 2017).

All this is done in floats and finds inputs to look at; it proves nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bvverify.network import IntArray
from bvverify.queries import LevelBox, Overtaking
from bvverify.search.chain import Chain
from bvverify.search.reach import Approach, Reach
from bvverify.search.stairs import Stairs
from bvverify.search.surrogate import Reals, Surrogate, boundary_distances

_CANDIDATES = 4000
"""Exchanges that are scored at a time."""
_MOST = 3
"""Levels that an exchange moves at most."""
_TRIALS = ((96, 12), (32, 30), (12, 60), (6, 150))
"""How many exchanges are tried, and in how many steps each; the nearest go on to the next trial."""
_STEPS = 300
"""For the levels that a search starts from."""
_NEARNESS = 0.3
"""How many levels that are missed outweigh a level of the score, for going on to the next trial."""
_ROOM, _MISSED = 0.03, 0.02
"""Levels that sums keep from the ends of their steps, and may miss of that: inputs will be rounded."""
_HISTORY, _FORGOTTEN = 20, 0.02
"""Exchanges after which a score is compared again, and what it loses in a round in which nothing was to be tried."""
_LEAD, _LEAST = 0.5, 0.01
"""Output levels beyond which a lead, and the lesser distance from boundaries, need not grow."""


@dataclass(frozen=True)
class ExchangeEffort:
    """How much work a search may do; equal efforts and seeds lead to the same levels."""

    patience: int = 100
    """Rounds without better levels before the search gives up."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class _Held:
    """Levels that inputs give."""

    levels: IntArray
    score: float
    violates: bool
    """Whether the network behind the levels violates the property, according to floats."""
    approach: Approach
    """One row."""


@dataclass(frozen=True, eq=False)
class _Scored:
    """Exchanged levels, one row each."""

    levels: IntArray
    scores: Reals
    violates: npt.NDArray[np.bool_]

    def only(self, rows: IntArray) -> _Scored:
        return _Scored(self.levels[rows], self.scores[rows], self.violates[rows])


class Exchanges:
    """Exchanges of levels on one box."""

    def __init__(self, chain: Chain, box: LevelBox) -> None:
        """Prepare to exchange levels of a chain's first layer."""
        self._network, self._value = chain.network, chain.units.value
        self._surrogate = Surrogate(chain.network)
        self._stairs = Stairs.of(chain.first, chain.units.channel, chain.units.offset[:, 0])
        self._reach = Reach(chain.units, self._stairs, box, room=_ROOM)

    def settled(self, levels: IntArray, near: IntArray, *, deadline: float) -> IntArray:
        """Return an input of the box that gives all first units levels (U,), or nearly does; it is looked for from the
        input `near` on, until `deadline` (of time.monotonic).
        """
        approach = self._reach.approach(levels[None], self._reach.start(near), steps=_STEPS)
        return self._reach.settled(levels, approach.point[0], deadline=deadline)

    def search(self, start: IntArray, wanted: Overtaking, effort: ExchangeEffort, *, deadline: float) -> IntArray:
        """Return an input of the box that gives, or nearly gives, the best levels met from those of `start` on; best is
        what leads nearest to `wanted`.  Ends with levels that make it true, or at `deadline` (of time.monotonic).
        """
        best = self._best(self._held(start, wanted), wanted, effort, deadline)
        return self._reach.settled(best.levels, best.approach.point[0], deadline=deadline)

    def _best(self, start: _Held, wanted: Overtaking, effort: ExchangeEffort, deadline: float) -> _Held:
        random = np.random.default_rng(effort.seed)
        now = best = start
        movable = self._stairs.movable(now.levels)
        history, accepted, waited = np.full(_HISTORY, now.score), 0, 0
        # Levels that were held, or were the most promising and not within reach, by a number that hardly others have.
        keys = random.integers(-(2**62), 2**62, len(now.levels))
        seen = np.array([now.levels @ keys])
        while len(movable) and not best.violates and waited < effort.patience and time.monotonic() < deadline:
            waited += 1
            place = accepted % _HISTORY
            scored = self._scored(self._exchanged(random, now.levels, movable), wanted)
            numbers, first = np.unique(scored.levels @ keys, return_index=True)
            new = first[(scored.scores[first] > min(now.score, history[place])) & ~np.isin(numbers, seen)]
            if not len(new):
                history[place] -= _FORGOTTEN
                continue
            chosen = scored.only(_chosen(random, scored.scores, new))
            found = self._tried(chosen, now.approach)
            if found is None:
                seen = np.append(seen, chosen.levels[0] @ keys)
                continue
            history[place], accepted, now = now.score, accepted + 1, found
            seen = np.append(seen, now.levels @ keys)
            if now.score > best.score or now.violates:
                best, waited = now, 0
        return best

    def _held(self, point: IntArray, wanted: Overtaking) -> _Held:
        """Return the levels of an input."""
        (levels,) = self._network.evaluate_values(point[None], [self._value])
        scored = self._scored(levels.reshape(1, -1), wanted)
        approach = self._reach.approach(scored.levels, self._reach.start(point), steps=_STEPS)
        return _Held(scored.levels[0], float(scored.scores[0]), bool(scored.violates[0]), approach)

    def _exchanged(self, random: np.random.Generator, levels: IntArray, movable: IntArray) -> IntArray:
        """Return levels (n, U) that differ from `levels` in a few units."""
        changed = np.repeat(levels[None], _CANDIDATES, axis=0)
        count = random.integers(1, _MOST + 1, _CANDIDATES)
        for move in range(_MOST):
            (rows,) = np.nonzero(count > move)
            changed[rows, random.choice(movable, len(rows))] += random.choice([-1, 1], len(rows))
        # The lowest and the highest level are had by sums of any size: units go neither there nor away from there.
        changed[:, movable] = np.clip(changed[:, movable], self._stairs.base + 1, self._stairs.top - 1)
        return changed

    def _scored(self, levels: IntArray, wanted: Overtaking) -> _Scored:
        """Return how near to `wanted` levels (n, U) lead, its distances from boundaries added up."""
        outputs = self._surrogate.rounded_outputs(self._value, levels)
        over, under = boundary_distances(outputs[:, wanted.winner], outputs[:, wanted.loser], wanted.margin)
        lesser = np.minimum(over, under)
        scores = np.minimum(over + under, _LEAD) + 2 * np.minimum(lesser, _LEAST)
        return _Scored(levels, scores, lesser >= 0)

    def _tried(self, scored: _Scored, start: Approach) -> _Held | None:
        """Return the best of some levels that inputs are found to give; None if they are found for none."""
        approach, allowed = start, max(_MISSED, float(start.missed[0]))
        for count, steps in _TRIALS:
            if len(scored.levels) > count:
                nearest = np.argsort(approach.missed - _NEARNESS * scored.scores, kind="stable")[:count]
                scored, approach = scored.only(nearest), approach.only(nearest)
            approach = self._reach.approach(scored.levels, approach, steps=steps)
            (within,) = np.nonzero(approach.missed <= allowed)
            if len(within):
                row = within[[int(scored.scores[within].argmax())]]
                best = scored.only(row)
                return _Held(best.levels[0], float(best.scores[0]), bool(best.violates[0]), approach.only(row))
        return None


def _chosen(random: np.random.Generator, scores: Reals, rows: IntArray) -> IntArray:
    """Return those of some rows that are tried: half of them the best, half of them others at random."""
    most, _ = _TRIALS[0]
    ordered = rows[np.argsort(-scores[rows], kind="stable")]
    return np.concatenate([ordered[: most // 2], random.permutation(ordered[most // 2 :])[: most // 2]])
