"""The pipeline: stages in order of cost, stopping at the first exact answer."""

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from bvverify.errors import InternalError, UsageError
from bvverify.network import Affine, IntArray, StepNetwork
from bvverify.queries import LevelBox, Overtaking, Robustness
from bvverify.search.attack import AttackBudget, Near, attack
from bvverify.search.bitvector import BitvectorSolver
from bvverify.search.decision import Decision, Obstacle, Outcome, Stage
from bvverify.search.ilp import OpenWay, ways_open_to_bounds
from bvverify.search.intervals import interval_gap, proved_by_intervals
from bvverify.search.linear import linear_bounds

if TYPE_CHECKING:
    from bvverify.search.branch import Branched, Branching
    from bvverify.search.dive import DiveEffort

ALL_STAGES = tuple(Stage)

_LEAVING_TIME = (Obstacle.STAGES, Obstacle.SOLVER, Obstacle.MEMORY, Obstacle.CRASH)
"""With these, another stage may still decide."""
_FEW_POINTS = 2**20
"""Boxes of fewer inputs are left to solvers, if stages with solvers are allowed."""
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
_ATTACK_DIVED = AttackBudget(starts=64, sign_steps=0, smooth_steps=0, integer_steps=300, seed=3, spread=0.02)
"""Around what programs found, whose levels larger distances lose."""
_LEAST_MISSING = 1e-3
"""Levels that a proof is taken to miss at least."""
_NEAR = 1.0
"""Violations within so many levels are dived for before cases are bounded."""


def read_stages(text: str) -> tuple[Stage, ...]:
    """Return the stages named in a text such as `bounds,attack`, in the order in which they are tried."""
    names = {part.strip() for part in text.split(",")}
    if unknown := sorted(names - set(ALL_STAGES)):
        raise UsageError(f"stage '{unknown[0]}': expected {', '.join(ALL_STAGES)}, several with commas")
    return tuple(stage for stage in ALL_STAGES if stage in names)


def decide(
    network: StepNetwork,
    box: LevelBox,
    question: Robustness,
    *,
    solver: BitvectorSolver,
    seconds: float,
    stages: Collection[Stage] = ALL_STAGES,
) -> Decision:
    """Return whether `question` holds for every input of `box`, by the first of `stages` that decides in `seconds`.

    A witness is evaluated on the network before it is returned; one that lies outside the box or violates nothing
    is an `InternalError`.
    """
    search = _Pipeline(network, box, question, solver, time.monotonic() + seconds, stages)
    decision = search.run()
    if decision.obstacle is Obstacle.TIME:
        decision = replace(decision, reason=f"time: {seconds:g} s")
    return _confirmed(decision, network, box, question)


