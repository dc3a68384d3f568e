"""Shrinking: what is left is small, still fails, and was reached by trying whole cases only."""

import dataclasses
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bvverify.kernels.lower import lower
from bvverify.kernels.quantizer import Quantizer
from bvverify.kernels.target import Target
from bvverify.model import Conv2d, Linear, MaxPool2d, Quantize, QuantizedModel, QuantParams, Relu, Weight
from bvverify.network import Step
from harness.boundary_sums import BoundedSum
from harness.shrink import shrink

Models = tuple[QuantizedModel, ...]
Array = npt.NDArray[Any]


def weight(values: Array) -> Weight:
    channels = len(values)
    return Weight(values.astype(np.int8), np.linspace(0.01, 0.02, channels), np.zeros(channels, dtype=np.int64), True)


def dense(*, inputs: int = 20, outputs: int = 10, scale: float = 0.0371) -> QuantizedModel:
    values = np.random.default_rng(0).integers(-60, 60, (outputs, inputs))
    values[-1, 5] = 77
    layer = Linear("fc", weight(values), np.ones(outputs, dtype=np.float32), True, QuantParams(scale, 7))
    return QuantizedModel((inputs,), (Quantize("quantize", QuantParams(0.0123, 3)), layer))


def convolutional() -> tuple[QuantizedModel, npt.NDArray[np.uint8]]:
    generator = np.random.default_rng(0)
    values = generator.integers(-60, 60, (6, 2, 3, 3))
    values[4, 1, 2, 0] = 77
    layer = Conv2d("conv", weight(values), None, False, QuantParams(0.05, 0), (2, 1), (1, 1), (1, 1), 2)
    model = QuantizedModel((4, 7, 6), (Quantize("quantize", QuantParams(0.0123, 3)), layer))
    return model, generator.integers(0, 256, (3, 4, 7, 6), dtype=np.uint8)


def layer_of(model: QuantizedModel) -> Any:
    return model.layers[-1]


def input_params(model: QuantizedModel) -> QuantParams:
    first = model.layers[0]
    assert isinstance(first, Quantize)
    return first.output


def has_77(models: Models, inputs: Array) -> bool:
    """Return whether some weight of 77 is left, and with it a byte above 10 that it may read."""
    values = layer_of(models[0]).weight.values
    read = inputs[..., (values == 77).any(axis=0)] if values.ndim == 2 else inputs
    return bool((values == 77).any() and (read > 10).any())


def test_a_linear_layer_shrinks_to_one_weight_and_one_byte() -> None:
    inputs = np.random.default_rng(0).integers(0, 256, (16, 20), dtype=np.uint8)
    (model,), small = shrink((dense(),), inputs, has_77)
    layer = layer_of(model)
    assert small.tolist() == [[11]]
    assert small.dtype == np.uint8
    assert model.input_shape == (1,)
    assert layer.weight.values.tolist() == [[77]]
    assert layer.weight.values.dtype == np.int8
    assert (layer.bias, layer.relu, layer.output) == (None, False, QuantParams(1.0, 0))
    assert layer.weight.scales.tolist() == [1.0]
    assert not layer.weight.per_channel
    assert model.layers[0] == Quantize("quantize", QuantParams(1.0, 0))


def test_a_grouped_convolution_shrinks_to_one_pixel() -> None:
    model, inputs = convolutional()
    (model,), small = shrink((model,), inputs, has_77)
    layer = layer_of(model)
    assert layer.weight.values.tolist() == [[[[77]]]]
    assert (layer.groups, layer.stride, layer.padding) == (1, (1, 1), (0, 0))
    assert small.tolist() == [[[[11]]]]


