"""Pursuit: proofs and refutations in turn, for questions that bounds of the whole box leave open.

The nearer answer is looked for first, and for longer: a proof that is missed by many levels is given up as soon as one
way to violate the property will not be excluded.
"""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

import numpy as np

from bvverify.network import Affine, IntArray, StepNetwork
from bvverify.queries import LevelBox, Overtaking, Robustness
from bvverify.search.attack import AttackBudget, Near
from bvverify.search.attacks import Attacks
from bvverify.search.branch import CLOSE, BranchBudget, Branched, Branching
from bvverify.search.chain import Chain
from bvverify.search.decision import Decision, Outcome, Stage
from bvverify.search.dive import EFFORTS, DiveEffort, dive
from bvverify.search.exchange import ExchangeEffort, Exchanges
from bvverify.search.ilp import OpenWay
from bvverify.search.linear import Bounded
from bvverify.search.neighbourhood import NeighbourhoodEffort, Neighbourhoods

Programs = Callable[[list[OpenWay], float], Decision]
"""Integer programs for some ways, for so many seconds."""
_Attempt = Callable[[float], Decision | None]
"""Something to try until a time, of time.monotonic()."""

_FEW_INPUTS = 64
"""Sums of so few inputs take few values, which relaxations do not see and integer programs do."""
_SHARE = 0.5
"""The part of the time left that is given to each way of going on, but for the last one."""
_GAINED = 1.5
"""How many levels nearer to a violation neighbourhoods commonly lead."""
_SECOND_ATTACK = AttackBudget(starts=128, sign_steps=20, smooth_steps=600, integer_steps=200, seed=1)
"""For questions that bounds of the whole box leave open."""
_ATTACK_NEAR = replace(_SECOND_ATTACK, sign_steps=0, seed=2)
"""Around the inputs where better bounds are attained."""
_SHORT = 3
"""By how much such attacks are shortened where neighbourhoods follow, which lead further."""
_ATTACK_FOUND = AttackBudget(starts=64, sign_steps=0, smooth_steps=0, integer_steps=300, seed=3, spread=0.02)
"""Around what exchanges and neighbourhoods found, whose levels larger distances lose."""
_LEAST_MISSING = 1e-3
"""Levels that a proof is taken to miss at least."""
_NEAR = 1.0
"""For violations within so many levels, levels are exchanged before bounds are improved."""
_FIRST_PATIENCE, _PATIENCE = 50, 100
"""For exchanges from the levels of an attack's best input, and of what dives find."""


