"""Subject: one model on one target, which poses queries to a search and turns its decisions into verdicts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bvverify.closing import Closing
from bvverify.errors import InputError
from bvverify.evidence.replay import Replayer
from bvverify.evidence.verdict import Verdict, Witness
from bvverify.kernels.lower import LoweredModel, lower
from bvverify.kernels.target import Target
from bvverify.load.deployed import DeployedModel
from bvverify.network import IntArray
from bvverify.queries import LevelBox, Query, Region, Robustness, predicted_class
from bvverify.search import Decision, Outcome


@dataclass(frozen=True, eq=False)
class Posed:
    """A query as a search sees it."""

    query: Query
    box: LevelBox
    """The network inputs that the region reaches."""
    prediction: int
    """Class that torch.argmax gives for the unperturbed input."""
    decision: Decision | None
    """Set if the unperturbed input violates the property itself, so that nothing is left to search for."""


class Subject(Closing):
    """One model on one target; a context manager, for it holds a kernel process."""

    def __init__(self, deployed: DeployedModel, *, target: Target, reproducers: Path = Path()) -> None:
        """Lower the model for `target`.

        `reproducers` is the folder that takes a reproducer if the kernel ever contradicts a prediction.  Raises
        `NotExact` for layers that the target's model does not cover.
        """
        self.lowered: LoweredModel = lower(deployed.model, target)
        self.deployed = deployed
        self._replayer = Replayer(deployed, self.lowered, reproducers=reproducers)

    @property
    def replay_refusal(self) -> str | None:
        """Why witnesses cannot be replayed on this machine, or None."""
        return self._replayer.refusal

    def predictions(self, inputs: npt.NDArray[np.float32]) -> IntArray:
        """Return the class that torch.argmax gives for each real input (n, *input_shape), after the kernel has
        confirmed it.

        Where the target can run here, the bytes of every layer are compared with the kernel's; a difference is an
        `InternalError`.
        """
        if self._replayer.refusal is None and len(inputs):
            self._replayer.confirm(inputs)
        return self.classes(inputs)

    def classes(self, inputs: npt.NDArray[np.float32]) -> IntArray:
        """Return the class that torch.argmax gives for each real input (n, *input_shape), by the network alone."""
        return predicted_class(self.lowered.network.evaluate(self.lowered.quantizer.levels(inputs)))

    def box(self, region: Region) -> LevelBox:
        """Return the network inputs that a region reaches; raise `InputError` if it does not fit the model."""
        wanted, shape = self.lowered.network.input_shape, region.center().shape
        if shape != wanted:
            raise InputError(f"{self.deployed.name}: takes inputs of shape {wanted}, got {shape}")
        return region.levels(self.lowered.quantizer)

    def pose(self, query: Query) -> Posed:
        """Return the query as a search sees it; raise `InputError` if it does not fit the model."""
        network, box = self.lowered.network, self.box(query.region)
        if network.outputs != query.property.classes:
            raise InputError(
                f"{self.deployed.name}: has {network.outputs} outputs, the property speaks of {query.property.classes}"
            )
        levels = self.lowered.quantizer.levels(query.region.center())
        outputs = network.evaluate(levels[None])
        prediction = int(predicted_class(outputs)[0])
        violated = bool(query.property.violated_by(outputs)[0])
        decision = _misclassified(query.property, prediction, levels) if violated else None
        return Posed(query, box, prediction, decision)

    def conclude(self, posed: Posed, decision: Decision, *, seconds: float) -> Verdict:
        """Return the verdict that a decision means; `seconds` is how long it took.

        Raises `InternalError` if a witness fails its replay: then no answer of this run may be trusted.
        """
        witness = None if decision.witness is None else self._witness(decision.witness, posed.query)
        return Verdict(
            outcome=decision.outcome,
            target=str(self.lowered.target),
            stage=decision.stage,
            solver=decision.solver,
            seconds=seconds,
            reason=decision.reason,
            label=posed.query.property.label,
            prediction=posed.prediction,
            witness=witness,
            obstacle=decision.obstacle,
            gap=decision.gap,
            missing=decision.missing,
            nodes=decision.nodes,
            closest=decision.closest,
        )

    def close(self) -> None:
        """End the kernel process."""
        self._replayer.close()

    def _witness(self, levels: IntArray, query: Query) -> Witness:
        real = query.region.real_input(levels, self.lowered.quantizer)
        refusal = self._replayer.refusal
        if refusal is None:
            self._replayer.confirm_violation(real, query.property)
        return Witness(
            real=real,
            levels=levels,
            outputs=self.lowered.network.evaluate(levels[None])[0],
            replayed=refusal is None,
            replay="replayed" if refusal is None else f"not made: {refusal}",
        )


def _misclassified(question: Robustness, prediction: int, levels: IntArray) -> Decision:
    reason = f"the input itself is classified as {prediction}, not {question.label}"
    if question.forbidden is not None:
        how = "is classified as" if prediction == question.forbidden else "ties with"
        reason = f"the input itself {how} {question.forbidden}, which is forbidden"
    elif prediction == question.label:
        reason = f"the input itself ties with its label {question.label}, which the tie rule forbids"
    return Decision(Outcome.VIOLATED, "misclassified", witness=levels, reason=reason)