def test_what_two_models_differ_in_is_kept_and_the_rest_is_shared() -> None:
    def differ(models: Models, inputs: Array) -> bool:
        first, second = (layer_of(model).output.scale for model in models)
        return first != second

    inputs = np.full((2, 20), 9, dtype=np.uint8)
    (first, second), small = shrink((dense(), dense(scale=0.0371 * (1 + 1e-6))), inputs, differ)
    assert layer_of(first).output.scale == 1.0
    assert layer_of(second).output.scale == pytest.approx(1 + 1e-6, abs=1e-9)
    assert layer_of(first).weight.values.tolist() == layer_of(second).weight.values.tolist()
    assert first.input_shape == second.input_shape == small.shape[1:]
    assert small.size == 1


def test_an_accumulator_at_a_threshold_is_moved_with_the_scales() -> None:
    """A failure that needs one exact accumulator of many inputs still shrinks to a few."""

    def bytes_of(model: QuantizedModel, inputs: Array) -> Array:
        source, layer = input_params(model), layer_of(model)
        total = (inputs.astype(np.int64) - source.zero_point) @ layer.weight.values.astype(np.int64).T
        bias = 0 if layer.bias is None else layer.bias
        real = total * (source.scale * layer.weight.scales) + bias
        return np.clip(np.rint(real / layer.output.scale) + layer.output.zero_point, 0, 255)

    def differ(models: Models, inputs: Array) -> bool:
        first, second = (bytes_of(model, inputs) for model in models)
        return bool((first != second).any())

    inputs = np.random.default_rng(1).integers(0, 256, (800, 20), dtype=np.uint8)
    models = dense(scale=0.5), dense(scale=0.5 * (1 + 1e-3))
    assert differ(models, inputs)
    (model, other), small = shrink(models, inputs, differ)
    assert differ((model, other), small)
    assert small.size <= 4
    assert layer_of(model).weight.values.size <= 4
    scales = [input_params(model).scale, *layer_of(model).weight.scales, layer_of(model).output.scale]
    assert all(np.frexp(scale)[0] == 0.5 for scale in scales)


def test_one_accumulator_of_many_inputs_becomes_one_of_a_few() -> None:
    """Scales are simple already, and leaving out any input would move the accumulator away from the threshold."""
    values = np.random.default_rng(5).integers(20, 128, (1, 30))
    params = QuantParams(1.0, 0)
    layer = Linear(
        "fc", Weight(values.astype(np.int8), np.array([2.0**-8]), np.zeros(1, int), False), None, False, params
    )
    model = QuantizedModel((30,), (Quantize("quantize", params), layer))
    found = BoundedSum(values[0], np.ones(30, dtype=int), np.full(30, 255)).find(
        np.array([50 * 256 - 128]), np.random.default_rng(0)
    )

    def fails(models: Models, inputs: Array) -> bool:
        total = inputs.astype(np.int64) @ layer_of(models[0]).weight.values.astype(np.int64).T
        return bool((total == 50 * 256 - 128).any())

    assert fails((model,), found.x)
    (model,), small = shrink((model,), found.x.astype(np.uint8), fails)
    assert small.size <= 2
    assert fails((model,), small)


def test_a_convolution_shrinks_to_what_it_reads_at_one_position() -> None:
    """The kernel must stay as large as it is; at a corner, padding counts as pixels of the zero point."""
    model, inputs = convolutional()
    layer = layer_of(model)
    model = dataclasses.replace(model, layers=(model.layers[0], dataclasses.replace(layer, groups=1)))
    layer = layer_of(model)
    narrow = weight(layer.weight.values[:, :1])
    model = QuantizedModel((1, 7, 6), (model.layers[0], dataclasses.replace(layer, weight=narrow)))
    target = Target.parse("qnnpack")

    def accumulators(model: QuantizedModel, inputs: Array) -> Array:
        network = lower(model, target).network
        (step,) = (number for number, node in enumerate(network.nodes) if isinstance(node.operation, Step))
        return network.evaluate_values(inputs, network.nodes[step].inputs)[0]

    wanted = accumulators(model, inputs[:, :1])[0, 0, 0]

    def fails(models: Models, inputs: Array) -> bool:
        kernel = layer_of(models[0]).weight.values.shape[2:]
        return kernel == (3, 3) and bool((accumulators(models[0], inputs) == wanted).any())

    (model,), small = shrink((model,), inputs[:, :1], fails)
    assert small.shape == (1, 1, 3, 3)
    layer = layer_of(model)
    assert (layer.padding, layer.stride, layer.weight.values.shape) == ((0, 0), (1, 1), (1, 1, 3, 3))


