"""What the relaxation needs to know of sub-problems: the hulls of all operations on their intervals, as tensors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from bvverify.bounds.boxfed import BoxUnits
from bvverify.bounds.envelope import FEW_INPUTS, Envelope, Side
from bvverify.bounds.hull import POINTS, HullMaker, NetworkHulls, raised, sums_between
from bvverify.network import Affine, Gather, IntArray, Max, Product, StepNetwork

Bounds = tuple[IntArray, IntArray]
Values = Sequence[Bounds]
"""Bounds of every value of a network, int64 of its shape."""
_AsTensor: TypeAlias = Callable[[np.ndarray], Tensor]


@dataclass(frozen=True, eq=False)
class Situation:
    """Intervals of all values of S sub-problems (S is 1 or the number of rows), and the hulls that belong to them."""

    middle: Tensor
    """[S, inputs]"""
    radius: Tensor
    lines: dict[int, "Lines"]
    """Per staircase, clamp and table."""
    windows: dict[int, tuple[Tensor, Tensor]]
    """Per Max: lower and upper ends of its source, [S, places, window]."""
    factors: dict[int, tuple[Tensor, Tensor]]
    """Per Product: the four corners, [S, 4, elements] of both sources."""
    envelopes: dict[Side, "Enveloped"]


@dataclass(frozen=True, eq=False)
class Lines:
    """Hull points [S, POINTS, elements]; the slopes that CROWN would choose above and below, and where staircases first
    rise, [S, elements].
    """

    x: Tensor
    y: Tensor
    above: Tensor
    below: Tensor
    turn: Tensor


@dataclass(frozen=True, eq=False)
class Enveloped:
    """What the intercepts of slanted bounds need, for one envelope; S sub-problems, U units, F sums, P inputs."""

    middle: Tensor
    """[S, U, P], or [S, 1, P] where all units read the same inputs."""
    radius: Tensor
    x: Tensor
    """[S, U, segments, 2]: the corners, with the envelope's sign."""
    y: Tensor
    hull: tuple[Tensor, Tensor]
    """[S, POINTS, U]: the points of the hull of the staircase and the greatest sum, x and y, without the sign."""
    gains: Tensor
    """[S, U]: whether a slanted bound may be tighter than lines in the sums; 0 or 1."""
    slope: Tensor
    """[S, U]: levels per accumulator."""
    chord: Tensor
    """[S, U, F]: slopes to start from."""
    steepness: Tensor
    """[S, U, segments, alternatives, sums]: likewise."""


def reads_all(units: BoxUnits, network: StepNetwork) -> bool:
    """Return whether every unit reads all inputs in their order."""
    size = network.values[0].lower.size
    return units.inputs.shape[1] == size and bool((units.inputs == np.arange(size)).all())


def situation_of(hulls: NetworkHulls, problems: Sequence[Values], *, device: str) -> Situation:
    """Return the hulls of sub-problems, given the bounds of all values in each."""
    network, real = hulls.network, partial(_tensor, device=device)
    ends = [
        tuple(np.stack([values[value][end].reshape(-1) for values in problems]) for end in (0, 1))
        for value in range(len(network.values))
    ]
    lines, windows, factors = {}, {}, {}
    for index, node in enumerate(network.nodes):
        low, high = ends[node.inputs[0]]
        match node.operation:
            case Affine() | Gather():
                continue
            case Max():
                shape = (len(problems), -1, network.values[node.inputs[0]].shape[-1])
                windows[index] = real(low).reshape(shape), real(high).reshape(shape)
            case Product():
                other = ends[node.inputs[1]]
                corners = [(first, second) for first in (low, high) for second in other]
                factors[index] = (
                    real(np.stack([first for first, _ in corners], axis=1)),
                    real(np.stack([second for _, second in corners], axis=1)),
                )
            case _:
                lines[index] = _lines(hulls.makers[index], low, high, real)
    low, high = ends[0]
    return Situation(
        real((low + high) / 2),
        real((high - low) / 2),
        lines,
        windows,
        factors,
        {side: _enveloped(hulls, envelope, ends, real) for side, envelope in hulls.envelopes.items()},
    )


def _lines(maker: HullMaker, low: IntArray, high: IntArray, real: _AsTensor) -> Lines:
    count = len(low)
    hull = maker.hull(low, high)
    x, y = (points.reshape(POINTS, count, -1).transpose(1, 0, 2).astype(np.float64) for points in (hull.x, hull.y))
    rise = y[:, 3] - y[:, 0]
    above = (y[:, 2] - y[:, 0]) / np.maximum(x[:, 2] - x[:, 0], 1)
    # As for a ReLU: the rising line below where the graph rises on more than half of the interval.
    steep = x[:, 3] - x[:, 5] > x[:, 5] - x[:, 0]
    below = np.where(steep, rise / np.maximum(x[:, 3] - x[:, 5], 1), 0.0)
    limit = maker.slopes(count * above.shape[1]).reshape(above.shape)
    several = rise > 1
    above = np.where(several, np.minimum(above, limit), above) * (rise > 0)
    below = np.where(several, np.minimum(below, limit), below) * (rise > 0)
    turn = maker.turns(low, high).reshape(above.shape) if maker.stairs else np.zeros_like(above)
    return Lines(*(real(array) for array in (x, y, above, below, turn)))


def _enveloped(
    hulls: NetworkHulls, envelope: Envelope, ends: Sequence[tuple[IntArray, ...]], real: _AsTensor
) -> Enveloped:
    box, sign = envelope.units, envelope.sign
    if reads_all(box, hulls.network):
        low, high = (end[:, None] for end in ends[0])
    else:
        low, high = (end[:, np.maximum(box.inputs, 0)] * (box.inputs >= 0) for end in ends[0])
    sums = hulls.network.nodes[box.step].inputs[0]
    most = ends[sums][1][:, box.sums]
    between = [
        sums_between(hulls.network, box, [(low, high) for low, high in problem])
        for problem in zip(*(zip(*end, strict=True) for end in ends), strict=True)
    ]
    outlines = [hulls.box_hull(box, *pair) for pair in between]
    lines = [raised(*hull) for hull in outlines]
    corners = [hulls.corners(envelope, *pair) for pair in between]
    few = box.inputs.shape[1] <= FEW_INPUTS
    chosen = real(np.eye(box.sums.shape[1])[most.argmax(axis=2)])
    slope = np.broadcast_to(hulls.makers[box.step].channel_slopes[box.channel], (len(lines), len(box.channel)))
    # From above, each sum alone suffices; from below, that of the greatest counts at first.
    steepness = real(slope)[..., None] * (torch.ones_like(chosen) if sign > 0 else chosen)
    steepness = steepness.reshape(*slope.shape, 1, *envelope.weight.shape[1:3])
    steepness = torch.cat([torch.zeros_like(steepness), steepness.repeat(1, 1, envelope.segments - 1, 1, 1)], dim=2)
    return Enveloped(
        real((low + high) / 2),
        real((high - low) / 2),
        real(np.stack([corner.x for corner in corners])),
        real(np.stack([corner.y for corner in corners])),
        (
            real(np.stack([hull.x for hull, _ in outlines])),
            real(np.stack([hull.y for hull, _ in outlines])),
        ),
        real(np.stack([line.rises > 0 if few else line.late for line in lines])),
        real(slope),
        sign * real(np.stack([line.chord for line in lines]))[..., None] * chosen,
        steepness,
    )


def _tensor(array: np.ndarray, *, device: str) -> Tensor:
    return torch.tensor(np.asarray(array), dtype=torch.float32, device=device)
