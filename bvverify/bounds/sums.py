"""Sums: what units add up, as linear forms in the values behind them, in exact integers."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bvverify.bounds.integers import check, largest, plus, product, times
from bvverify.errors import InternalError
from bvverify.network import Affine, Gather, IntArray, StepNetwork


@dataclass(frozen=True, eq=False)
class Sums:
    """J elements of a value, each a sum over values: `u[j] = sum_v weights[v][j] . v + offset[j]`."""

    weights: Mapping[int, IntArray]
    """int64 [J, elements] per value, flat: the network's inputs, or results of operations that are not linear."""
    offset: IntArray
    """int64 [J]"""


def sums_of(
    network: StepNetwork, value: int, elements: IntArray, idle: Mapping[int, npt.NDArray[np.bool_]] | None = None
) -> Sums:
    """Return elements of a value as sums, through everything that is linear; raise `TooLarge` beyond 64 bits.

    `idle`: per value that is clamped, which elements are known to be what they were before, bool [elements].
    """
    size = network.values[value].lower.size
    held = {value: (elements[:, None] == np.arange(size)).astype(np.int64)}
    offset = np.zeros(len(elements), dtype=np.int64)
    weights = {}
    for number in range(value, -1, -1):
        if (rows := held.pop(number, None)) is None:
            continue
        passing = (idle or {}).get(number)
        if passing is not None:
            acting, rows = np.where(passing, 0, rows), np.where(passing, rows, 0)
            if acting.any():
                weights[number] = acting
            parts, constant = [rows], np.zeros_like(offset)
        elif is_linear(network, number):
            parts, constant = _through(network, number, rows)
        else:
            weights[number] = rows
            continue
        offset = plus(offset, constant)
        for source, part in zip(network.nodes[number - 1].inputs, parts, strict=True):
            held[source] = plus(held[source], part) if source in held else part
    return Sums(weights, offset)


def _through(network: StepNetwork, value: int, rows: IntArray) -> tuple[list[IntArray], IntArray]:
    """Return rows over a linear value as rows over what its node reads, and constants."""
    node = network.nodes[value - 1]
    match node.operation:
        case Affine() as affine:
            return [through_affine(affine, rows)], offsets_of(affine, rows)
        case Gather() as gather:
            return through_gather(gather, [network.values[source].lower.size for source in node.inputs], rows)
        case other:
            raise InternalError(f"bounds: {type(other).__name__} is taken for linear")


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
    if outputs == 1:
        check(largest(rows) * largest(affine.weight), 1)
        return np.asarray(parts * affine.weight[:, 0]).reshape(len(rows), -1)
    found = np.stack([product(parts[:, group], affine.weight[group]) for group in range(groups)], axis=1)
    return found.reshape(len(rows), -1)


def offsets_of(affine: Affine, rows: IntArray) -> IntArray:
    """Return what an affine operation's offset adds to rows over its accumulators."""
    return times(rows, np.tile(affine.offset, rows.shape[1] // len(affine.offset)))


def through_gather(gather: Gather, sizes: list[int], rows: IntArray) -> tuple[list[IntArray], IntArray]:
    """Return rows over picked elements as rows over the sources, and what padding adds."""
    places = np.where(gather.indices < 0, sum(sizes), gather.indices).reshape(-1)
    often = np.bincount(places, minlength=1)
    check(largest(rows), int(often.max()))
    collected = np.zeros((sum(sizes) + 1, len(rows)), dtype=np.int64)
    order = np.argsort(places, kind="stable")
    (read,) = np.nonzero(often)
    if len(read):
        starts = np.cumsum(often[read]) - often[read]
        collected[read] = np.add.reduceat(rows.T[order], starts, axis=0)
    check(largest(collected[-1]), abs(gather.padding))
    return np.split(collected[:-1].T, np.cumsum(sizes)[:-1], axis=1), collected[-1] * gather.padding