def test_elements_and_images_of_other_layers_shrink() -> None:
    quantize = Quantize("quantize", QuantParams(1.0, 0))
    flat = QuantizedModel((9,), (quantize, Relu("relu")))
    _, small = shrink((flat,), np.arange(18, dtype=np.uint8).reshape(2, 9), lambda _, x: bool((x > 6).any()))
    assert small.tolist() == [[7]]
    pool = MaxPool2d("pool", (2, 2), (2, 2), (1, 1), (1, 1), True)
    image = QuantizedModel((3, 5, 4), (quantize, pool))
    inputs = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 4), dtype=np.uint8)
    (model,), small = shrink((image,), inputs, lambda _, x: bool((x > 100).any()))
    assert small.shape == (1, 1, 1, 1)
    assert model.input_shape == (1, 1, 1)


def test_a_quantization_shrinks_to_one_number_at_a_threshold() -> None:
    def quantization(scale: float) -> QuantizedModel:
        return QuantizedModel((2, 3), (Quantize("quantize", QuantParams(scale, 7)),))

    def differ(models: Models, inputs: Array) -> bool:
        first, second = (Quantizer(input_params(model)).levels(inputs) for model in models)
        return bool((first != second).any())

    inputs = np.linspace(0, 10, 60_000, dtype=np.float32).reshape(-1, 2, 3)
    models = quantization(0.0371), quantization(0.0371 * (1 + 1e-5))
    assert differ(models, inputs)
    (first, second), small = shrink(models, inputs, differ)
    assert small.shape == (1, 1, 1)
    assert first.layers == (Quantize("quantize", QuantParams(1.0, 0)),)
    assert input_params(second).scale == pytest.approx(1 + 1e-5, abs=1e-7)


def test_real_inputs_become_bytes_where_that_still_fails() -> None:
    inputs = np.full((1, 20), 1.5, dtype=np.float32)
    _, small = shrink((dense(),), inputs, lambda models, x: True)
    assert small.dtype == np.uint8
    _, small = shrink((dense(),), inputs, lambda models, x: x.dtype == np.float32 and bool((x > 1).any()))
    assert small.dtype == np.float32
    assert small.size == 1


def test_a_candidate_that_raises_is_not_taken() -> None:
    def fails(models: Models, inputs: Array) -> bool:
        if len(inputs) < 2:
            raise ValueError("needs two rows")
        return True

    _, small = shrink((dense(),), np.zeros((8, 20), dtype=np.uint8), fails)
    assert len(small) == 2


def test_shrinking_stops_after_so_many_attempts() -> None:
    calls = []

    def fails(models: Models, inputs: Array) -> bool:
        calls.append(inputs.size)
        return True

    shrink((dense(),), np.ones((64, 20), dtype=np.uint8), fails, attempts=5)
    assert len(calls) == 5


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=15)
def test_the_result_fails_whatever_the_failure_is(seed: int) -> None:
    """Failures decided by a hash of the case are erratic; the result must still be a case that failed."""

    def fails(models: Models, inputs: Array) -> bool:
        content = inputs.tobytes() + layer_of(models[0]).weight.values.tobytes() + repr(models[0].input_shape).encode()
        return (crc32(content) ^ seed) % 3 != 0

    case = (dense(inputs=6, outputs=3),), np.random.default_rng(seed).integers(0, 256, (3, 6), dtype=np.uint8)
    if fails(*case):
        assert fails(*shrink(*case, fails, attempts=300))
