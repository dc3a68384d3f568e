"""Ranges of outputs over a region: proved from outside, attained from inside."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bvverify.bounds import LinearBounds, Slopes
from bvverify.errors import InputError, InternalError, UsageError
from bvverify.network import Gather, IntArray, Node, StepNetwork
from bvverify.queries import LevelBox, Robustness, TieRule
from bvverify.search import ALL_STAGES, BitvectorSolver, Outcome, Stage, decide
from bvverify.search.ascent import highest


@dataclass(frozen=True, eq=False)
class OutputRange:
    """Least and greatest value of one output, in output levels (the integers of the last layer)."""

    output: int
    proved: tuple[int, int]
    """No input of the region gives less than the first or more than the second."""
    attained: tuple[int, int]
    """Two inputs of the region, `levels`, give exactly these."""
    levels: tuple[IntArray, IntArray]
    """Network inputs, int64 of the network's input shape, that give `attained`."""
    solver: str = ""
    """The solver that is trusted for `proved`, with its version; empty where integers alone proved it."""

    @property
    def exact(self) -> tuple[bool, bool]:
        """Whether the proved and the attained value are the same, for the least and for the greatest one."""
        return self.proved[0] == self.attained[0], self.proved[1] == self.attained[1]


@dataclass(frozen=True, eq=False)
class RegionRanges:
    """The ranges of a model's outputs over a region of real inputs."""

    ranges: list[OutputRange]
    inputs: npt.NDArray[np.float32]
    """Real inputs of the region that give the attained values, float32 (ranges, 2, *input_shape)."""
    replay: str
    """`replayed`: the real kernel computed the same bytes for all of them; else why that was not tried."""


def output_ranges(
    network: StepNetwork,
    box: LevelBox,
    *,
    outputs: Sequence[int] | None = None,
    solver: BitvectorSolver,
    seconds: float,
    stages: Collection[Stage] = ALL_STAGES,
) -> list[OutputRange]:
    """Return the ranges of `outputs` (all without a choice) over the inputs of `box`.

    Intervals, and linear bounds if `stages` has them, prove; gradients, if it has `attack`, attain.  The stages that
    both prove and refute are then asked, value by value, what lies between, `seconds` at most for each output.  Raises
    `UsageError` for outputs that the network does not have, `InputError` for a box of another shape than its inputs.
    """
    chosen = list(range(network.outputs)) if outputs is None else list(outputs)
    if wrong := [output for output in chosen if not 0 <= output < network.outputs]:
        raise UsageError(f"output {wrong[0]} is not one of the {network.outputs} outputs, 0 to {network.outputs - 1}")
    if box.lower.shape != network.input_shape:
        raise InputError(f"box: has shape {box.lower.shape}, the network takes {network.input_shape}")
    lower, upper = _proved(network, box, stages)
    directions = np.zeros((2 * len(chosen), network.outputs), dtype=np.int64)
    directions[np.arange(2 * len(chosen)), np.repeat(chosen, 2)] = np.tile([-1, 1], len(chosen))
    deadline = time.monotonic() + (seconds * len(chosen) if Stage.ATTACK in stages else 0.0)
    points = highest(network, box, directions, deadline=deadline)
    values = network.evaluate(points)
    thorough = [stage for stage in stages if stage not in (Stage.INTERVALS, Stage.BOUNDS, Stage.ATTACK)]
    found = []
    for place, output in enumerate(chosen):
        ends = _Ends(network, box, output, (int(lower[output]), int(upper[output])), solver, thorough)
        ends.meet(points[2 * place], int(values[2 * place, output]))
        ends.meet(points[2 * place + 1], int(values[2 * place + 1, output]))
        if thorough:
            ends.close(seconds)
        found.append(ends.range())
    return found


def _proved(network: StepNetwork, box: LevelBox, stages: Collection[Stage]) -> tuple[IntArray, IntArray]:
    """Return what no output is below, and what none is above, int64 (outputs,) each."""
    known = network.interval(box.lower, box.upper)
    if Stage.BOUNDS in stages:
        for slopes in Slopes:
            known = LinearBounds(network, box.lower, box.upper, slopes=slopes, known=known).values
    return known[-1][0].reshape(-1), known[-1][1].reshape(-1)


class _Ends:
    """What is known about the two ends of one output's range."""

    def __init__(
        self,
        network: StepNetwork,
        box: LevelBox,
        output: int,
        proved: tuple[int, int],
        solver: BitvectorSolver,
        stages: Collection[Stage],
    ) -> None:
        self._network, self._box, self._output, self._solver = network, box, output, solver
        self._stages = stages
        self._low, self._high = proved
        self._trusted = ""
        value = int(network.evaluate(box.lower[None])[0, output])
        self._least = self._most = value, box.lower

    def meet(self, levels: IntArray, value: int) -> None:
        """Take note of an input of the box that gives `value`."""
        if not self._low <= value <= self._high:
            raise InternalError(f"output {self._output} is {value} for an input, outside of its bounds")
        if value < self._least[0]:
            self._least = value, levels
        if value > self._most[0]:
            self._most = value, levels

    def close(self, seconds: float) -> None:
        """Halve what lies between attained and proved values, until they meet or time is over: half for each end."""
        deadline = time.monotonic() + seconds / 2
        while (room := self._least[0] - self._low) > 0:
            if not self._halve(self._low + (room - 1) // 2, upwards=False, deadline=deadline):
                break
        deadline = time.monotonic() + seconds / 2
        while (room := self._high - self._most[0]) > 0:
            if not self._halve(self._high - (room - 1) // 2, upwards=True, deadline=deadline):
                break

    def range(self) -> OutputRange:
        """Return what is known."""
        return OutputRange(
            self._output,
            (self._low, self._high),
            (self._least[0], self._most[0]),
            (self._least[1], self._most[1]),
            self._trusted,
        )

    def _halve(self, value: int, *, upwards: bool, deadline: float) -> bool:
        """Ask whether the output reaches `value`, from below or from above; return whether that was answered."""
        if time.monotonic() >= deadline:
            return False
        # Two outputs, this one and the constant: the label is the one that must stay strictly ahead of the other.
        pair = Node(Gather(np.array([self._output, -1]), padding=value), (len(self._network.nodes),))
        decision = decide(
            StepNetwork(self._network.lower, self._network.upper, (*self._network.nodes, pair)),
            self._box,
            Robustness(1 if upwards else 0, 2, TieRule.ANY_TIE_VIOLATES),
            solver=self._solver,
            seconds=deadline - time.monotonic(),
            stages=self._stages,
        )
        if decision.witness is not None:
            self.meet(decision.witness, int(self._network.evaluate(decision.witness[None])[0, self._output]))
        if decision.outcome is Outcome.ROBUST:
            self._low, self._high = (self._low, value - 1) if upwards else (value + 1, self._high)
            self._trusted = decision.solver or self._trusted
        return decision.outcome is not Outcome.UNKNOWN
