"""Networks with one planted fault that shows at a given input."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bvverify.errors import UsageError
from bvverify.network import Affine, IntArray, Node, Step, StepNetwork

_ELEMENTS = 16
"""How many elements of a staircase's input are tried."""


def tampered(network: StepNetwork, point: IntArray) -> StepNetwork:
    """Return `network` with one threshold moved across what it meets at `point` (int64, input shape), or, where no
    such threshold shows in the outputs, with 1 added to every output.
    """
    outputs = network.evaluate(point[None])
    for candidate in _moved_thresholds(network, point):
        if (candidate.evaluate(point[None]) != outputs).any():
            return candidate
    shifted = Affine(np.ones((1, 1, 1), dtype=np.int64), np.ones(1, dtype=np.int64))
    return replace(network, nodes=(*network.nodes, Node(shifted, (len(network.nodes),))))


def _moved_thresholds(network: StepNetwork, point: IntArray) -> Iterator[StepNetwork]:
    for index in reversed(range(len(network.nodes))):
        node = network.nodes[index]
        if not isinstance(node.operation, Step):
            continue
        (met,) = network.evaluate_values(point[None], node.inputs)
        for element, value in enumerate(met.reshape(-1)[:_ELEMENTS].tolist()):
            thresholds = _moved(node.operation.thresholds, element % len(node.operation.thresholds), value)
            nodes = list(network.nodes)
            nodes[index] = Node(Step(node.operation.base, thresholds), node.inputs)
            try:
                yield StepNetwork(network.lower, network.upper, tuple(nodes))
            except UsageError:  # a later table has no entry for the new level
                continue


def _moved(thresholds: IntArray, channel: int, value: int) -> IntArray:
    """Return the thresholds with one of `channel` moved from at most `value` to above it, or, if there is none, the
    first one moved from above it to `value`.
    """
    moved = thresholds.copy()
    reached = int(np.searchsorted(thresholds[channel], value, side="right"))
    if reached:
        moved[channel, reached - 1] = value + 1
    elif thresholds.shape[1]:
        moved[channel, 0] = value
    return moved
