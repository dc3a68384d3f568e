"""Random networks so small that every input of a region can be looked at."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from bvverify.network import (
    ALWAYS,
    NEVER,
    Affine,
    Clamp,
    Gather,
    IntArray,
    Lookup,
    Max,
    NetworkBuilder,
    Product,
    Step,
    StepNetwork,
)
from bvverify.queries import LevelBox, Robustness, TieRule

Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class SmallQuestion:
    """A network, a region and a property, with all inputs of the region."""

    network: StepNetwork
    box: LevelBox
    property: Robustness
    points: IntArray
    """Every input of the region, int64 (n, *input_shape)."""


def small_question(rng: Rng) -> SmallQuestion:
    """Return a question whose region has 300 inputs at most."""
    network = _network(rng)
    box = _box(rng, network)
    outputs = network.outputs
    question = Robustness(int(rng.integers(0, outputs)), outputs, list(TieRule)[int(rng.integers(0, 3))])
    return SmallQuestion(network, box, question, points_of(box))


def near_robust(rng: Rng) -> SmallQuestion:
    """Return a dense layer with a staircase, asked about a class whose thresholds are lowered, so that it is often
    just ahead and often just not.
    """
    inputs, outputs = int(rng.integers(1, 4)), int(rng.integers(2, 4))
    builder = NetworkBuilder(lower=np.zeros(inputs, dtype=int), upper=np.full(inputs, 4))
    weight = rng.integers(-5, 6, (outputs, inputs))
    bounds = 4 * np.minimum(weight, 0).sum(axis=1), 4 * np.maximum(weight, 0).sum(axis=1)
    builder.dense(weight, np.zeros(outputs, dtype=int))
    thresholds = np.sort(
        rng.integers(bounds[0].min() - 2, bounds[1].max() + 3, (outputs, int(rng.integers(2, 9)))), axis=1
    )
    label = int(rng.integers(0, outputs))
    thresholds[label] -= int(rng.integers(0, 16))
    builder.step(Step(int(rng.integers(-2, 3)), thresholds))
    network = builder.build()
    box = _box(rng, network)
    question = Robustness(label, outputs, list(TieRule)[int(rng.integers(0, 3))])
    return SmallQuestion(network, box, question, points_of(box))


def pooled_question(rng: Rng) -> SmallQuestion:
    """Return a question about maxima of stairs over sums of inputs, two at a time, with a dense layer behind."""
    inputs, pairs, outputs = int(rng.integers(1, 4)), int(rng.integers(1, 4)), int(rng.integers(2, 4))
    builder = NetworkBuilder(lower=np.zeros(inputs, dtype=int), upper=np.full(inputs, 4))
    builder.dense(rng.integers(-5, 6, (2 * pairs, inputs)), rng.integers(-5, 6, 2 * pairs))
    builder.append(Step(0, np.sort(rng.integers(-30, 40, (1, int(rng.integers(2, 9)))), axis=1)), builder.value)
    windows = builder.append(Gather(np.arange(2 * pairs).reshape(pairs, 2)), builder.value)
    builder.append(Max(), windows)
    builder.dense(rng.integers(-5, 6, (outputs, pairs)), np.zeros(outputs, dtype=int))
    network = builder.build()
    box = _box(rng, network)
    question = Robustness(int(rng.integers(0, outputs)), outputs, list(TieRule)[int(rng.integers(0, 3))])
    return SmallQuestion(network, box, question, points_of(box))


def points_of(box: LevelBox) -> IntArray:
    """Return every input of a region, int64 (n, *shape)."""
    ranges = [range(low, high + 1) for low, high in zip(box.lower.flat, box.upper.flat, strict=True)]
    points = np.array(list(product(*ranges)), dtype=np.int64).reshape(-1, *box.lower.shape)
    inside = [box.contains(point) for point in points]
    return points[inside]


def _network(rng: Rng) -> StepNetwork:
    size = int(rng.integers(1, 5))
    lower = rng.integers(-4, 3, size)
    builder = NetworkBuilder(lower=lower, upper=lower + rng.integers(0, 9, size))
    kinds = ["affine", "affine", "step", "step", "clamp", "max", "lookup", "product", "gather"]
    for _ in range(int(rng.integers(1, 5))):
        _append(rng, builder, str(rng.choice(kinds)))
    if builder.layout.size < 2:
        builder.append(Gather(np.array([0, 0, -1]), int(rng.integers(-3, 4))), builder.value)
    return builder.build()


def _append(rng: Rng, builder: NetworkBuilder, kind: str) -> None:
    """Append one random operation of a kind to the current value."""
    lower, upper = builder.bounds
    least, most, size = int(lower.min()), int(upper.max()), int(lower.size)
    value = builder.value
    builder.resume(value, np.arange(size))
    match kind:
        case "affine":
            groups = int(rng.choice([count for count in (1, 2, 3) if size % count == 0]))
            weight = rng.integers(-6, 7, (groups, int(rng.integers(1, 4)), size // groups))
            if max(-least, most) < 100 and rng.random() < 0.2:  # sums that are odd and beyond float32
                weight = weight * (2**20 + 1)
            builder.append(Affine(weight, rng.integers(-9, 10, weight.shape[0] * weight.shape[1])), value)
        case "step":
            thresholds = rng.integers(least - 2, most + 3, (1, int(rng.integers(1, 12))))
            if rng.random() < 0.3:
                thresholds[0, 0] = ALWAYS
            if rng.random() < 0.3:
                thresholds[0, -1] = NEVER
            builder.append(Step(int(rng.integers(-3, 4)), np.sort(thresholds, axis=1)), value)
        case "clamp":
            ends = np.sort(rng.integers(least - 2, most + 3, 2))
            builder.append(Clamp(int(ends[0]), int(ends[1])), value)
        case "max":
            windows = builder.append(Gather(rng.integers(0, size, (2, 3))), value)
            builder.append(Max(), windows)
        case "lookup" if most - least < 200:
            builder.append(Lookup(least, rng.integers(-5, 6, (1, most - least + 1))), value)
        case "product" if most - least < 200:
            others = builder.append(Gather(rng.integers(0, size, size)), value)
            same = builder.append(Gather(np.arange(size)), value)
            builder.append(Product(), same, others)
        case _:
            indices = rng.integers(-1, size, int(rng.integers(1, 5)))
            builder.append(Gather(indices, int(rng.integers(-9, 10))), value)


def _box(rng: Rng, network: StepNetwork) -> LevelBox:
    """Return a region of the network's domain with 300 inputs at most, sometimes with missing levels."""
    while True:
        first = rng.integers(network.lower, network.upper + 1)
        second = rng.integers(network.lower, network.upper + 1)
        lower, upper = np.minimum(first, second), np.maximum(first, second)
        if np.prod(upper - lower + 1) <= 300:
            break
    wide = np.flatnonzero((upper - lower).reshape(-1) > 1)
    missing = [[e, int(rng.integers(lower.flat[e] + 1, upper.flat[e]))] for e in wide.tolist() if rng.random() < 0.3]
    return LevelBox(lower, upper, np.array(missing, dtype=np.int64).reshape(-1, 2))
