"""The pipeline: stages in order of cost, stopping at the first exact answer."""

import time
from collections.abc import Collection
from dataclasses import replace
from typing import Literal

from bvverify.errors import InternalError, UsageError
from bvverify.network import IntArray, StepNetwork
from bvverify.queries import LevelBox, Robustness
from bvverify.search.attack import AttackBudget, attack
from bvverify.search.bitvector import BitvectorSolver
from bvverify.search.decision import Decision, Obstacle, Outcome, Stage
from bvverify.search.intervals import interval_gap, proved_by_intervals
from bvverify.search.linear import linear_gap

ALL_STAGES = tuple(Stage)

_LEAVING_TIME = (Obstacle.STAGES, Obstacle.SOLVER, Obstacle.MEMORY, Obstacle.CRASH)
"""With these, another stage may still decide."""


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
    deadline = time.monotonic() + seconds
    gap, closest = None, None
    if Stage.INTERVALS in stages:
        gap = interval_gap(network, box, question)
        if gap == 0:
            return Decision(Outcome.ROBUST, Stage.INTERVALS)
    if Stage.BOUNDS in stages:
        tighter = linear_gap(network, box, question)
        if tighter == 0:
            return Decision(Outcome.ROBUST, Stage.BOUNDS)
        gap = tighter if gap is None else min(gap, tighter)
    if Stage.ATTACK in stages:
        found = attack(network, box, question, budget=AttackBudget(), deadline=deadline)
        if found.witness is not None:
            return _confirmed(Decision(Outcome.VIOLATED, Stage.ATTACK, witness=found.witness), network, box, question)
        closest = found.closest
    reason = f"not decided by {', '.join(stages)}"
    decision = Decision(Outcome.UNKNOWN, max(stages, key=ALL_STAGES.index), reason=reason, obstacle=Obstacle.STAGES)
    if Stage.ILP in stages:
        decision = solver.programs.decide(network, box, question, seconds=max(0.0, deadline - time.monotonic()))
    if Stage.BITVECTOR in stages and decision.obstacle in _LEAVING_TIME:
        decision = solver.decide(network, box, question, seconds=max(0.0, deadline - time.monotonic()))
    if decision.obstacle is Obstacle.TIME:
        decision = replace(decision, reason=f"time: {seconds:g} s")
    if decision.outcome is Outcome.UNKNOWN:
        return replace(decision, gap=gap, closest=closest)
    return _confirmed(decision, network, box, question)


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
