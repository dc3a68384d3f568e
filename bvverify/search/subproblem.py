"""Sub-problems: parts of a region, as exact intervals of all values of a network."""

from dataclasses import dataclass

import numpy as np

from bvverify.bounds.descent import Descended, Dual
from bvverify.network import IntArray, StepNetwork

Bounds = tuple[IntArray, IntArray]


@dataclass(eq=False)
class Subproblem:
    """A part of a region, and the dual that bounds a claim on it."""

    values: list[Bounds]
    """Bounds of every value of the network, int64 of its shape."""
    dual: Dual | None
    bound: float = np.inf
    found: Descended | None = None
    closed: bool = False
    """Whether nothing is left of it: no inputs, or none for which the claim holds."""


def narrow(
    network: StepNetwork, problem: Subproblem, value: int, elements: IntArray, most: IntArray, least: IntArray
) -> bool:
    """Narrow the intervals of some elements of a value; return whether one became smaller, or empty."""
    low, high = (end.reshape(-1) for end in problem.values[value])
    upper, lower = high.copy(), low.copy()
    upper[elements] = np.minimum(upper[elements], most)
    lower[elements] = np.maximum(lower[elements], least)
    if (lower > upper).any():
        problem.closed = True
        return True
    if (lower == low).all() and (upper == high).all():
        return False
    shape = problem.values[value][0].shape
    problem.values[value] = lower.reshape(shape), upper.reshape(shape)
    problem.closed = not propagate(network, problem.values)
    return True


def part(network: StepNetwork, problem: Subproblem, value: int, end: int, elements: IntArray, limit: int) -> Subproblem:
    """Return the part where the lower (0) or upper (1) ends of some elements are at least, or at most, a limit."""
    values = list(problem.values)
    ends = [array.copy() for array in values[value]]
    flat = ends[end].reshape(-1)
    flat[elements] = (np.minimum if end else np.maximum)(flat[elements], limit)
    values[value] = ends[0], ends[1]
    half = Subproblem(values, problem.dual, problem.bound, problem.found)
    half.closed = bool((ends[0] > ends[1]).any()) or not propagate(network, values)
    return half


def propagate(network: StepNetwork, values: list[Bounds]) -> bool:
    """Narrow bounds of all values by those of their sources, in place; return whether all intervals are left."""
    for index, node in enumerate(network.nodes):
        sources = [values[source] for source in node.inputs]
        low, high = node.operation.interval(tuple(low for low, _ in sources), tuple(high for _, high in sources))
        shape = values[index + 1][0].shape
        low, high = (
            np.maximum(low.reshape(shape), values[index + 1][0]),
            np.minimum(high.reshape(shape), values[index + 1][1]),
        )
        if (low > high).any():
            return False
        values[index + 1] = low, high
    return True
