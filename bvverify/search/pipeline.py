"""The pipeline: stages in order of cost, stopping at the first exact answer."""

from dataclasses import replace
from typing import Literal

from bvverify.errors import InternalError
from bvverify.network import IntArray, StepNetwork
from bvverify.queries import LevelBox, Robustness
from bvverify.search.bitvector import BitvectorSolver
from bvverify.search.decision import Decision, Outcome
from bvverify.search.intervals import interval_gap, proved_by_intervals


def decide(
    network: StepNetwork, box: LevelBox, question: Robustness, *, solver: BitvectorSolver, seconds: float
) -> Decision:
    """Return whether `question` holds for every input of `box`, within `seconds` of solver time.

    A witness is evaluated on the network before it is returned; one that lies outside the box or violates nothing
    is an `InternalError`.
    """
    gap = interval_gap(network, box, question)
    if gap == 0:
        return Decision(Outcome.ROBUST, "intervals")
    decision = solver.decide(network, box, question, seconds=seconds)
    if decision.outcome is Outcome.UNKNOWN:
        return replace(decision, gap=gap)
    if decision.outcome is Outcome.VIOLATED and not _violates(network, box, question, decision.witness):
        raise InternalError(f"{decision.solver} gave no input that violates the property: its answer cannot be trusted")
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
