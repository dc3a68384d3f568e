"""The walk down the corridor: from a deployed model and a query to a verdict."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bvverify.closing import Closing
from bvverify.errors import InputError
from bvverify.evidence import Replayer, Verdict, Witness
from bvverify.kernels.lower import LoweredModel, lower
from bvverify.kernels.target import Target
from bvverify.load.deployed import DeployedModel
from bvverify.network import IntArray, StepNetwork
from bvverify.queries import LevelBox, Query, Robustness, predicted_class
from bvverify.search import BitvectorSolver, Decision, Outcome, decide

DEFAULT_SOLVER = "bitwuzla"
DEFAULT_SECONDS = 60.0
DEFAULT_MEMORY = 8 * 2**30


class Verifier(Closing):
    """Answers queries about one model on one target; a context manager, for it holds a solver and a kernel process."""

    def __init__(
        self,
        deployed: DeployedModel,
        *,
        target: Target,
        solver: str = DEFAULT_SOLVER,
        seconds: float = DEFAULT_SECONDS,
        memory_bytes: int = DEFAULT_MEMORY,
        reproducers: Path = Path(),
    ) -> None:
        """Lower the model for `target`.

        `seconds` and `memory_bytes` limit the solver, per query; `reproducers` is the folder that takes a
        reproducer if the kernel ever contradicts a prediction.  Raises `NotExact` for layers that the target's
        model does not cover.
        """
        self.lowered: LoweredModel = lower(deployed.model, target)
        self._deployed = deployed
        self._seconds = seconds
        self._solver = BitvectorSolver(solver, memory_bytes=memory_bytes)
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
        return predicted_class(self.lowered.network.evaluate(self.lowered.quantizer.levels(inputs)))

    def verify(self, query: Query) -> Verdict:
        """Return the verdict on one query.

        Raises `InternalError` if a witness fails its replay: then no answer of this run may be trusted.
        """
        started = time.perf_counter()
        quantizer, network = self.lowered.quantizer, self.lowered.network
        center = query.region.center()
        if center.shape != network.input_shape:
            raise InputError(f"{self._deployed.name}: takes inputs of shape {network.input_shape}, got {center.shape}")
        if network.outputs != query.property.classes:
            raise InputError(
                f"{self._deployed.name}: has {network.outputs} outputs, the property speaks of {query.property.classes}"
            )
        outputs = network.evaluate(quantizer.levels(center[None]))
        prediction = int(predicted_class(outputs)[0])
        if query.property.violated_by(outputs)[0]:
            decision = _misclassified(query.property, prediction, quantizer.levels(center))
        else:
            box = query.region.levels(quantizer)
            decision = decide(network, box, query.property, solver=self._solver, seconds=self._seconds)
        witness = None if decision.witness is None else self._witness(decision.witness, query)
        return Verdict(
            outcome=decision.outcome,
            target=str(self.lowered.target),
            stage=decision.stage,
            solver=decision.solver,
            seconds=time.perf_counter() - started,
            reason=decision.reason,
            label=query.property.label,
            prediction=prediction,
            witness=witness,
        )

    def close(self) -> None:
        """End the solver and the kernel process."""
        self._solver.close()
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


def verify_network(
    network: StepNetwork,
    box: LevelBox,
    question: Robustness,
    *,
    solver: str = DEFAULT_SOLVER,
    seconds: float = DEFAULT_SECONDS,
    memory_bytes: int = DEFAULT_MEMORY,
) -> Decision:
    """Return whether `question` holds for every integer input of `box`, for a StepNetwork built by hand.

    There is no kernel to replay a witness on; it has been evaluated on the network instead.
    """
    if box.lower.shape != network.input_shape or question.classes != network.outputs:
        raise InputError(
            f"verify_network: the network takes {network.input_shape} and has {network.outputs} outputs, "
            f"the box has shape {box.lower.shape} and the property {question.classes} outputs"
        )
    if (box.lower < network.lower).any() or (box.upper > network.upper).any():
        raise InputError("verify_network: the box leaves the network's input domain")
    with BitvectorSolver(solver, memory_bytes=memory_bytes) as backend:
        return decide(network, box, question, solver=backend, seconds=seconds)


def _misclassified(question: Robustness, prediction: int, levels: IntArray) -> Decision:
    reason = f"the input itself is classified as {prediction}, not {question.label}"
    if prediction == question.label:
        reason = f"the input itself ties with its label {question.label}, which the tie rule forbids"
    return Decision(Outcome.VIOLATED, "misclassified", witness=levels, reason=reason)


def summary(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """Return how many verdicts there are of each outcome."""
    return {str(outcome): sum(verdict.outcome is outcome for verdict in verdicts) for outcome in Outcome}
