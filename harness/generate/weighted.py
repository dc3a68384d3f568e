"""Random quantized models and inputs that go where kernels differ: ties, saturation, corners, odd geometries."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from bvverify.model import (
    Contiguous,
    Conv2d,
    Linear,
    MaxPool2d,
    Quantize,
    QuantizedModel,
    QuantParams,
    Relu,
    Reshape,
    Weight,
)
from bvverify.model.quantized import Layer, Pair
from bvverify.network import Window

Rng = np.random.Generator
INPUTS = 16


def linear_model(rng: Rng) -> QuantizedModel:
    """Return one or two linear layers, K in 1..300 and N in 1..40."""
    features = _size(rng, 300)
    ties = rng.random() < 0.4
    layers: list[Quantize | Linear] = [Quantize("quantize", _params(rng, _input_scale(rng, ties)))]
    width = features
    for index in range(1 + (rng.random() < 0.3)):
        outputs = _size(rng, 40)
        layers.append(_linear(rng, f"fc{index}", layers[-1].output, (outputs, width), ties))
        width = outputs
    return QuantizedModel((features,), tuple(layers))


def conv_model(rng: Rng) -> QuantizedModel:
    """Return a convolution on an image of 1 to 12 pixels a side, and sometimes another layer behind it."""
    ties = rng.random() < 0.4
    quantize = Quantize("quantize", _params(rng, _input_scale(rng, ties)))
    first, shape = _conv(rng, "conv0", quantize.output, None, ties)
    layers: list[Layer] = [quantize, first]
    channels, height, width = _output_shape(first, shape)
    match rng.choice(["end", "relu", "pool", "conv", "linear"], p=[0.5, 0.1, 0.15, 0.1, 0.15]):
        case "relu":
            layers.append(Relu("relu"))
        case "pool":
            layers.append(pool(rng, "pool", (height, width)))
        case "conv":
            layers.append(_conv(rng, "conv1", first.output, (channels, height, width), ties)[0])
        case "linear" if channels * height * width <= 600:
            layers.append(Reshape("flatten", (channels * height * width,)))
            layers.append(_linear(rng, "fc", first.output, (_size(rng, 12), channels * height * width), ties))
    return QuantizedModel(shape, tuple(layers))


def tie_linear_model(rng: Rng) -> QuantizedModel:
    """Return a linear layer on one input, each of whose outputs lies on a tie for some byte.

    In real numbers, that is: there, the last bit of every float32 operation decides between two bytes.
    """
    quantize = Quantize("quantize", _params(rng, _input_scale(rng, False)))
    weight, bias, output = _tie_parameters(rng, quantize.output, 32)
    return QuantizedModel((1,), (quantize, Linear("fc", weight, bias, bool(rng.random() < 0.2), output)))


def tie_conv_model(rng: Rng) -> QuantizedModel:
    """Return the same as a convolution of one pixel and two channels, the second without weight."""
    quantize = Quantize("quantize", _params(rng, _input_scale(rng, False)))
    weight, bias, output = _tie_parameters(rng, quantize.output, 32)
    values = np.stack([weight.values, np.zeros_like(weight.values)], axis=1)[..., None]
    image = Weight(values, weight.scales, weight.zero_points, weight.per_channel)
    conv = Conv2d("conv", image, bias, bool(rng.random() < 0.2), output, (1, 1), (0, 0), (1, 1), 1)
    return QuantizedModel((2, 1, 1), (quantize, conv))


def pool(rng: Rng, name: str, size: Pair) -> MaxPool2d:
    """Return a max-pooling that fits an image of `size`."""
    while True:
        kernel, stride = _pair(rng, 1, 4), _pair(rng, 1, 4)
        padding: Pair = (int(rng.integers(0, kernel[0] // 2 + 1)), int(rng.integers(0, kernel[1] // 2 + 1)))
        dilation = (1, 1) if rng.random() < 0.6 else _pair(rng, 1, 3)
        if _fits(size, kernel, padding, dilation) and not _looks_past(size, kernel, padding, dilation):
            return MaxPool2d(name, kernel, stride, padding, dilation, bool(rng.random() < 0.5))


def far_linear_model(rng: Rng) -> QuantizedModel:
    """Return a linear layer whose accumulators pass 2**24, where float32 loses integers, or come near the ends of
    int32; scales reach from the least normal float32 numbers to huge ones.
    """
    features = int(rng.choice([3000, 9000, 30000, 65000], p=[0.5, 0.3, 0.15, 0.05]))
    outputs = int(rng.integers(1, 4))
    quantize = Quantize("quantize", _params(rng, 10.0 ** rng.uniform(-30, 20)))
    values = rng.integers(90, 128, (outputs, features)) * rng.choice([-1, 1], (outputs, 1))
    per_channel = bool(rng.random() < 0.5)
    scales = 10.0 ** rng.uniform(-6, 4) * rng.uniform(0.5, 2, outputs if per_channel else 1)
    weight = Weight(values.astype(np.int8), scales, np.zeros(len(scales), dtype=np.int64), per_channel)
    unit = quantize.output.scale * float(scales[0])
    output = _params(rng, unit * features * 100 * 2.0 ** rng.uniform(-4, 2))
    bias = None if rng.random() < 0.5 else (rng.normal(size=outputs) * unit * features * 1000).astype(np.float32)
    return QuantizedModel((features,), (quantize, Linear("fc", weight, bias, bool(rng.random() < 0.3), output)))


def signed_model(rng: Rng) -> QuantizedModel:
    """Return linear layers on qint8 activations."""
    model = linear_model(rng) if rng.random() < 0.7 else tie_linear_model(rng)
    layers = [
        replace(layer, output=_signed(layer.output)) for layer in model.layers if isinstance(layer, Quantize | Linear)
    ]
    return QuantizedModel(model.input_shape, tuple(layers))


def _signed(params: QuantParams) -> QuantParams:
    return QuantParams(params.scale, params.zero_point - 128 if params.zero_point else 0, True)


def max_pool_model(rng: Rng) -> QuantizedModel:
    """Return a max-pooling of an image in either order in memory."""
    height, width = _pair(rng, 2, 12)
    layers: list[Layer] = [Quantize("quantize", _params(rng, 0.1))]
    if rng.random() < 0.5:
        layers.append(Contiguous("order", True))
    layers.append(pool(rng, "pool", (height, width)))
    return QuantizedModel((int(rng.integers(1, 20)), height, width), tuple(layers))


def inputs_for(rng: Rng, model: QuantizedModel) -> npt.NDArray[np.float32]:
    """Return float inputs whose bytes are random, at the corners 0 and 255, and constant."""
    first = model.layers[0]
    assert isinstance(first, Quantize)
    params = first.output
    if np.prod(model.input_shape) <= 2:
        bits = np.broadcast_to(np.arange(256).reshape(256, *(1,) * len(model.input_shape)), (256, *model.input_shape))
        return ((bits - params.zero_point) * params.scale).astype(np.float32)
    shape = (INPUTS, *model.input_shape)
    bits = rng.integers(0, 256, shape)
    bits[5:11] = rng.choice([0, 255], (6, *model.input_shape))
    bits[11:14] = rng.choice([0, 1, 254, 255], (3, *model.input_shape))
    bits[14:] = np.array([0, 255]).reshape(2, *(1,) * len(model.input_shape))
    return ((bits - params.zero_point) * params.scale).astype(np.float32)


def _linear(rng: Rng, name: str, source: QuantParams, shape: tuple[int, int], ties: bool) -> Linear:
    weight, bias, output = _parameters(rng, source, shape, ties)
    return Linear(name, weight, bias, bool(rng.random() < 0.4), output)


def _conv(
    rng: Rng, name: str, source: QuantParams, shape: tuple[int, int, int] | None, ties: bool
) -> tuple[Conv2d, tuple[int, int, int]]:
    while True:
        channels = shape[0] if shape else None
        if channels is None and rng.random() < 0.15:
            return _groupwise(rng, name, source, ties)
        fast = rng.random() < 0.2 and (channels is None or channels % 8 == 0)
        groups, inputs, outputs = _channels(rng, channels, depthwise=fast)
        kernel = (int(rng.choice([3, 5, 7])),) * 2 if fast else _pair(rng, 1, 5)
        stride = (int(rng.integers(1, 3)),) * 2 if fast else _pair(rng, 1, 3)
        dilation = (1, 1) if fast or rng.random() < 0.7 else _pair(rng, 1, 3)
        padding: Pair = (
            (kernel[0] // 2,) * 2 if fast else (int(rng.integers(0, kernel[0])), int(rng.integers(0, kernel[1])))
        )
        size = shape[1:] if shape else _pair(rng, 1, 12)
        if _fits(size, kernel, padding, dilation):
            break
    weight, bias, output = _parameters(rng, source, (outputs, inputs // groups, *kernel), ties)
    layer = Conv2d(name, weight, bias, bool(rng.random() < 0.4), output, stride, padding, dilation, groups)
    return layer, (inputs, *size)


def _groupwise(rng: Rng, name: str, source: QuantParams, ties: bool) -> tuple[Conv2d, tuple[int, int, int]]:
    """Return a convolution of the kind for which libraries have kernels of their own: 3x3 on 2 to 16 channels."""
    channels = int(rng.choice([2, 4, 8, 16]))
    groups = int(rng.integers(1, 1 + 64 // channels))
    stride = (int(rng.integers(1, 3)),) * 2
    size = _pair(rng, 1, 8)
    weight, bias, output = _parameters(rng, source, (channels * groups, channels, 3, 3), ties)
    layer = Conv2d(name, weight, bias, bool(rng.random() < 0.4), output, stride, (1, 1), (1, 1), groups)
    return layer, (channels * groups, *size)


def _channels(rng: Rng, inputs: int | None, *, depthwise: bool) -> tuple[int, int, int]:
    """Return groups, input channels and output channels."""
    if depthwise:
        groups = inputs or 8 * int(rng.integers(1, 4))
        return groups, groups, groups * int(rng.integers(1, 3))
    if inputs is not None:
        groups = int(rng.choice([divisor for divisor in range(1, inputs + 1) if inputs % divisor == 0]))
        return groups, inputs, groups * int(rng.integers(1, 1 + max(1, 12 // groups)))
    match rng.choice(["plain", "grouped", "one per group"], p=[0.5, 0.25, 0.25]):
        case "plain":
            return 1, int(rng.integers(1, 13)), int(rng.integers(1, 17))
        case "grouped":
            groups = int(rng.integers(2, 6))
            return groups, groups * int(rng.integers(1, 5)), groups * int(rng.integers(1, 5))
    groups = int(rng.integers(1, 20))
    return groups, groups, groups


def _parameters(
    rng: Rng, source: QuantParams, shape: tuple[int, ...], ties: bool
) -> tuple[Weight, npt.NDArray[np.float32] | None, QuantParams]:
    weight = _weight(rng, shape, ties)
    # The spread of this layer's accumulators: the output scale is chosen around it so that all bytes occur.
    typical = float(np.sqrt(np.prod(shape[1:])) * 128 * max(1.0, np.abs(weight.centered).mean()))
    unit = source.scale * float(np.median(weight.scales))
    if ties:
        scale = unit * 2.0 ** int(rng.integers(0, 1 + max(1, round(np.log2(typical / 32)))))
    elif rng.random() < 0.85:
        scale = unit * typical / 128 * 10 ** rng.uniform(-0.7, 0.7)
    else:
        scale = 10 ** rng.uniform(-4, 1)
    params, bias = _params(rng, scale), _bias(rng, shape[0], unit, typical)
    if bias is not None and rng.random() < 0.6:  # move each channel's mean to the middle of the bytes
        means = (127.5 - source.zero_point) * weight.centered.reshape(shape[0], -1).sum(axis=1)
        middle = (127.5 - params.zero_point) * scale
        bias = (bias + middle - means * source.scale * weight.scales).astype(np.float32)
    return weight, bias, params


def _tie_parameters(
    rng: Rng, source: QuantParams, channels: int
) -> tuple[Weight, npt.NDArray[np.float32] | None, QuantParams]:
    """Return weights [channels, 1] by which one byte of each channel meets the middle of two output levels."""
    output = _params(rng, 10 ** rng.uniform(-3, 1))
    byte = rng.choice([level for level in range(256) if level != source.zero_point], channels)
    real = (rng.integers(0, 255, channels) + 0.5 - output.zero_point) * output.scale
    sign = np.sign(real) * np.sign(byte - source.zero_point)
    values = (sign * rng.integers(1, 128, channels)).astype(np.int8)[:, None]
    accumulator = values[:, 0] * (byte - source.zero_point) * source.scale
    zero_points = np.zeros(channels, dtype=np.int64)
    if rng.random() < 0.4:
        return Weight(values, real / accumulator, zero_points, True), None, output
    scales = np.median(real / accumulator) * rng.uniform(0.5, 2, channels)
    bias = (real - accumulator * scales).astype(np.float32)
    if rng.random() < 0.4:
        return Weight(values, scales, zero_points, True), bias, output
    bias = (real - accumulator * scales[0]).astype(np.float32)
    return Weight(values, scales[:1], zero_points[:1], False), bias, output


def _weight(rng: Rng, shape: tuple[int, ...], ties: bool) -> Weight:
    match rng.choice(["any", "extreme", "positive", "small", "sparse"], p=[0.4, 0.2, 0.15, 0.15, 0.1]):
        case "any":
            values = rng.integers(-128, 128, shape)
        case "extreme":
            values = rng.choice([-128, -127, 127], shape)
        case "positive":
            values = rng.integers(100, 128, shape)
        case "small":
            values = rng.integers(-8, 9, shape)
        case _:
            values = rng.integers(-128, 128, shape) * (rng.random(shape) < 0.1)
    per_channel = bool(rng.random() < 0.5)
    channels = shape[0] if per_channel else 1
    scales = 2.0 ** rng.integers(-9, -6, channels) if ties else 10 ** rng.uniform(-4, 1) * rng.uniform(0.5, 2, channels)
    zero_points = np.zeros(channels, dtype=np.int64)
    if rng.random() < 0.15:
        zero_points = rng.choice([-128, -1, 0, 1, 7, 127], channels)
    return Weight(values.astype(np.int8), scales.astype(np.float64), zero_points.astype(np.int64), per_channel)


def _bias(rng: Rng, channels: int, unit: float, typical: float) -> npt.NDArray[np.float32] | None:
    match rng.choice(["none", "fine", "tiny", "huge", "half"], p=[0.2, 0.4, 0.1, 0.1, 0.2]):
        case "none":
            return None
        case "fine":
            bias = rng.normal(size=channels) * unit * typical
        case "tiny":
            bias = rng.normal(size=channels) * unit
        case "huge":
            bias = rng.normal(size=channels) * unit * 1e6
        case _:
            bias = rng.integers(-2000, 2000, channels) * unit / 2
    return bias.astype(np.float32)


def _params(rng: Rng, scale: float) -> QuantParams:
    return QuantParams(float(scale), int(rng.choice([0, 0, 255, 128, 1, int(rng.integers(0, 256))])))


def _input_scale(rng: Rng, ties: bool) -> float:
    return 2.0 ** int(rng.integers(-8, 1)) if ties else 10 ** rng.uniform(-4, 1)


def _size(rng: Rng, most: int) -> int:
    """Return a size in 1..most, often small, where remainders of vectors matter."""
    return int(rng.integers(1, 1 + (most if rng.random() < 0.5 else min(most, 20))))


def _pair(rng: Rng, least: int, most: int) -> Pair:
    return int(rng.integers(least, most + 1)), int(rng.integers(least, most + 1))


def _fits(size: Pair, kernel: Pair, padding: Pair, dilation: Pair) -> bool:
    return all(
        extent + 2 * pad >= step * (taps - 1) + 1
        for extent, taps, pad, step in zip(size, kernel, padding, dilation, strict=True)
    )


def _looks_past(size: Pair, kernel: Pair, padding: Pair, dilation: Pair) -> bool:
    """Return whether some window would see nothing but padding: its taps step over the whole image."""
    return any(
        all(not 0 <= start + tap * step < extent for tap in range(taps))
        for extent, taps, pad, step in zip(size, kernel, padding, dilation, strict=True)
        for start in range(-pad, extent + pad)
        if start + step * (taps - 1) < extent + pad
    )


def _output_shape(layer: Conv2d, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    outputs, _, height, width = layer.weight.values.shape
    window = Window((height, width), layer.stride, layer.padding, layer.dilation)
    return outputs, *window.output_size(*shape[1:])
