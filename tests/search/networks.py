"""Small networks of dense layers."""

import numpy as np

from bvverify.network import IntArray, NetworkBuilder, Step, StepNetwork
from bvverify.search.chain import Chain


def hidden(random: np.random.Generator, layers: int) -> StepNetwork:
    """Return a network of hidden layers of six units on eight inputs, and three outputs."""
    builder, read = NetworkBuilder(lower=[0] * 8, upper=[9] * 8), 8
    for width in [*[6] * layers, 3]:
        builder.dense(random.integers(-9, 10, (width, read)).tolist(), random.integers(-20, 21, width).tolist())
        starts = random.integers(-40, 40, (width, 1))
        builder.step(Step(0, starts + 17 * np.arange(12)))
        read = width
    return builder.build()


def first_levels(chain: Chain, points: IntArray) -> IntArray:
    """Return the levels of a chain's first units (n, U) at some inputs."""
    (levels,) = chain.network.evaluate_values(points, [chain.units.value])
    return np.asarray(levels.reshape(len(points), -1))
