"""The walk down the corridor: from a deployed model and a query to a verdict."""

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from bvverify.errors import InputError
from bvverify.evidence import Subject, Verdict
from bvverify.kernels.target import Target
from bvverify.load.deployed import DeployedModel
from bvverify.measure import LargestRadius, RegionRanges, largest_radius, output_ranges
from bvverify.network import StepNetwork
from bvverify.queries import LevelBox, Query, Region, Robustness
from bvverify.search import ALL_STAGES, BitvectorSolver, Decision, Outcome, Stage, decide
from bvverify.solvers import DEFAULT_SOLVER

DEFAULT_SECONDS = 60.0
DEFAULT_MEMORY = 8 * 2**30


class Verifier(Subject):
    """Answers queries about one model on one target; a context manager, for it holds a solver and a kernel process."""

    def __init__(
        self,
        deployed: DeployedModel,
        *,
        target: Target,
        solver: str = DEFAULT_SOLVER,
        seconds: float = DEFAULT_SECONDS,
        memory_bytes: int = DEFAULT_MEMORY,
        stages: Collection[Stage] = ALL_STAGES,
        reproducers: Path = Path(),
    ) -> None:
        """Lower the model for `target`.

        `seconds` limits the search of each query, `memory_bytes` the solver; `stages` are the ways to an answer that
        are tried, in order of cost; `reproducers` is the folder that takes a
        reproducer if the kernel ever contradicts a prediction.  Raises `NotExact` for layers that the target's
        model does not cover.
        """
        super().__init__(deployed, target=target, reproducers=reproducers)
        self._seconds, self._stages = seconds, stages
        self._solver = BitvectorSolver(solver, memory_bytes=memory_bytes)

    def verify(self, query: Query) -> Verdict:
        """Return the verdict on one query.

        Raises `InternalError` if a witness fails its replay: then no answer of this run may be trusted.
        """
        started = time.perf_counter()
        posed = self.pose(query)
        decision = posed.decision or decide(
            self.lowered.network,
            posed.box,
            query.property,
            solver=self._solver,
            seconds=self._seconds,
            stages=self._stages,
        )
        return self.conclude(posed, decision, seconds=time.perf_counter() - started)

    def largest_radius(
        self,
        regions: Callable[[int], Region],
        question: Robustness,
        *,
        maximum: int,
        asked: Callable[[int, Verdict], None] | None = None,
    ) -> LargestRadius:
        """Bisect for the largest radius up to `maximum` at which `question` holds; `seconds` limit each query.

        `regions` gives the region of a radius, for example `lambda radius: PixelBall(image, radius)`; each must lie
        within those of larger radii.  `asked` is told of every verdict.  Raises `UsageError` for a negative `maximum`,
        and what `verify` raises.
        """
        return largest_radius(self, self.verify, regions, question, maximum=maximum, asked=asked)

    def output_ranges(self, region: Region, *, outputs: Sequence[int] | None = None) -> RegionRanges:
        """Return the ranges of `outputs` (all without a choice) over `region`; `seconds` limit each output.

        Raises `UsageError` for outputs that the model does not have, `InternalError` if the kernel contradicts an
        attained value.
        """
        ranges = output_ranges(
            self.lowered.network,
            self.box(region),
            outputs=outputs,
            solver=self._solver,
            seconds=self._seconds,
            stages=self._stages,
        )
        real = [[region.real_input(levels, self.lowered.quantizer) for levels in one.levels] for one in ranges]
        inputs = np.array(real, dtype=np.float32).reshape(len(ranges), 2, *self.lowered.network.input_shape)
        self.predictions(inputs.reshape(-1, *inputs.shape[2:]))
        refusal = self.replay_refusal
        return RegionRanges(ranges, inputs, "replayed" if refusal is None else f"not made: {refusal}")

    def close(self) -> None:
        """End the solver and the kernel process."""
        self._solver.close()
        super().close()


def verify_network(
    network: StepNetwork,
    box: LevelBox,
    question: Robustness,
    *,
    solver: str = DEFAULT_SOLVER,
    seconds: float = DEFAULT_SECONDS,
    memory_bytes: int = DEFAULT_MEMORY,
    stages: Collection[Stage] = ALL_STAGES,
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
        return decide(network, box, question, solver=backend, seconds=seconds, stages=stages)


def summary(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """Return how many verdicts there are of each outcome."""
    return {str(outcome): sum(verdict.outcome is outcome for verdict in verdicts) for outcome in Outcome}
