"""Questions about the digits network that enumeration can answer, each on the edge between its two answers."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from bvverify.kernels.lower import LoweredModel, lower
from bvverify.kernels.target import Target
from bvverify.load import load_model
from bvverify.network import IntArray, StepNetwork
from bvverify.queries import LevelBox, Robustness, TieRule, predicted_class

DATA = Path(__file__).parents[1] / "data"
FREE = ([0], [1], [2], [0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3])
"""Which elements are free, counted from the most telling one."""
REACH = {1: 40, 2: 16, 3: 9}
"""How far each free element may go, by the number of free elements: up to 6,859 inputs a question."""


@dataclass(frozen=True, eq=False)
class Edge:
    """One question, and whether some input of its box violates it."""

    box: LevelBox
    question: Robustness
    violated: bool


@cache
def digits() -> LoweredModel:
    return lower(load_model(DATA / "digits.pt").model, Target.parse("fbgemm/avx512_vnni"))


@cache
def images() -> IntArray:
    """Return the test images as input levels of the network."""
    return digits().quantizer.levels(np.load(DATA / "digits.npz")["images"])


@cache
def edges(pairs: int) -> tuple[Edge, ...]:
    """Return pairs of questions: the smallest violated box around an image, and the largest robust one."""
    return tuple(edge for pair in itertools.islice(_pairs(), pairs) for edge in pair)


def _pairs() -> Iterator[tuple[Edge, Edge]]:
    network, inputs = digits().network, images()
    outputs = network.evaluate(inputs)
    margins = np.sort(outputs, axis=1)[:, -1] - np.sort(outputs, axis=1)[:, -2]
    ties = itertools.cycle(TieRule)
    for number in np.argsort(margins, kind="stable").tolist():
        label = int(predicted_class(outputs[number : number + 1])[0])
        telling = _telling(network, inputs[number], label)
        for chosen in FREE:
            pair = _edge(network, inputs[number], Robustness(label, network.outputs, next(ties)), telling[chosen])
            if pair is not None:
                yield pair


def _edge(network: StepNetwork, image: IntArray, question: Robustness, elements: IntArray) -> tuple[Edge, Edge] | None:
    """Find the distance at which the first violation appears, if only these elements may change."""
    reach = REACH[len(elements)]
    ranges = [range(max(0, x - reach), min(255, x + reach) + 1) for x in image[elements].tolist()]
    grid = np.array(list(itertools.product(*ranges)), dtype=np.int64)
    points = np.repeat(image[None], len(grid), axis=0)
    points[:, elements] = grid
    violated = question.violated_by(network.evaluate(points))
    if not violated.any():
        return None
    first = int(np.abs(grid - image[elements]).max(axis=1)[violated].min())
    if first < 2:
        return None
    return (
        Edge(_ball(image, elements, first), question, violated=True),
        Edge(_ball(image, elements, first - 1), question, violated=False),
    )


def _telling(network: StepNetwork, image: IntArray, label: int) -> IntArray:
    """Return the elements in order of how little they leave of the label's lead when they alone go to one end."""
    moved = np.repeat(image[None], 2 * image.size, axis=0)
    numbers = np.arange(image.size)
    moved[numbers, numbers], moved[numbers + image.size, numbers] = 0, 127
    outputs = network.evaluate(moved)
    own = outputs[:, label].copy()
    outputs[:, label] = -1
    lead = (own - outputs.max(axis=1)).reshape(2, -1).min(axis=0)
    return np.argsort(lead, kind="stable")


def _ball(image: IntArray, elements: IntArray, radius: int) -> LevelBox:
    lower, upper = image.copy(), image.copy()
    lower[elements] = np.maximum(image[elements] - radius, 0)
    upper[elements] = np.minimum(image[elements] + radius, 255)
    return LevelBox.of(lower, upper)
