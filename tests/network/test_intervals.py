import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bvverify.network import StepNetwork
from bvverify.queries import LevelBox
from tests.networks import boxes, networks, points_of, single_layers


@st.composite
def boxed(draw: st.DrawFn, kind: st.SearchStrategy[StepNetwork]) -> tuple[StepNetwork, LevelBox]:
    network = draw(kind)
    box = draw(boxes(network))
    return network, LevelBox.of(box.lower, box.upper)


@given(boxed(networks()))
def test_intervals_hold_every_value_of_every_input(question) -> None:
    network, box = question
    values = network.evaluate_values(points_of(box), range(len(network.nodes) + 1))
    for (lower, upper), value in zip(network.interval(box.lower, box.upper), values, strict=True):
        assert lower.dtype == upper.dtype == np.int64
        assert (lower.reshape(value.shape[1:]) <= value.min(axis=0)).all()
        assert (upper.reshape(value.shape[1:]) >= value.max(axis=0)).all()


@given(boxed(single_layers()))
def test_intervals_of_one_layer_are_exact(question) -> None:
    network, box = question
    outputs = network.evaluate(points_of(box))
    lower, upper = network.interval(box.lower, box.upper)[-1]
    assert lower.reshape(-1).tolist() == outputs.min(axis=0).tolist()
    assert upper.reshape(-1).tolist() == outputs.max(axis=0).tolist()


@given(networks(), st.integers(0, 2**32))
def test_the_interval_of_a_point_is_its_value(network: StepNetwork, seed: int) -> None:
    point = np.random.default_rng(seed).integers(network.lower, network.upper + 1)
    values = network.evaluate_values(point[None], range(len(network.nodes) + 1))
    for (lower, upper), value in zip(network.interval(point, point), values, strict=True):
        assert lower.reshape(-1).tolist() == upper.reshape(-1).tolist() == value.reshape(-1).tolist()


@given(networks())
def test_the_proved_ranges_are_the_intervals_of_the_domain(network: StepNetwork) -> None:
    for value, (lower, upper) in zip(network.values, network.interval(network.lower, network.upper), strict=True):
        assert (value.lower == lower.reshape(value.shape)).all()
        assert (value.upper == upper.reshape(value.shape)).all()
        assert value.magnitude >= max(abs(int(lower.min())), abs(int(upper.max())))
