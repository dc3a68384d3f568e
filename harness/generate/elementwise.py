"""Random models around one layer without weights: arithmetic of two tensors, functions of bytes, averages, wiring."""

import numpy as np
import numpy.typing as npt

from bvverify.model import (
    Activation,
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm2d,
    Cat,
    Contiguous,
    Function,
    Hardtanh,
    Mean,
    Mul,
    Quantize,
    QuantizedModel,
    QuantParams,
    Relu,
    Slice,
)
from bvverify.model.quantized import Layer

Rng = np.random.Generator


def params(rng: Rng) -> QuantParams:
    """Return a scale, often a round one that makes ties, and a zero point, often at an end."""
    scale = _pick(rng, 2.0 ** int(rng.integers(-8, 2)), 0.1, 0.05, 0.4, 10 ** rng.uniform(-3, 1))
    return QuantParams(scale, int(_pick(rng, 0, 0, 255, 128, 127, 1, int(rng.integers(0, 256)))))


def near(rng: Rng, source: QuantParams) -> QuantParams:
    """Return parameters whose scale is a simple or a random multiple of the source's."""
    factor = _pick(rng, 1.0, 2.0, 4.0, 0.5, 3.0, 1.5, 10 ** rng.uniform(-1, 1))
    return QuantParams(source.scale * factor, int(_pick(rng, source.zero_point, 0, 255, 128, 127, 25)))


def two_input_model(rng: Rng, kind: str) -> QuantizedModel:
    """Return add, mul or cat of two tensors of independent bytes, which lie in memory in either order."""
    shape = _shape(rng)
    base = params(rng)
    quantize = Quantize("quantize", base)
    layers: list[Layer] = [quantize]
    sources: list[tuple[int, ...]] = [(0,)]
    last = bool(rng.random() < 0.5) and len(shape) == 3
    operands, operand_params = [], []
    for index in range(2):
        layers.append(Slice(f"slice{index}", 0, index * shape[0], (index + 1) * shape[0]))
        sources.append((1,))
        current = base
        if rng.random() < 0.6:  # another scale, through a layer that is modelled without lanes
            current = near(rng, base)
            layers.append(Cat(f"requantize{index}", 0, current))
            sources.append((len(layers) - 1,))
        if last:
            layers.append(Contiguous(f"order{index}", True))
            sources.append((len(layers) - 1,))
        operands.append(len(layers))
        operand_params.append(current)
    output = near(rng, operand_params[0])
    relu = bool(rng.random() < 0.3)
    if kind == "mul":
        scale = operand_params[0].scale * operand_params[1].scale * float(rng.choice([1.0, 16.0, 100.0, 255.0]))
        output = QuantParams(scale, output.zero_point)
        layers.append(Mul("mul", relu, output))
    elif kind == "add":
        layers.append(Add("add", relu, output))
    else:
        layers.append(Cat("cat", int(rng.integers(0, len(shape))), output))
    sources.append(tuple(operands))
    return QuantizedModel((2 * shape[0], *shape[1:]), tuple(layers), tuple(sources))


def every_pair_model(rng: Rng, kind: str) -> QuantizedModel:
    """Return add or mul of two tensors of 8192 bytes, of two scales."""
    base, size = params(rng), 8192
    quantize = Quantize("quantize", base)
    other = near(rng, base)
    slices = [Slice(f"slice{index}", 0, index * size, (index + 1) * size) for index in range(2)]
    output = near(rng, base)
    relu = bool(rng.random() < 0.3)
    last: Layer = Add("add", relu, output)
    if kind == "mul":
        factor = float(_pick(rng, 1.0, 16.0, 100.0, 255.0))
        last = Mul("mul", relu, QuantParams(base.scale * other.scale * factor, output.zero_point))
    layers = (quantize, *slices, Cat("requantize", 0, other), last)
    return QuantizedModel((2 * size,), layers, ((0,), (1,), (1,), (3,), (2, 4)))


def every_pair(rng: Rng, model: QuantizedModel) -> list[npt.NDArray[np.uint8]]:
    """Return eight images that together hold all pairs of bytes; all of them meet vector lanes."""
    first, second = (axis.reshape(-1) for axis in np.meshgrid(np.arange(256), np.arange(256)))
    return [
        np.concatenate([first[start : start + 8192], second[start : start + 8192]])[None].astype(np.uint8)
        for start in range(0, 65536, 8192)
    ]


def relu_model(rng: Rng) -> QuantizedModel:
    """Return one ReLU on bytes."""
    return _unary(rng, params(rng), Relu("relu"))


def activation_model(rng: Rng, function: Function) -> QuantizedModel:
    """Return one function of bytes."""
    source = params(rng)
    arguments: tuple[float, ...] = ()
    output = near(rng, source)
    if function is Function.LEAKY_RELU:
        arguments = (float(rng.choice([0.01, 0.1, 0.25, 0.0, 1.0])),)
    elif function is Function.ELU:
        arguments = (float(rng.choice([1.0, 0.5])),)
    elif function is Function.HARDSIGMOID:
        output = QuantParams(1 / 256, 0)
    elif function is Function.SIGMOID:
        output = QuantParams(1 / 256, 0) if rng.random() < 0.7 else params(rng)
    elif function is Function.TANH:
        output = QuantParams(2 / 256, 128)
    return _unary(rng, source, Activation("activation", function, arguments, output))


