"""Sums: what units add up, as linear forms in the values behind them, in exact integers."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bvverify.bounds.integers import check, largest, plus, product, times
from bvverify.errors import InternalError
from bvverify.network import Affine, Gather, IntArray, StepNetwork


@dataclass(frozen=True, eq=False)
class Sums:
    """J elements of a value, u[j] = sum_v weights[v][j] . v + offset[j]."""

    weights: Mapping[int, IntArray]
    """int64 [J, elements] per value, flat: the network's inputs, or results of operations that are not linear."""
    offset: IntArray
    """int64 [J]"""


def sums_of(network: StepNetwork, value: int, elements: IntArray) -> Sums:
    """Return elements of a value as sums, through everything that is linear; raise `TooLarge` beyond 64 bits."""
    size = network.values[value].lower.size
    held = {value: (elements[:, None] == np.arange(size)).astype(np.int64)}
    offset = np.zeros(len(elements), dtype=np.int64)
    weights = {}
    for number in range(value, -1, -1):
        if (rows := held.pop(number, None)) is None:
            continue
        if not is_linear(network, number):
            weights[number] = rows
            continue
        node = network.nodes[number - 1]
        match node.operation:
            case Affine() as affine:
                parts, constant = [through_affine(affine, rows)], offsets_of(affine, rows)
            case Gather() as gather:
                sizes = [network.values[source].lower.size for source in node.inputs]
                parts, constant = through_gather(gather, sizes, rows)
            case other:
                raise InternalError(f"bounds: {type(other).__name__} is taken for linear")
        offset = plus(offset, constant)
        for source, part in zip(node.inputs, parts, strict=True):
            held[source] = plus(held[source], part) if source in held else part
    return Sums(weights, offset)


def is_linear(network: StepNetwork, value: int) -> bool:
    """Return whether a value is a linear function of those that its node reads."""
    return value > 0 and isinstance(network.nodes[value - 1].operation, Affine | Gather)


def nonlinear_behind(network: StepNetwork, value: int) -> list[int]:
    """Return the values that a value depends on and that are inputs, or results of operations that are not linear."""
    behind = {value}
    for number in range(value, 0, -1):
        if number in behind:
            behind.update(network.nodes[number - 1].inputs)
    return sorted(number for number in behind - {value} if not is_linear(network, number))


def through_affine(affine: Affine, rows: IntArray) -> IntArray:
    """Return rows over accumulators as rows over what they read."""
    groups, outputs, _ = affine.weight.shape
    parts = rows.reshape(-1, groups, outputs)
    found = np.stack([product(parts[:, group], affine.weight[group]) for group in range(groups)], axis=1)
    return found.reshape(len(rows), -1)


def offsets_of(affine: Affine, rows: IntArray) -> IntArray:
    """Return what an affine operation's offset adds to rows over its accumulators."""
    return times(rows, np.tile(affine.offset, rows.shape[1] // len(affine.offset)))


def through_gather(gather: Gather, sizes: list[int], rows: IntArray) -> tuple[list[IntArray], IntArray]:
    """Return rows over picked elements as rows over the sources, and what padding adds."""
    indices = gather.indices.reshape(-1)
    often = int(np.bincount(indices + 1, minlength=1).max(initial=1))
    check(largest(rows), often)
    collected = np.zeros((sum(sizes) + 1, len(rows)), dtype=np.int64)
    np.add.at(collected, np.where(indices < 0, sum(sizes), indices), rows.T)
    check(largest(collected[-1]), abs(gather.padding))
    return np.split(collected[:-1].T, np.cumsum(sizes)[:-1], axis=1), collected[-1] * gather.padding
