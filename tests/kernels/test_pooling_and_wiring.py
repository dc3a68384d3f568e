"""Operations that move bytes without computing new ones: pooling, ReLU and reshape."""

from collections import Counter

import numpy as np
import pytest

from bvverify.kernels.lower import lower
from bvverify.kernels.target import Target
from bvverify.model import Conv2d, MaxPool2d, Relu, Reshape
from harness.generate import weighted as cases

from .agreement import compare
from .conftest import Kernels
from .layers import conv, linear, max_pool, model, weight

RNG = np.random.default_rng(7)


def random_images(count: int, shape: tuple[int, ...]) -> np.ndarray:
    return RNG.integers(0, 256, (count, *shape)).astype(np.float32)


def permuting_conv(channels: int) -> Conv2d:
    """Return a 1x1 convolution that reverses the channels and changes no byte."""
    return conv(np.eye(channels, dtype=np.int8)[::-1].reshape(channels, channels, 1, 1))


def test_random_pooling_windows_on_plain_images(kernels: Kernels, target: Target) -> None:
    outcomes: Counter[str] = Counter()
    for seed in range(40):
        rng = np.random.default_rng([seed, 3])
        shape = tuple(int(extent) for extent in rng.integers(1, 12, 3))
        pooled = model(shape, cases.pool(rng, "pool", shape[1:]))
        compare(kernels, target, pooled, cases.inputs_for(rng, pooled), outcomes)
    assert outcomes["compared"] >= 25


@pytest.mark.parametrize(
    "pool",
    [
        max_pool((2, 2), stride=(2, 2)),
        max_pool((2, 3), stride=(1, 2), padding=(1, 1)),
        max_pool((3, 3), stride=(2, 2), padding=(1, 1), ceil_mode=True),
        max_pool((2, 2), stride=(3, 3), ceil_mode=True),
        max_pool((2, 2), dilation=(2, 3)),
    ],
    ids=["plain", "padded", "padded ceil", "ceil", "dilated"],
)
def test_pooling_behind_a_convolution(kernels: Kernels, target: Target, pool: MaxPool2d) -> None:
    outcomes: Counter[str] = Counter()
    pooled = model((5, 7, 6), conv(RNG.integers(-9, 9, (4, 5, 1, 1)), scale=8.0, zero_point=90), pool)
    compare(kernels, target, pooled, random_images(8, (5, 7, 6)), outcomes)
    assert outcomes.total() == 1


def test_padding_never_wins_a_maximum(target: Target) -> None:
    pooled = model((1, 2, 2), max_pool((2, 2), stride=(1, 1), padding=(1, 1)), zero_point=200)
    assert (lower(pooled, target).network.evaluate(np.zeros((1, 1, 2, 2), dtype=np.int64)) == 0).all()


@pytest.mark.parametrize("zero_point", [0, 1, 128, 255])
def test_relu_on_bytes_cuts_at_the_zero_point(kernels: Kernels, target: Target, zero_point: int) -> None:
    outcomes: Counter[str] = Counter()
    rectified = model((256,), Relu("relu"), zero_point=zero_point)
    x = (np.arange(256) - zero_point).astype(np.float32)[None]
    compare(kernels, target, rectified, x, outcomes)
    assert outcomes == {"compared": 1}
    result = lower(rectified, target).network.evaluate(np.arange(256)[None])
    assert result.tolist() == [np.maximum(np.arange(256), zero_point).tolist()]


def test_flatten_behind_a_convolution_is_in_channel_order(kernels: Kernels, target: Target) -> None:
    outcomes: Counter[str] = Counter()
    shape = (4, 3, 2)
    weights = weight(RNG.integers(-20, 20, (5, 24)), scale=[0.1, 0.2, 0.3, 0.4, 0.5])
    layers = (permuting_conv(4), Reshape("flatten", (24,)), linear(weights, scale=3.0, zero_point=100))
    compare(kernels, target, model(shape, *layers), random_images(8, shape), outcomes)
    assert outcomes.total() == 1


def test_a_final_convolution_is_read_in_channel_order(kernels: Kernels, target: Target) -> None:
    shape = (3, 2, 4)
    last = model(shape, permuting_conv(3))
    outcomes: Counter[str] = Counter()
    compare(kernels, target, last, random_images(4, shape), outcomes)
    if outcomes["compared"]:
        x = np.arange(24).reshape(1, *shape)
        assert lower(last, target).network.evaluate(x).tolist() == [x[0, ::-1].reshape(-1).tolist()]


def test_reshape_splits_and_joins_axes_in_row_major_order(kernels: Kernels, target: Target) -> None:
    outcomes: Counter[str] = Counter()
    rows = linear(weight(RNG.integers(-99, 99, (3, 4))), scale=99.0, zero_point=100, name="rows")
    last = linear(weight(RNG.integers(-99, 99, (2, 18))), scale=99.0, zero_point=100, name="last")
    layers = (Reshape("split", (3, 2, 4)), rows, Reshape("join", (18,)), last)
    compare(kernels, target, model((24,), *layers), random_images(8, (24,)), outcomes)
    assert outcomes == {"compared": 1}
