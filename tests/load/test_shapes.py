import re

import numpy as np
import pytest
from torch import nn

from bvverify.errors import InputError
from bvverify.load import load_model
from bvverify.model import Reshape
from tests.models import conv2d, converted, linear, quantized_weight, small_convolutional, small_dense


def refusal(module: nn.Module, shape: tuple[int, ...] | None) -> str:
    with pytest.raises(InputError) as error:
        load_model(module, input_shape=shape)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_model_that_begins_with_a_linear_layer_needs_no_shape() -> None:
    assert load_model(small_dense()).model.input_shape == (6,)


def test_a_model_that_begins_with_a_convolution_needs_one() -> None:
    assert refusal(small_convolutional(), None) == (
        "Sequential: the shape of one input is needed (for images: channels, height, width)"
    )


@pytest.mark.parametrize("shape", [(5,), (7,), (6, 5), (2, 3)])
def test_wrong_features_are_told(shape: tuple[int, ...]) -> None:
    assert refusal(small_dense(), shape).startswith("layer 1: takes 6 features, got a tensor of shape (batch, ")


@pytest.mark.parametrize("shape", [(3, 6, 5), (1, 6, 5)])
def test_wrong_channels_are_told(shape: tuple[int, ...]) -> None:
    assert refusal(small_convolutional(), shape).startswith("layer 1: takes images of shape (2, height, width), got ")


@pytest.mark.parametrize("shape", [(6, 5), (60,), (2, 6, 5, 1)])
def test_inputs_that_are_no_images_are_told(shape: tuple[int, ...]) -> None:
    assert "Input shape must be `(N, C, H, W)`" in refusal(small_convolutional(), shape)


@pytest.mark.parametrize("shape", [(2, 8, 5), (2, 6, 9)])
def test_images_of_another_size_are_told_where_they_stop_fitting(shape: tuple[int, ...]) -> None:
    assert refusal(small_convolutional(), shape).startswith(
        "layer 4: takes 36 features, got a tensor of shape (batch, "
    )


def test_a_kernel_larger_than_the_image_is_told() -> None:
    module = converted(conv2d(quantized_weight(np.ones((1, 1, 3, 3)), scale=1.0)))
    assert re.match(r"layer 1: .*does not fit", refusal(module, (1, 2, 2)))


def test_a_window_larger_than_the_image_is_told() -> None:
    assert re.match(r"layer max_pool2d: .*does not fit", refusal(converted(nn.MaxPool2d(3)), (1, 2, 2)))


def test_inputs_may_have_any_leading_axes_before_a_linear_layer() -> None:
    model = load_model(small_dense(), input_shape=(4, 6)).model
    assert model.input_shape == (4, 6)


@pytest.mark.parametrize(
    ("flatten", "shape"),
    [
        (nn.Flatten(), (24,)),
        (nn.Flatten(1, 2), (6, 4)),
        (nn.Flatten(-2, -1), (2, 12)),
    ],
    ids=["all", "first two", "last two"],
)
def test_reshapes_are_read_for_one_input(flatten: nn.Module, shape: tuple[int, ...]) -> None:
    model = load_model(converted(flatten), input_shape=(2, 3, 4)).model
    reshape = model.layers[1]
    assert reshape == Reshape(reshape.name, shape)


def test_the_size_of_a_model_with_flatten_is_followed_through() -> None:
    module = converted(nn.Flatten(), linear(quantized_weight(np.ones((1, 6)), scale=1.0)))
    assert load_model(module, input_shape=(2, 3)).model.layers[1].shape == (6,)
    assert refusal(module, (2, 4)) == "layer 2: takes 6 features, got a tensor of shape (batch, 8)"
