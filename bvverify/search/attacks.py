"""Attacks on one question, and what they have come nearest to."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from bvverify.network import IntArray, StepNetwork
from bvverify.queries import LevelBox, Overtaking, Robustness
from bvverify.search.attack import AttackBudget, Near, attack
from bvverify.search.decision import Decision, Outcome, Stage


class Attacks:
    """Attacks on one question until a deadline, of time.monotonic()."""

    def __init__(self, network: StepNetwork, box: LevelBox, question: Robustness, deadline: float) -> None:
        self._question, self._deadline = (network, box, question), deadline
        self._nearest: dict[int, tuple[float, Near]] = {}
        """Per rival the least lead met, and where."""
        self.closest: float | None = None
        """The least lead met; None without an attack."""

    def attack(self, budget: AttackBudget, near: Sequence[Near] = ()) -> Decision | None:
        """Attack, from random starts or from points given; return the violation that was found, if any."""
        found = attack(*self._question, budget=budget, deadline=self._deadline, near=near)
        self.closest = found.closest if self.closest is None else min(found.closest, self.closest)
        if (nearest := found.nearest) is not None:
            known, _ = self._nearest.get(nearest.rival, (math.inf, nearest))
            if found.closest < known:
                self._nearest[nearest.rival] = found.closest, nearest
        return None if found.witness is None else Decision(Outcome.VIOLATED, Stage.ATTACK, witness=found.witness)

    def nearest_way(self, ways: Iterable[list[Overtaking]]) -> Overtaking | None:
        """Return that of some ways to violate the property, among those of one part, that was nearest to happening."""
        wanted = {way[0].winner: way[0] for way in ways if len(way) == 1}
        near = [self._nearest[rival] for rival in wanted.keys() & self._nearest.keys()]
        return wanted[min(near, key=lambda met: met[0])[1].rival] if near else None

    def start(self, wanted: Overtaking) -> IntArray:
        """Return the input of the box at which the winner has been nearest to overtaking."""
        _, box, _ = self._question
        _, nearest = self._nearest[wanted.winner]
        start: IntArray = box.allowed(nearest.point.astype(np.int64)[None])[0]
        return start