class Pursuit:
    """One question, and what is known of it."""

    def __init__(
        self,
        network: StepNetwork,
        box: LevelBox,
        question: Robustness,
        bounded: Bounded,
        attacks: Attacks,
        programs: Programs,
        *,
        stages: Collection[Stage],
        deadline: float,
    ) -> None:
        """Prepare to decide `question` on `box`, of which `bounded` is known, until `deadline` (of time.monotonic)."""
        self._network, self._box, self._question = network, box, question
        self._attacks, self._programs = attacks, programs
        self._stages, self._deadline = stages, deadline
        ways = [way for _, way in bounded.ways]
        self._search = Branching(network, box, question, ways, bounded.values, budget=BranchBudget(), deadline=deadline)
        self._efforts: Iterator[DiveEffort] = iter(EFFORTS)
        """Those that no dive has made yet."""
        self._exchanged = 0
        """How often levels were exchanged."""
        self.branched: Branched | None = None
        """What branch and bound found."""

    @property
    def open_ways(self) -> list[OpenWay]:
        """The ways that are not excluded."""
        return self._search.open_ways

    def run(self) -> Decision | None:
        """Return the answer, None if there is none."""
        for attempt in (
            self._bound,
            self._exchange_if_near,
            self._deepen,
            self._prove_if_nearer,
            self._attack_again,
            self._attack_near,
            self._exchange,
            self._last_tries,
        ):
            if (decided := attempt()) is not None:
                return decided
        return None

    def _bound(self) -> Decision | None:
        return self._seen(self._search.bound())

    def _deepen(self) -> Decision | None:
        return self._seen(self._search.deepen())

    def _attack_again(self) -> Decision | None:
        if Stage.ATTACK not in self._stages:
            return None
        rivals = {overtaking.winner for open_ in self._search.open_ways for overtaking in open_.way}
        return self._attacks.attack(replace(self._shortened(_SECOND_ATTACK), rivals=tuple(sorted(rivals))))

    def _attack_near(self) -> Decision | None:
        """Attack around the inputs where bounds are attained."""
        budget = self._shortened(_ATTACK_NEAR)
        return self._attacks.attack(budget, self._search.near) if Stage.ATTACK in self._stages else None

    def _exchange_if_near(self) -> Decision | None:
        closest = self._attacks.closest
        return self._exchange() if closest is not None and closest < _NEAR else None

    def _prove_if_nearer(self) -> Decision | None:
        """Where a proof is nearer than a violation, look for it at once: with programs if it is close, then splits."""
        assert self.branched is not None
        closest, missing = self._attacks.closest, self.branched.missing
        if self._reads_few_inputs() or missing > (1.0 if closest is None else min(closest, 1.0)):
            return None
        programs: list[_Attempt] = [self._ask_programs] if missing < CLOSE and Stage.ILP in self._stages else []
        for attempt in (*programs, self._split):
            if (decided := attempt(time.monotonic() + _SHARE * self._left())) is not None:
                return decided
        return None

    def _exchange(self) -> Decision | None:
        """Exchange levels of dense layers; the nearer a violation is, compared with a proof, the longer."""
        chain, wanted = Chain.of(self._network), self._nearest_way()
        if Stage.ATTACK not in self._stages or chain is None or wanted is None:
            return None
        exchanges, until = Exchanges(chain, self._box), time.monotonic() + self._share_of_refutation() * self._left()
        while time.monotonic() < until and (start := self._start(exchanges, chain, wanted, until)) is not None:
            patience = _PATIENCE if self._exchanged else _FIRST_PATIENCE
            self._exchanged += 1
            effort = ExchangeEffort(patience=patience, seed=self._exchanged)
            met = exchanges.search(start, wanted, effort, deadline=until)
            if (violated := self._attack_around(met, wanted)) is not None:
                return violated
        return None

    def _start(self, exchanges: Exchanges, chain: Chain, wanted: Overtaking, until: float) -> IntArray | None:
        """Return an input from which to exchange levels: at first an attack's best, then what dives from there find;
        None if they find nothing.
        """
        start = self._attacks.start(wanted)
        if not self._exchanged:
            return start
        if (effort := next(self._efforts, None)) is None:
            return None
        levels = dive(chain, self._box, start, wanted, effort=effort, deadline=until)
        return None if levels is None else exchanges.settled(levels, start, deadline=until)

    def _attack_around(self, met: IntArray, wanted: Overtaking) -> Decision | None:
        """Attack around an input that nearly lets the winner overtake."""
        return self._attacks.attack(_ATTACK_FOUND, [Near(met.astype(np.float32), wanted.winner)])

    def _last_tries(self) -> Decision | None:
        """Split, and where sums read few inputs ask programs, each for a part of the time that is left."""
        tries = self._tries_of_few_inputs() if self._reads_few_inputs() else [(self._split, _SHARE)]
        for place, (attempt, share) in enumerate(tries, 1):
            # Where programs are not among the tries, stage `ilp` follows.
            last = place == len(tries) and (self._reads_few_inputs() or Stage.ILP not in self._stages)
            if (decided := attempt(time.monotonic() + self._left() * (1.0 if last else share))) is not None:
                return decided
        return None

    def _tries_of_few_inputs(self) -> list[tuple[_Attempt, float]]:
        """Return what to try, each for a part of the time that is left then."""
        prove: list[tuple[_Attempt, float]] = [(self._split, _SHARE)]
        if Stage.ILP in self._stages:
            prove.append((self._ask_programs, _SHARE))
        if Stage.ATTACK not in self._stages or (wanted := self._nearest_way()) is None:
            return prove
        assert self.branched is not None
        assert self._attacks.closest is not None

        def refute(until: float) -> Decision | None:
            return self._look_around(wanted, until)

        if self.branched.missing + _GAINED < self._attacks.closest:
            return [*prove, (refute, _SHARE)]
        return [(refute, self._share_of_refutation()), *prove]

    def _share_of_refutation(self) -> float:
        """Return the part of the time that goes to violations: the more, the nearer they are, compared with a proof."""
        assert self.branched is not None
        assert self._attacks.closest is not None
        return 1 / (1 + max(0.0, self._attacks.closest) / max(_LEAST_MISSING, self.branched.missing))

    def _split(self, until: float) -> Decision | None:
        return self._seen(self._search.split(until=until))

    def _ask_programs(self, until: float) -> Decision | None:
        decision = self._programs(self.open_ways, max(0.0, until - time.monotonic()))
        return None if decision.outcome is Outcome.UNKNOWN else decision

    def _look_around(self, wanted: Overtaking, until: float) -> Decision | None:
        neighbourhoods = Neighbourhoods.of(self._network, self._box, self._question, wanted)
        if neighbourhoods is None:
            return None
        met = neighbourhoods.search(self._attacks.start(wanted), NeighbourhoodEffort(), deadline=until)
        return self._attack_around(met, wanted)

    def _nearest_way(self) -> Overtaking | None:
        return self._attacks.nearest_way(open_.way for open_ in self._search.open_ways)

    def _seen(self, branched: Branched) -> Decision | None:
        """Take note of what branch and bound found; return the decision that follows, if any."""
        self.branched = branched
        if branched.proved:
            return Decision(Outcome.ROBUST, Stage.BRANCH)
        if branched.witness is not None:
            return Decision(Outcome.VIOLATED, Stage.BRANCH, witness=branched.witness)
        return None

    def _shortened(self, budget: AttackBudget) -> AttackBudget:
        if not self._reads_few_inputs():
            return budget
        smooth, integer = budget.smooth_steps // _SHORT, budget.integer_steps // _SHORT
        return replace(budget, smooth_steps=smooth, integer_steps=integer)

    def _reads_few_inputs(self) -> bool:
        first = next((node.operation for node in self._network.nodes if isinstance(node.operation, Affine)), None)
        return first is not None and first.weight.shape[2] <= _FEW_INPUTS

    def _left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())
