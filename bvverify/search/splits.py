"""Splits: where a sub-problem is cut in two, at a threshold of a staircase where the relaxation errs most.

The level of a unit stays below a threshold or it does not: one rule for the phases of ReLUs, saturation and rounding.
Where a unit is the greatest of several sums, all of them stay below the threshold, or one of them does not.

Where few inputs are free, as in a patch, the interval of an input is halved instead: that narrows all units around it.
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
    """Whether a unit, the level of the greatest of some sums, stays below a level; an input is a sum of its own."""

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


def best_split(hulls: NetworkHulls, problem: Subproblem, *, free_inputs: int) -> Split | None:
    """Return the split where the relaxation is furthest from the network; None if there is nothing to split.

    Where at most `free_inputs` inputs vary it is one of an input, if that promises anything.
    """
    assert problem.dual is not None
    assert problem.found is not None
    low, high = problem.values[0]
    if np.count_nonzero(low < high) <= free_inputs and (split := _input_split(hulls, problem)) is not None:
        return split
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


def _input_split(hulls: NetworkHulls, problem: Subproblem) -> Split | None:
    """Return the split of the input to which most of the relaxation's errors go back, None if they go back to none.

    The error of a unit is shared out among the inputs that it reads, after how much each can move its sums.
    """
    assert problem.found is not None
    low, high = (end.reshape(-1) for end in problem.values[0])
    shared = np.zeros(len(low))
    for side, envelope in hulls.envelopes.items():
        if side[0] not in problem.found.primal:
            continue
        units = envelope.units
        error = np.maximum(_pooled_errors(hulls.network, problem, side, envelope).error, 0.0)
        moved = np.where(units.inputs < 0, 0, np.abs(units.weight).max(axis=1) * (high - low)[units.inputs])
        share = moved / np.maximum(moved.sum(axis=1, keepdims=True), 1)
        np.add.at(shared, units.inputs, error[:, None] * share)
    element = int(shared.argmax())
    if shared[element] == 0:
        return None
    middle = int(low[element] + high[element] + 1) // 2
    return Split(float(shared[element]), 0, np.array([element]), middle, (0, element, middle))


@dataclass(frozen=True, eq=False)
class _PooledErrors:
    """By how much the relaxation errs at units that are maxima of sums: -1.0 where they cannot be split; [units]."""

    error: Reals
    bound: Reals
    """The levels at which the relaxation has the units."""
    reached: IntArray
    """The levels of the sums there."""


def _pooled_errors(network: StepNetwork, problem: Subproblem, side: Side, envelope: Envelope) -> _PooledErrors:
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
    return _PooledErrors(error, y, reached)


def _pooled_split(network: StepNetwork, problem: Subproblem, side: Side, envelope: Envelope) -> Split | None:
    """Return the best split of units that are maxima of sums, among those that are bounded from one side."""
    (value, _), units = side, envelope.units
    found = _pooled_errors(network, problem, side, envelope)
    unit = int(found.error.argmax())
    if found.error[unit] < 0:
        return None
    step = network.nodes[units.step].operation
    assert isinstance(step, Step)
    element = int(units.elements[unit])
    least, most = (int(end.reshape(-1)[element]) for end in problem.values[value])
    level = int(np.clip(np.ceil((found.bound[unit] + found.reached[unit]) / 2), least + 1, most))
    threshold = int(step.thresholds[units.channel[unit]][level - step.base - 1])
    sums = network.nodes[units.step].inputs[0]
    return Split(float(found.error[unit]), sums, units.sums[unit], threshold, (value, element, level))


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
