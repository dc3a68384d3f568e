"""Random questions small enough to answer by looking at every input."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from bvverify.errors import UsageError
from bvverify.network import Affine, Node, StepNetwork
from bvverify.queries import LevelBox, Robustness, TieRule, predicted_class
from tests.networks import boxes, networks, points_of, violates


@dataclass(frozen=True, eq=False)
class Question:
    network: StepNetwork
    box: LevelBox
    property: Robustness

    def violated(self) -> bool:
        """Return the answer by enumeration."""
        outputs = self.network.evaluate(points_of(self.box)).tolist()
        return any(violates(self.property, row) for row in outputs)


@st.composite
def targeted_questions(draw: st.DrawFn) -> Question:
    """Forbid any class but the most frequent one, most of the time, where the label barely wins."""
    asked = draw(questions())
    label, classes = asked.property.label, asked.property.classes
    forbidden = draw(st.integers(0, classes - 1).filter(lambda one: one != label))
    return Question(asked.network, asked.box, Robustness(label, classes, asked.property.tie, forbidden))


@st.composite
def questions(draw: st.DrawFn, *, max_points: int = 300) -> Question:
    """Ask about the most frequent class of a box, most of the time, and lift it to the edge of being robust."""
    network = draw(networks(min_outputs=2))
    box = draw(boxes(network, max_points=max_points))
    outputs = network.evaluate(points_of(box))
    frequency = np.bincount(predicted_class(outputs), minlength=network.outputs)
    label = int(frequency.argmax()) if draw(st.integers(0, 3)) else draw(st.integers(0, network.outputs - 1))
    if draw(st.booleans()):
        lead = outputs[:, label] - np.delete(outputs, label, axis=1).max(axis=1)
        network = _lifted(network, label, draw(st.integers(-1, 2)) - int(lead.min()))
    return Question(network, box, Robustness(label, network.outputs, draw(st.sampled_from(TieRule))))


def _lifted(network: StepNetwork, label: int, amount: int) -> StepNetwork:
    """Add to one output, if the last layer is a dense one."""
    *others, last = network.nodes
    if not isinstance(last.operation, Affine):
        return network
    offset = last.operation.offset + amount * (np.arange(network.outputs) == label)
    nodes = (*others, Node(Affine(last.operation.weight, offset), last.inputs))
    try:
        return StepNetwork(network.lower, network.upper, nodes)
    except UsageError:  # the lift leads beyond the 64-bit range
        return network
