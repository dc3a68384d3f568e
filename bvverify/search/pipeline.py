"""The pipeline: stages in order of cost, stopping at the first exact answer."""

import math
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from bvverify.bounds.idle import without_idle_clamps
from bvverify.bounds.restriction import restricted
from bvverify.errors import InternalError, UsageError
from bvverify.network import Clamp, IntArray, StepNetwork
from bvverify.queries import LevelBox, Robustness
from bvverify.search.attack import AttackBudget
from bvverify.search.attacks import Attacks
from bvverify.search.bitvector import BitvectorSolver
from bvverify.search.decision import Decision, Obstacle, Outcome, Stage
from bvverify.search.ilp import OpenWay, ways_left_open
from bvverify.search.intervals import interval_gap, proved_by_intervals
from bvverify.search.linear import Bounded, linear_bounds

if TYPE_CHECKING:
    from bvverify.search.pursuit import Pursuit

ALL_STAGES = tuple(Stage)

_LEAVING_TIME = (Obstacle.STAGES, Obstacle.SOLVER, Obstacle.MEMORY, Obstacle.CRASH)
"""With these, another stage may still decide."""
_FEW_POINTS = 2**20
"""Boxes of fewer inputs are left to solvers, if stages with solvers are allowed."""


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
    """One question on its way through the stages.

    What is known of the values on the box makes the network smaller; its inputs and outputs stay.
    """

    def __init__(
        self,
        network: StepNetwork,
        box: LevelBox,
        question: Robustness,
        solver: BitvectorSolver,
        deadline: float,
        stages: Collection[Stage],
    ) -> None:
        self._network, self._box, self._question = network, box, question
        self._solver, self._deadline, self._stages = solver, deadline, stages
        self._gap: int | None = None
        self._bounded: Bounded | None = None
        self._attacks: Attacks | None = None
        self._pursuit: Pursuit | None = None

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
        branched = None if self._pursuit is None else self._pursuit.branched
        nodes, missing = (None, None) if branched is None else (branched.nodes, branched.missing)
        closest = None if self._attacks is None else self._attacks.closest
        return replace(open_, gap=self._gap, closest=closest, nodes=nodes, missing=missing)

    def _points(self) -> int:
        return math.prod((self._box.upper - self._box.lower + 1).reshape(-1).tolist())

    def _left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _known(self) -> Bounded:
        """Return what linear bounds say, computed when first asked for."""
        if self._bounded is None:
            box = self._box
            if any(isinstance(node.operation, Clamp) for node in self._network.nodes):
                self._network = without_idle_clamps(self._network, self._network.interval(box.lower, box.upper))
            bounded = linear_bounds(self._network, box, self._question)
            plain = without_idle_clamps(self._network, bounded.values)
            if plain is not self._network:
                bounded = linear_bounds(plain, box, self._question)
            small = restricted(plain, bounded.values)
            self._network, self._bounded = small.network, replace(bounded, values=small.values)
        return self._bounded

    def _attacked(self) -> Attacks:
        """Return the attacks on this question."""
        if self._attacks is None:
            self._attacks = Attacks(self._network, self._box, self._question, self._deadline)
        return self._attacks

    def _intervals(self) -> Decision | None:
        self._gap = interval_gap(self._network, self._box, self._question)
        return Decision(Outcome.ROBUST, Stage.INTERVALS) if self._gap == 0 else None

    def _bounds(self) -> Decision | None:
        gap = self._known().gap
        self._gap = gap if self._gap is None else min(gap, self._gap)
        return Decision(Outcome.ROBUST, Stage.BOUNDS) if gap == 0 else None

    def _attack(self) -> Decision | None:
        return self._attacked().attack(AttackBudget())

    def _branch(self) -> Decision | None:
        # torch, and the solver of linear programs, take a while to import; most questions are decided before.
        from bvverify.search.pursuit import Pursuit

        bounded = self._known()
        self._pursuit = Pursuit(
            self._network,
            self._box,
            self._question,
            bounded,
            self._attacked(),
            self._solved,
            stages=self._stages,
            deadline=self._deadline,
        )
        if (decided := self._pursuit.run()) is not None:
            return decided
        if self._left() == 0.0:
            return Decision(Outcome.UNKNOWN, Stage.BRANCH, reason="time", obstacle=Obstacle.TIME)
        return None

    def _ilp(self) -> Decision:
        bounded = self._known()
        open_ = ways_left_open(bounded) if self._pursuit is None else self._pursuit.open_ways
        return self._solved(open_, self._left())

    def _solved(self, ways: list[OpenWay], seconds: float) -> Decision:
        """Return what integer programs say."""
        return self._solver.programs.decide(self._network, self._box, ways, seconds=seconds)

    def _bitvector(self) -> Decision | None:
        return self._solver.decide(self._network, self._box, self._question, seconds=self._left())


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
