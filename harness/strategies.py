"""Hypothesis strategies for layers and small networks that go where kernels differ, and that shrink to readable ones.

Small cases are drawn number by number; larger ones from a seed, by `harness.generate`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from bvverify.kernels.requantize import window_of
from bvverify.model import (
    Activation,
    Add,
    Conv2d,
    Function,
    Linear,
    MaxPool2d,
    Mul,
    Quantize,
    QuantizedModel,
    QuantParams,
    Relu,
    Reshape,
    Weight,
)
from bvverify.model.quantized import Layer
from harness.differential.operations import OPERATIONS, Operation

Case = tuple[QuantizedModel, npt.NDArray[Any]]
"""A model and a batch of bytes for it."""

_TINY = float(np.finfo(np.float32).tiny)

scales = st.one_of(
    st.integers(-9, 3).map(lambda power: 2.0**power),
    st.sampled_from([0.1, 0.05, 0.4, 1 / 127, 1 / 255, 1.0]),
    st.floats(1e-4, 10.0),
    st.sampled_from([_TINY, 1.5 * _TINY, 1e-30, 1e30]),
)
"""Scales: powers of two, which make ties; common ones; the ends of float32."""

zero_points = st.sampled_from([0, 255, 128, 127, 1]) | st.integers(0, 255)

params = st.builds(QuantParams, scales, zero_points)

int8 = st.sampled_from([-128, -127, -1, 0, 1, 127]) | st.integers(-128, 127)

levels = st.sampled_from([0, 1, 127, 128, 254, 255]) | st.integers(0, 255)


@st.composite
def weights(draw: st.DrawFn, shape: tuple[int, ...]) -> Weight:
    """Draw an int8 weight of `shape`, per tensor or per channel, sometimes with zero points."""
    values = draw(st.lists(int8, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    per_channel = draw(st.booleans())
    count = shape[0] if per_channel else 1
    own = draw(st.lists(st.integers(-9, 0).map(lambda power: 2.0**power) | st.floats(1e-3, 1), min_size=count))
    points = draw(st.just([0] * count) | st.lists(int8, min_size=count, max_size=count))
    array = np.array(values, dtype=np.int8).reshape(shape)
    return Weight(array, np.array(own[:count]), np.array(points, dtype=np.int64), per_channel)


@st.composite
def biases(draw: st.DrawFn, channels: int) -> npt.NDArray[np.float32] | None:
    """Draw no bias, or one of small, half and huge numbers."""
    number = st.integers(-2000, 2000).map(lambda half: half / 2) | st.floats(-1e6, 1e6, width=32)
    drawn = draw(st.none() | st.lists(number, min_size=channels, max_size=channels))
    return None if drawn is None else np.array(drawn, dtype=np.float32)


@st.composite
def linear_layers(draw: st.DrawFn, name: str, features: int, *, most: int = 5) -> Linear:
    """Draw a linear layer on `features` inputs."""
    outputs = draw(st.integers(1, most))
    return Linear(name, draw(weights((outputs, features))), draw(biases(outputs)), draw(st.booleans()), draw(params))


@st.composite
def conv_layers(draw: st.DrawFn, name: str, shape: tuple[int, int, int]) -> Conv2d:
    """Draw a convolution that fits an image of `shape`."""
    groups = draw(st.sampled_from([1, shape[0]]))
    outputs = groups * draw(st.integers(1, 2))
    kernel = draw(st.integers(1, min(3, shape[1]))), draw(st.integers(1, min(3, shape[2])))
    padding = draw(st.integers(0, kernel[0] - 1)), draw(st.integers(0, kernel[1] - 1))
    stride = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    weight = draw(weights((outputs, shape[0] // groups, *kernel)))
    rest = draw(biases(outputs)), draw(st.booleans()), draw(params)
    return Conv2d(name, weight, *rest, stride, padding, (1, 1), groups)


@st.composite
def networks(draw: st.DrawFn) -> Case:
    """Draw a small network: linear layers, a convolution with what follows it, or two branches that meet."""
    kind = draw(st.sampled_from(["dense", "image", "branches"]))
    quantize = Quantize("quantize", draw(params))
    if kind == "image":
        shape: tuple[int, ...] = (draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 4)))
        model = QuantizedModel(shape, (quantize, *draw(_image_layers(shape))))
    else:
        shape = (draw(st.integers(1, 6)),)
        first = draw(linear_layers("first", shape[0]))
        layers: list[Layer] = [quantize, first]
        sources: list[tuple[int, ...]] = [(0,), (1,)]
        if kind == "branches":
            output = draw(params)
            function = draw(st.sampled_from([Function.HARDSWISH, Function.LEAKY_RELU]))
            arguments = (0.25,) if function is Function.LEAKY_RELU else ()
            layers.append(Activation("activation", function, arguments, output))
            joined = ("join", draw(st.booleans()), draw(params))
            layers.append(Add(*joined) if draw(st.booleans()) else Mul(*joined))
            sources += [(2,), (2, 3)]
        elif draw(st.booleans()):
            layers.append(draw(linear_layers("second", len(first.weight.values))))
            sources.append((2,))
        model = QuantizedModel(shape, tuple(layers), tuple(sources))
    return model, draw(batches(shape))


@st.composite
def _image_layers(draw: st.DrawFn, shape: tuple[int, ...]) -> list[Layer]:
    conv = draw(conv_layers("conv", (shape[0], shape[1], shape[2])))
    layers: list[Layer] = [conv]
    match draw(st.sampled_from(["end", "relu", "pool", "flatten"])):
        case "relu":
            layers.append(Relu("relu"))
        case "pool":
            layers.append(MaxPool2d("pool", (1, 1), (2, 2), (0, 0), (1, 1), False))
        case "flatten":
            rows, columns = window_of(conv).output_size(shape[1], shape[2])
            layers.append(Reshape("flatten", (len(conv.weight.values) * rows * columns,)))
    return layers


def batches(shape: tuple[int, ...], *, most: int = 3) -> st.SearchStrategy[npt.NDArray[np.uint8]]:
    """Return batches of bytes, (n, *shape)."""
    size = int(np.prod(shape))
    rows = st.integers(1, most).flatmap(lambda count: st.lists(levels, min_size=count * size, max_size=count * size))
    return rows.map(lambda values: np.array(values, dtype=np.uint8).reshape(-1, *shape))


seeded = st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 2**32 - 1))
"""An operation of the conformance table and a seed for a larger case of it."""


def seeded_case(operation: Operation, seed: int) -> Case:
    """Return the model of a seed and its first batch."""
    model, inputs = operation.case(seed)
    return model, inputs[0]