def clamp_model(rng: Rng) -> QuantizedModel:
    """Return one hardtanh, sometimes relu6."""
    source = params(rng)
    if rng.random() < 0.4:
        return _unary(rng, source, Hardtanh("clamp", 0.0, 6.0))
    ends = np.sort(rng.normal(size=2) * 100 * source.scale)
    return _unary(rng, source, Hardtanh("clamp", float(ends[0]), float(ends[1])))


def avg_pool_model(rng: Rng) -> QuantizedModel:
    """Return an average pooling of an image in either order in memory."""
    layers, (channels, height, width) = _image(rng)
    kernel = int(rng.integers(1, min(height, 4) + 1)), int(rng.integers(1, min(width, 4) + 1))
    padding = int(rng.integers(0, kernel[0] // 2 + 1)), int(rng.integers(0, kernel[1] // 2 + 1))
    stride = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    divisor = None if rng.random() < 0.8 else int(rng.integers(1, 20))
    counted, ceil = bool(rng.random() < 0.5), bool(rng.random() < 0.3)
    pool = AvgPool2d("pool", kernel, stride, padding, ceil, counted, divisor)
    return QuantizedModel((channels, height, width), (*layers, pool))


def adaptive_avg_pool_model(rng: Rng) -> QuantizedModel:
    """Return an adaptive average pooling of an image in either order in memory, to fewer or more pixels."""
    layers, (channels, height, width) = _image(rng)
    size = int(rng.integers(1, height + 3)), int(rng.integers(1, width + 3))
    return QuantizedModel((channels, height, width), (*layers, AdaptiveAvgPool2d("pool", size)))


def mean_model(rng: Rng) -> QuantizedModel:
    """Return a mean over some axes of an image in either order in memory."""
    layers, shape = _image(rng)
    axes = ((1, 2), (2,), (0, 1, 2), (1,))[int(rng.integers(0, 4))]
    return QuantizedModel(shape, (*layers, Mean("mean", axes, bool(rng.random() < 0.5))))


def batch_norm_model(rng: Rng) -> QuantizedModel:
    """Return a batch normalization of an image."""
    source = params(rng)
    channels, height, width = int(rng.integers(1, 40)), int(rng.integers(1, 8)), int(rng.integers(1, 8))
    arrays = (
        rng.normal(size=channels),
        rng.normal(size=channels),
        rng.normal(size=channels) * source.scale * 50,
        rng.random(channels) * (source.scale * 60) ** 2 + 1e-6,
    )
    weight, bias, mean, variance = (array.astype(np.float32) for array in arrays)
    output = QuantParams(float(10 ** rng.uniform(-2.5, -1)), int(rng.integers(0, 256)))
    norm = BatchNorm2d("norm", weight, bias, mean, variance, 1e-5, bool(rng.random() < 0.3), output)
    layers: list[Layer] = [Quantize("quantize", source), norm]
    if rng.random() < 0.5:
        layers.insert(1, Contiguous("order", True))
    return QuantizedModel((channels, height, width), tuple(layers))


def random_bytes(rng: Rng, model: QuantizedModel, rows: int) -> npt.NDArray[np.uint8]:
    """Return `rows` inputs of random bytes, some of them at the ends only, and one of equal bytes."""
    bits = rng.integers(0, 256, (rows, *model.input_shape))
    if rows > 1:
        bits[1] = rng.choice([0, 255], model.input_shape)
    if rows > 2:
        bits[2] = rng.integers(0, 256)
    return bits.astype(np.uint8)


def _image(rng: Rng) -> tuple[list[Layer], tuple[int, int, int]]:
    """Return the beginning of a model, and the shape of its images."""
    layers: list[Layer] = [Quantize("quantize", params(rng))]
    if rng.random() < 0.5:
        layers.append(Contiguous("order", True))
    return layers, (int(rng.integers(1, 40)), int(rng.integers(1, 10)), int(rng.integers(1, 10)))


def _pick(rng: Rng, *values: float) -> float:
    return values[int(rng.integers(len(values)))]


def _unary(rng: Rng, source: QuantParams, layer: Layer) -> QuantizedModel:
    shape = _shape(rng)
    layers: list[Layer] = [Quantize("quantize", source)]
    if len(shape) == 3 and rng.random() < 0.5:
        layers.append(Contiguous("order", True))
    return QuantizedModel(shape, (*layers, layer))


def _shape(rng: Rng) -> tuple[int, ...]:
    """Return a shape whose size often leaves a remainder of 64, and is sometimes smaller or a multiple."""
    if rng.random() < 0.5:
        return (int(_pick(rng, 1, 63, 64, 65, 128, 130, int(rng.integers(1, 300)))),)
    return int(rng.integers(1, 20)), int(rng.integers(1, 8)), int(rng.integers(1, 8))
