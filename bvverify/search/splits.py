"""Splits: where a sub-problem is cut in two, at a threshold of a staircase where the relaxation errs most.

The level of a unit stays below a threshold or it does not: one rule for the phases of ReLUs, saturation and rounding.
Where a unit is the greatest of several sums, all of them stay below the threshold, or one of them does not.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bvverify.bounds.envelope import Envelope, Side
from bvverify.bounds.hull import NetworkHulls
from bvverify.network import Clamp, IntArray, Lookup, Step, StepNetwork
from bvverify.search.subproblem import Subproblem, part

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Split:
    """Whether a unit, the level of the greatest of some sums, stays below a level."""

    error: float
    """By how much the relaxation errs there, in output levels."""
    sums: int
    """The value of which the sums are elements."""
    elements: IntArray
    threshold: int
    unit: tuple[int, int, int]
    """The unit's value and element, and the level that it has where one of the sums reaches the threshold."""


@dataclass(frozen=True, eq=False)
class Erring:
    """Where the relaxation differs from an operation on one integer."""

    error: Reals
    """By how much, in output levels, [elements]."""
    row: Reals
    """The claim's coefficients in the results."""
    result: IntArray
    """The true results where the bound is attained."""


def halves(network: StepNetwork, problem: Subproblem, split: Split) -> tuple[Subproblem, Subproblem]:
    """Return the parts where a unit stays below a level, and where it does not."""
    value, element, level = split.unit
    below = part(network, problem, split.sums, 1, split.elements, split.threshold - 1)
    if len(split.elements) == 1:
        return below, part(network, problem, split.sums, 0, split.elements, split.threshold)
    return below, part(network, problem, value, 0, np.array([element]), level)


def best_split(hulls: NetworkHulls, problem: Subproblem) -> Split | None:
    """Return the split where the relaxation is furthest from the network; None if no staircase can be split."""
    assert problem.dual is not None
    assert problem.found is not None
    splits = [
        split
        for index in problem.dual.back
        if isinstance(step := hulls.network.nodes[index].operation, Step)
        and (split := _staircase_split(hulls, problem, index, step)) is not None
    ]
    splits += [
        split
        for side, envelope in hulls.envelopes.items()
        if envelope.units.sums.shape[1] > 1
        and side[0] in problem.found.primal
        and (split := _pooled_split(hulls.network, problem, side, envelope)) is not None
    ]
    return max(splits, key=lambda split: split.error, default=None)


def erring(network: StepNetwork, problem: Subproblem, index: int) -> Erring:
    """Return by how much the relaxation errs at each element of a node, where it attains its bound."""
    assert problem.found is not None
    operation = network.nodes[index].operation
    assert isinstance(operation, Step | Clamp | Lookup)
    (value,) = network.nodes[index].inputs
    low, high = problem.values[value]
    least, most = (end.reshape(-1) for end in problem.values[index + 1])
    inside, outside = (problem.found.primal[which].numpy().astype(np.float64) for which in (value, index + 1))
    u = np.clip(np.rint(inside).astype(np.int64).reshape(low.shape), low, high)
    result = operation.apply(u[None]).reshape(-1)
    row = problem.found.coefficients[index + 1].numpy().astype(np.float64)
    return Erring(np.abs(row) * np.minimum(np.abs(outside - result), most - least), row, result)


def _pooled_split(network: StepNetwork, problem: Subproblem, side: Side, envelope: Envelope) -> Split | None:
    """Return the best split of units that are maxima of sums, among those that are bounded from one side."""
    assert problem.found is not None
    (value, sign), units = side, envelope.units
    sums = network.nodes[units.step].inputs[0]
    step = network.nodes[units.step].operation
    assert isinstance(step, Step)
    row, y = (
        tensors[value].numpy().astype(np.float64)[units.elements]
        for tensors in (problem.found.coefficients, problem.found.primal)
    )
    greatest = problem.found.primal[sums].numpy().astype(np.float64)[units.sums].max(axis=1)
    reached = step.base + (step.thresholds[units.channel] <= np.rint(greatest)[:, None]).sum(axis=1)
    least, most = (end.reshape(-1)[units.elements] for end in problem.values[value])
    error = np.where((sign * row > 0) & (least < most), np.abs(row * (y - np.clip(reached, least, most))), -1.0)
    unit = int(error.argmax())
    if error[unit] < 0:
        return None
    level = int(np.clip(np.ceil((y[unit] + reached[unit]) / 2), least[unit] + 1, most[unit]))
    threshold = int(step.thresholds[units.channel[unit]][level - step.base - 1])
    return Split(float(error[unit]), sums, units.sums[unit], threshold, (value, int(units.elements[unit]), level))


def _staircase_split(hulls: NetworkHulls, problem: Subproblem, index: int, step: Step) -> Split | None:
    """Return the best split of one staircase."""
    value = hulls.network.nodes[index].inputs[0]
    low, _ = (end.reshape(-1) for end in problem.values[value])
    hull = hulls.hull(index, *problem.values[value])
    rising = hull.y[3] > hull.y[0]
    if not rising.any():
        return None
    found = erring(hulls.network, problem, index)
    row, reached = found.row, found.result - step.base
    channel = np.arange(len(low)) % len(step.thresholds)
    element = int(np.where(rising, found.error, -1.0).argmax())
    first, last = (int(hull.y[end][element]) - step.base for end in (0, 3))
    slope = hulls.makers[index].channel_slopes[channel[element]]
    if slope * (hull.x[1][element] - low[element]) > 2 and last - first > 1:
        chosen = first  # a long flat part: the phase of a ReLU
    else:
        chosen = int(reached[element]) if row[element] > 0 else int(reached[element]) - 1
    chosen = min(max(chosen, first), last - 1)
    unit = index + 1, element, step.base + chosen + 1
    threshold = int(step.thresholds[channel[element]][chosen])
    return Split(float(found.error[element]), value, np.array([element]), threshold, unit)
