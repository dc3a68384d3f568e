"""The encoding, computed for every input of a box, is the network."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bvverify.encode import encode
from bvverify.encode.bitvector import Encoding
from bvverify.network import Affine, Gather, Lookup, NetworkBuilder, Node, Product, StepNetwork
from bvverify.queries import LevelBox, Robustness
from harness.concrete_terms import ConcreteTerms
from tests.networks import boxes, networks, points_of, violates

from .questions import Question, questions


def computed(network: StepNetwork, box: LevelBox, question: Robustness, points: np.ndarray) -> Encoding:
    flat = points.reshape(len(points), -1) - box.lower.reshape(-1)
    values = {f"x{element}": flat[:, element] for element in range(flat.shape[1])}
    return encode(network, box, question, ConcreteTerms(values))


@given(st.data(), st.sampled_from([1, 3, 30, 400]))
def test_outputs_are_the_networks_for_every_input(data: st.DataObject, size: int) -> None:
    network = data.draw(networks())
    box = data.draw(boxes(network, max_points=size))
    points = points_of(box)
    encoding = computed(network, box, Robustness(0, network.outputs), points)
    for word, expected in zip(encoding.outputs, network.evaluate(points).T, strict=True):
        assert word.lower <= expected.min()
        assert word.upper >= expected.max()
        if word.term is None:
            assert word.lower == word.upper
            assert (expected == word.lower).all()
        else:
            assert word.term.width == word.width > 0
            assert (word.lower + word.term.values == expected).all()


@given(questions())
def test_the_violation_is_the_propertys_for_every_input(question: Question) -> None:
    points = points_of(question.box)
    encoding = computed(question.network, question.box, question.property, points)
    expected = [violates(question.property, row) for row in question.network.evaluate(points).tolist()]
    assert np.broadcast_to(encoding.violation.values, len(points)).tolist() == expected


@given(questions())
def test_the_domain_holds_the_inputs_of_the_box_and_no_others(question: Question) -> None:
    box = question.box
    elements = [e for e in range(box.lower.size) if box.lower.flat[e] < box.upper.flat[e]]
    for element in elements[:4]:
        reach = 1 << int(box.upper.flat[element] - box.lower.flat[element]).bit_length()
        points = np.repeat(points_of(box)[:1], reach, axis=0).reshape(reach, -1)
        points[:, element] = box.lower.flat[element] + np.arange(reach)
        encoding = _domain_alone(box, points)
        allowed = np.all([condition.values for condition in encoding.domain] or [[True] * reach], axis=0)
        assert allowed.tolist() == [box.contains(point.reshape(box.lower.shape)) for point in points]


def _domain_alone(box: LevelBox, points: np.ndarray) -> Encoding:
    """Encode a network that reads nothing, for words may hold numbers outside the box."""
    nothing = Affine(np.zeros((1, 2, box.lower.size), dtype=int), [0, 0])
    network = StepNetwork(box.lower, box.upper, (Node(nothing, (0,)),))
    return computed(network, box, Robustness(0, 2), points.reshape(-1, *box.lower.shape))


@given(st.data())
def test_free_words_are_the_elements_that_vary(data: st.DataObject) -> None:
    network = data.draw(networks(max_blocks=1))
    box = data.draw(boxes(network))
    points = points_of(box)
    encoding = computed(network, box, Robustness(0, network.outputs), points)
    flat = [(int(low), int(high)) for low, high in zip(box.lower.flat, box.upper.flat, strict=True)]
    assert encoding.inputs == {f"x{e}": (e, low) for e, (low, high) in enumerate(flat) if low < high}
    point = points[data.draw(st.integers(0, len(points) - 1))]
    values = {name: int(point.flat[element]) - base for name, (element, base) in encoding.inputs.items()}
    assert (encoding.input_levels(box, values) == point).all()


def test_a_lookup_of_a_product_stays_in_its_table() -> None:
    lower, upper = np.array([-3, -2]), np.array([2, 3])
    builder = NetworkBuilder(lower=lower, upper=upper)
    left = builder.append(Gather([[0]]), 0)
    builder.append(Product(), left, builder.append(Gather([[1]]), 0))
    least, greatest = (int(end[0, 0]) for end in builder.bounds)
    builder.lookup(Lookup(least, np.arange(greatest - least + 1)[None, :] ** 2))
    network = builder.build()
    box = LevelBox.of(lower, upper)
    points = points_of(box)
    encoding = computed(network, box, Robustness(0, 1), points)
    (word,) = encoding.outputs
    assert (word.lower + word.term.values == network.evaluate(points)[:, 0]).all()
