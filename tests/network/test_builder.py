import numpy as np
import pytest

from bvverify.errors import UsageError
from bvverify.network import Affine, Clamp, Gather, Max, NetworkBuilder, Node, Step, StepNetwork, Window

UNIT = Window((1, 1))


def of_features(n: int) -> NetworkBuilder:
    return NetworkBuilder(lower=np.zeros(n, dtype=int), upper=np.ones(n, dtype=int))


def of_image(*shape: int) -> NetworkBuilder:
    return NetworkBuilder(lower=np.zeros(shape, dtype=int), upper=np.ones(shape, dtype=int))


@pytest.mark.parametrize(
    "ends",
    [
        {"lower": [0, 0], "upper": [1]},
        {"lower": [1], "upper": [0]},
        {"lower": [], "upper": []},
        {"lower": [0.0], "upper": [1.0]},
        {"lower": ["0"], "upper": ["1"]},
        {"lower": np.array([0], dtype=np.uint64), "upper": np.array([2**63], dtype=np.uint64)},
    ],
)
def test_a_domain_that_makes_no_sense_is_refused(ends: dict) -> None:
    with pytest.raises(UsageError):
        NetworkBuilder(**ends)


@pytest.mark.parametrize(
    ("weight", "offset"),
    [([[1, 1, 1]], [0]), ([1, 1], [0]), ([[1, 1]], [0, 0]), ([[1, 1]], 0), ([[0.5, 1.0]], [0]), ([[1, 1]], [0.5])],
)
def test_a_dense_layer_that_does_not_fit_is_refused(weight, offset) -> None:
    with pytest.raises(UsageError):
        of_features(2).dense(weight, offset)


@pytest.mark.parametrize(
    ("weight", "groups"),
    [
        (np.ones((2, 2, 1, 1), dtype=int), 2),
        (np.ones((3, 1, 1, 1), dtype=int), 2),
        (np.ones((2, 1, 1, 1), dtype=int), 1),
        (np.ones((2, 3, 1, 1), dtype=int), 1),
        (np.ones((2, 2), dtype=int), 1),
        (np.ones((3, 2, 1, 1), dtype=int), 3),
    ],
)
def test_a_convolution_that_does_not_fit_is_refused(weight, groups: int) -> None:
    with pytest.raises(UsageError):
        of_image(2, 2, 2).conv2d(weight, np.zeros(len(weight), dtype=int), window=UNIT, groups=groups)


@pytest.mark.parametrize(("kernel", "other"), [((2, 1), (1, 2)), ((2, 2), (1, 4)), ((1, 1), (2, 2)), ((2, 2), (1, 1))])
def test_a_convolution_whose_window_is_not_its_weights_is_refused(
    kernel: tuple[int, int], other: tuple[int, int]
) -> None:
    with pytest.raises(UsageError):
        of_image(1, 4, 4).conv2d(np.ones((1, 1, *other), dtype=int), [0], window=Window(kernel))


def test_a_window_larger_than_the_image_is_refused() -> None:
    with pytest.raises(UsageError, match="does not fit"):
        of_image(1, 2, 2).max_pool2d(Window((3, 1)))
    with pytest.raises(UsageError, match="does not fit"):
        of_image(1, 2, 2).conv2d(np.ones((1, 1, 1, 2), dtype=int), [0], window=Window((1, 2), dilation=(1, 2)))


def test_a_maximum_of_padding_alone_is_refused() -> None:
    with pytest.raises(UsageError, match="padding"):
        of_image(1, 2, 2).max_pool2d(Window((1, 1), padding=(1, 0)))


@pytest.mark.parametrize("append", [lambda b: b.max_pool2d(UNIT), lambda b: b.conv2d([[[[1]]]], [0], window=UNIT)])
def test_a_window_needs_an_image(append) -> None:
    with pytest.raises(UsageError, match="channels, height, width"):
        append(of_features(4))


def test_a_reshape_keeps_the_size() -> None:
    builder = of_features(6)
    builder.reshape((1, 2, 3))
    assert builder.layout.shape == (1, 2, 3)
    with pytest.raises(UsageError, match="size"):
        builder.reshape((4,))


def test_a_step_needs_its_channels() -> None:
    builder = of_features(2)
    builder.dense([[1, 1]], [0])
    with pytest.raises(UsageError, match="Step"):
        builder.step(Step(0, [[1], [1]]))


def test_a_step_needs_accumulators() -> None:
    with pytest.raises(UsageError, match="Step"):
        of_features(2).step(Step(0, [[1], [1]]))


def test_a_clamp_has_its_ends_in_order() -> None:
    with pytest.raises(UsageError, match="Clamp"):
        of_features(1).clamp(1, 0)


def test_an_operation_without_its_shape_is_refused() -> None:
    with pytest.raises(UsageError, match="Max"):
        of_features(2).append(Max(), 0)
    with pytest.raises(UsageError, match="outside"):
        of_features(2).append(Gather([0, 2]), 0)
    with pytest.raises(UsageError, match="-1"):
        Gather([0, -2])
    with pytest.raises(UsageError, match="Affine"):
        of_features(3).append(Affine([[[1, 1]]], [0]), 0)
    with pytest.raises(UsageError, match="Affine"):
        Affine([[[1, 1]]], [0, 0])


@pytest.mark.parametrize("inputs", [(), (1,), (-1,), (0, 5)])
def test_a_node_reads_earlier_values_only(inputs: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="earlier values"):
        StepNetwork(np.array([0]), np.array([1]), (Node(Clamp(0, 1), inputs),))


def test_the_arrays_of_a_network_are_its_own() -> None:
    lower, weight = np.zeros(2, dtype=int), np.ones((1, 2), dtype=int)
    builder = NetworkBuilder(lower=lower, upper=np.ones(2, dtype=int))
    builder.dense(weight, [0])
    network = builder.build()
    lower[:] = 9
    weight[:] = 9
    assert network.evaluate([[1, 1]]).tolist() == [[2]]
    with pytest.raises(ValueError, match="read-only"):
        network.nodes[0].operation.weight[0] = 3


def test_wiring_appears_only_where_it_is_needed() -> None:
    builder = of_features(2)
    builder.dense([[1, 0], [0, 1]], [0, 0])
    builder.reshape((1, 2))
    builder.reshape((2,))
    builder.clamp(0, 1)
    assert [type(node.operation).__name__ for node in builder.build().nodes] == ["Affine", "Clamp"]


def test_values_can_be_joined() -> None:
    builder = of_features(2)
    builder.dense([[3, 5]], [1])
    builder.append(Gather([2, 0, -1, 1], padding=7), 0, 1)
    assert builder.build().evaluate([[1, 0]]).tolist() == [[4, 1, 7, 0]]