class _Pipeline:
    """One question on its way through the stages."""

    def __init__(
        self,
        network: StepNetwork,
        box: LevelBox,
        question: Robustness,
        solver: BitvectorSolver,
        deadline: float,
        stages: Collection[Stage],
    ) -> None:
        self._question = network, box, question
        self._solver, self._deadline, self._stages = solver, deadline, stages
        self._gap: int | None = None
        self._closest: float | None = None
        self._nearest: dict[int, tuple[float, Near]] = {}
        """Per rival the least lead met, and where."""
        self._efforts: Iterator[DiveEffort] | None = None
        """Those that no dive has made yet, from the first dive on."""
        self._branched: Branched | None = None
        self._narrowed: list[OpenWay] | None = None

    def run(self) -> Decision:
        """Return the first exact answer, or UNKNOWN with all that was learnt."""
        finite = self._points() <= _FEW_POINTS and bool({Stage.ILP, Stage.BITVECTOR} & set(self._stages))
        ways: list[tuple[Stage, Callable[[], Decision | None]]] = [
            (Stage.INTERVALS, self._intervals),
            (Stage.BOUNDS, self._bounds),
            (Stage.ATTACK, self._attack),
            # Solvers decide small boxes in less time than it takes to find multipliers.
            *([] if finite else [(Stage.BRANCH, self._branch)]),
            (Stage.ILP, self._ilp),
            (Stage.BITVECTOR, self._bitvector),
        ]
        last = max(self._stages, key=ALL_STAGES.index)
        reason = f"not decided by {', '.join(self._stages)}"
        open_ = Decision(Outcome.UNKNOWN, last, reason=reason, obstacle=Obstacle.STAGES)
        for stage, decide_by in ways:
            if stage not in self._stages or open_.obstacle not in _LEAVING_TIME:
                continue
            decision = decide_by()
            if decision is not None and decision.outcome is not Outcome.UNKNOWN:
                return decision
            open_ = decision or open_
        nodes, missing = (None, None) if self._branched is None else (self._branched.nodes, self._branched.missing)
        return replace(open_, gap=self._gap, closest=self._closest, nodes=nodes, missing=missing)

    def _points(self) -> int:
        _, box, _ = self._question
        return math.prod((box.upper - box.lower + 1).reshape(-1).tolist())

    def _left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _intervals(self) -> Decision | None:
        self._gap = interval_gap(*self._question)
        return Decision(Outcome.ROBUST, Stage.INTERVALS) if self._gap == 0 else None

    def _bounds(self) -> Decision | None:
        gap = linear_bounds(*self._question).gap
        self._gap = gap if self._gap is None else min(gap, self._gap)
        return Decision(Outcome.ROBUST, Stage.BOUNDS) if gap == 0 else None

    def _attack(self) -> Decision | None:
        return self._attacked(AttackBudget())

    def _attacked(self, budget: AttackBudget, near: Sequence[Near] = ()) -> Decision | None:
        found = attack(*self._question, budget=budget, deadline=self._deadline, near=near)
        self._closest = found.closest if self._closest is None else min(found.closest, self._closest)
        if (nearest := found.nearest) is not None:
            known, _ = self._nearest.get(nearest.rival, (math.inf, nearest))
            if found.closest < known:
                self._nearest[nearest.rival] = found.closest, nearest
        return None if found.witness is None else Decision(Outcome.VIOLATED, Stage.ATTACK, witness=found.witness)

    def _branch(self) -> Decision | None:
        # torch, and the solver of linear programs, take a while to import; most questions are decided before.
        from bvverify.search.branch import BranchBudget, Branching

        bounded = linear_bounds(*self._question)
        ways = [way for _, way in bounded.ways]
        search = Branching(*self._question, ways, bounded.values, budget=BranchBudget(), deadline=self._deadline)
        if (decided := self._seen(search.bound(), search)) is not None:
            return decided
        if Stage.ATTACK in self._stages:
            if (violated := self._attacked_again(search)) is not None:
                return violated
            if self._closest is not None and self._closest < _NEAR and (violated := self._dived(search)) is not None:
                return violated
        if (decided := self._seen(search.deepen(), search)) is not None:
            return decided
        if Stage.ATTACK in self._stages and (violated := self._attacked_near(search)) is not None:
            return violated
        tries = self._last_tries(search)
        for place, attempt in enumerate(tries, 1):
            # Where programs are not among the tries, stage `ilp` follows.
            last = place == len(tries) and (self._reads_few_inputs() or Stage.ILP not in self._stages)
            if (decided := attempt(time.monotonic() + self._left() * (1.0 if last else _SHARE))) is not None:
                return decided
        if self._left() == 0.0:
            return Decision(Outcome.UNKNOWN, Stage.BRANCH, reason="time", obstacle=Obstacle.TIME)
        return None

    def _last_tries(self, search: "Branching") -> list[Callable[[float], Decision | None]]:
        """Return what is left to do, each until a time of time.monotonic()."""

        def split(until: float) -> Decision | None:
            return self._seen(search.split(until=until), search)

        if not self._reads_few_inputs():
            return [split]
        prove: list[Callable[[float], Decision | None]] = [split]
        if Stage.ILP in self._stages:
            prove.append(self._programs)
        if Stage.ATTACK not in self._stages or (way := self._nearest_way(search)) is None:
            return prove
        refute = partial(self._looked_around, way)
        assert self._branched is not None
        assert self._closest is not None
        proof_is_nearer = self._branched.missing + _GAINED < self._closest
        return [*prove, refute] if proof_is_nearer else [refute, *prove]

    def _seen(self, branched: "Branched", search: "Branching") -> Decision | None:
        """Take note of what branch and bound found; return the decision that follows, if any."""
        self._branched, self._narrowed = branched, search.open_ways
        if branched.proved:
            return Decision(Outcome.ROBUST, Stage.BRANCH)
        if branched.witness is not None:
            return Decision(Outcome.VIOLATED, Stage.BRANCH, witness=branched.witness)
        return None

    def _attacked_again(self, search: "Branching") -> Decision | None:
        rivals = {overtaking.winner for open_ in search.open_ways for overtaking in open_.way}
        return self._attacked(replace(_SECOND_ATTACK, rivals=tuple(sorted(rivals))))

    def _attacked_near(self, search: "Branching") -> Decision | None:
        """Attack around the inputs where bounds are attained, and with linear or integer programs."""
        if (violated := self._attacked(_ATTACK_NEAR, search.near)) is not None:
            return violated
        return self._dived(search)

    def _nearest_way(self, search: "Branching") -> Overtaking | None:
        """Return the open way to violate the property that an attack has been nearest to."""
        wanted = {open_.way[0].winner: open_.way[0] for open_ in search.open_ways if len(open_.way) == 1}
        near = [self._nearest[rival] for rival in wanted.keys() & self._nearest.keys()]
        return wanted[min(near, key=lambda met: met[0])[1].rival] if near else None

    def _dived(self, search: "Branching") -> Decision | None:
        """Attack with linear programs; the nearer a violation is, compared with a proof, the longer."""
        from bvverify.search.dive import EFFORTS, Chain, dive

        network, box, _ = self._question
        chain, wanted = Chain.of(network), self._nearest_way(search)
        if chain is None or wanted is None:
            return None
        assert self._branched is not None
        assert self._closest is not None
        share = 1 / (1 + max(0.0, self._closest) / max(_LEAST_MISSING, self._branched.missing))
        until = time.monotonic() + share * self._left()
        self._efforts = iter(EFFORTS) if self._efforts is None else self._efforts
        for effort in self._efforts:
            point = dive(chain, box, self._start(wanted), wanted, effort=effort, deadline=until)
            if point is None:
                return None
            near = [Near(point.astype(np.float32), wanted.winner)]
            if (violated := self._attacked(_ATTACK_DIVED, near)) is not None:
                return violated
        return None

    def _looked_around(self, wanted: Overtaking, until: float) -> Decision | None:
        from bvverify.search.neighbourhood import NeighbourhoodEffort, Neighbourhoods

        neighbourhoods = Neighbourhoods.of(*self._question, wanted)
        if neighbourhoods is None:
            return None
        met = neighbourhoods.search(self._start(wanted), NeighbourhoodEffort(), deadline=until)
        return self._attacked(_ATTACK_DIVED, [Near(met.astype(np.float32), wanted.winner)])

    def _start(self, wanted: Overtaking) -> IntArray:
        """Return the input of the box at which the winner has been nearest to overtaking."""
        _, box, _ = self._question
        _, nearest = self._nearest[wanted.winner]
        start: IntArray = box.allowed(nearest.point.astype(np.int64)[None])[0]
        return start

    def _reads_few_inputs(self) -> bool:
        network, _, _ = self._question
        first = next((node.operation for node in network.nodes if isinstance(node.operation, Affine)), None)
        return first is not None and first.weight.shape[2] <= _FEW_INPUTS

    def _ilp(self) -> Decision:
        return self._solved(self._left())

    def _programs(self, until: float) -> Decision | None:
        decision = self._solved(max(0.0, until - time.monotonic()))
        return None if decision.outcome is Outcome.UNKNOWN else decision

    def _solved(self, seconds: float) -> Decision:
        """Return what integer programs say."""
        network, box, _ = self._question
        ways = ways_open_to_bounds(*self._question) if self._narrowed is None else self._narrowed
        return self._solver.programs.decide(network, box, ways, seconds=seconds)

    def _bitvector(self) -> Decision | None:
        return self._solver.decide(*self._question, seconds=self._left())


def _confirmed(decision: Decision, network: StepNetwork, box: LevelBox, question: Robustness) -> Decision:
    """Return the decision, unless it is a violation by something that violates nothing."""
    if decision.outcome is Outcome.VIOLATED and not _violates(network, box, question, decision.witness):
        who = decision.solver or f"stage {decision.stage}"
        raise InternalError(f"{who} gave no input that violates the property: its answer cannot be trusted")
    return decision


def _violates(network: StepNetwork, box: LevelBox, question: Robustness, witness: IntArray | None) -> bool:
    if witness is None or witness.shape != box.lower.shape or not box.contains(witness):
        return False
    return bool(question.violated_by(network.evaluate(witness[None]))[0])


def known_status(
    network: StepNetwork, box: LevelBox, question: Robustness, sample: IntArray
) -> Literal["sat", "unsat", "unknown"]:
    """Return whether a violation in `box` is satisfiable, as far as intervals and one input of the box show."""
    if question.violated_by(network.evaluate(sample[None]))[0]:
        return "sat"
    return "unsat" if proved_by_intervals(network, box, question) else "unknown"
