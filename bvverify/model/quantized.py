"""QuantizedModel: what a deployed file says, without engine and without torch.

Weights are int8, scales are the float64 numbers that the file holds, bias is float32, zero points are integers.
What a target makes of them is decided in `bvverify.kernels`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bvverify.errors import UsageError

Shape: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class QuantParams:
    """Affine quantization: real = scale * (byte - zero_point), bytes 0 to 255 (quint8) or -128 to 127 (qint8)."""

    scale: float
    zero_point: int
    signed: bool = False

    @property
    def least(self) -> int:
        """The least byte."""
        return -128 if self.signed else 0

    @property
    def greatest(self) -> int:
        """The greatest byte."""
        return self.least + 255


@dataclass(frozen=True, eq=False)
class Weight:
    """An int8 weight, quantized per tensor or per output channel.

    `values` int8 [O, I] or [O, I/groups, KH, KW]; `scales` float64 [O] when `per_channel`, else [1]; `zero_points`
    int64, same shape.
    """

    values: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float64]
    zero_points: npt.NDArray[np.int64]
    per_channel: bool

    @property
    def centered(self) -> npt.NDArray[np.int64]:
        """values - zero point, int64."""
        shape = (-1,) + (1,) * (self.values.ndim - 1)
        return self.values.astype(np.int64) - self.zero_points.reshape(shape)


@dataclass(frozen=True)
class Quantize:
    """quantize_per_tensor: float32 in, bytes out."""

    name: str
    output: QuantParams


@dataclass(frozen=True, eq=False)
class Linear:
    """quantized::linear and linear_relu, on the last axis."""

    name: str
    weight: Weight
    bias: npt.NDArray[np.float32] | None
    relu: bool
    output: QuantParams


@dataclass(frozen=True, eq=False)
class Conv2d:
    """quantized::conv2d and conv2d_relu; geometry as (vertical, horizontal)."""

    name: str
    weight: Weight
    bias: npt.NDArray[np.float32] | None
    relu: bool
    output: QuantParams
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


@dataclass(frozen=True)
class MaxPool2d:
    """max_pool2d on bytes; geometry as (vertical, horizontal)."""

    name: str
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    ceil_mode: bool


@dataclass(frozen=True)
class Relu:
    """ReLU on bytes: max(byte, zero point)."""

    name: str


@dataclass(frozen=True)
class Hardtanh:
    """Clamp to the real interval [lower, upper], without another quantization: hardtanh, clamp, relu6."""

    name: str
    lower: float
    upper: float


class Function(StrEnum):
    """Functions of one byte that are computed through real numbers."""

    LEAKY_RELU = "leaky_relu"
    """Arguments: slope for negative inputs."""
    ELU = "elu"
    """Arguments: alpha."""
    HARDSWISH = "hardswish"
    HARDSIGMOID = "hardsigmoid"
    SIGMOID = "sigmoid"
    TANH = "tanh"


@dataclass(frozen=True)
class Activation:
    """A function of each byte; its real result is quantized as `output`."""

    name: str
    function: Function
    arguments: tuple[float, ...]
    output: QuantParams


@dataclass(frozen=True)
class Add:
    """quantized::add and add_relu of two values of one shape."""

    name: str
    relu: bool
    output: QuantParams


@dataclass(frozen=True)
class Mul:
    """quantized::mul and mul_relu of two values of one shape."""

    name: str
    relu: bool
    output: QuantParams


@dataclass(frozen=True)
class Cat:
    """quantized::cat along `axis` (batch dimension left out), every input requantized as `output`."""

    name: str
    axis: int
    output: QuantParams


@dataclass(frozen=True)
class AvgPool2d:
    """avg_pool2d on bytes; geometry as (vertical, horizontal)."""

    name: str
    kernel: Pair
    stride: Pair
    padding: Pair
    ceil_mode: bool
    count_include_pad: bool
    divisor: int | None
    """What sums are divided by, in place of the number of pixels."""


@dataclass(frozen=True)
class AdaptiveAvgPool2d:
    """adaptive_avg_pool2d to images of `size` (height, width)."""

    name: str
    size: Pair


@dataclass(frozen=True)
class Mean:
    """Mean over `axes` (batch dimension left out)."""

    name: str
    axes: tuple[int, ...]
    keepdim: bool


@dataclass(frozen=True, eq=False)
class BatchNorm2d:
    """quantized::batch_norm2d and batch_norm2d_relu; the four arrays are float32 [C]."""

    name: str
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32]
    epsilon: float
    relu: bool
    output: QuantParams


@dataclass(frozen=True)
class Slice:
    """Elements `start` to `stop` along `axis` (batch dimension left out), copied to memory of their own, row-major."""

    name: str
    axis: int
    start: int
    stop: int


@dataclass(frozen=True)
class Contiguous:
    """The same value in another order in memory, which decides which lanes of a kernel an element meets."""

    name: str
    channels_last: bool


@dataclass(frozen=True)
class Reshape:
    """Another shape for the same elements, in row-major order; `shape` leaves out the batch dimension."""

    name: str
    shape: Shape


@dataclass(frozen=True)
class Dequantize:
    """Bytes in, float32 out: the end of the quantized part."""

    name: str


Layer: TypeAlias = (
    Quantize
    | Linear
    | Conv2d
    | MaxPool2d
    | Relu
    | Hardtanh
    | Activation
    | Add
    | Mul
    | Cat
    | AvgPool2d
    | AdaptiveAvgPool2d
    | Mean
    | BatchNorm2d
    | Slice
    | Contiguous
    | Reshape
    | Dequantize
)


@dataclass(frozen=True)
class QuantizedModel:
    """Layers on inputs of `input_shape` (batch dimension left out); the last layer's result is the model's.

    `sources` names the values that each layer reads: 0 is the input, i + 1 the result of layer i. Left out, the layers
    are a chain.
    """

    input_shape: Shape
    layers: tuple[Layer, ...]
    sources: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.sources:
            object.__setattr__(self, "sources", tuple((index,) for index in range(len(self.layers))))
        for index, (layer, sources) in enumerate(zip(self.layers, self.sources, strict=True)):
            if not sources or any(not 0 <= source <= index for source in sources):
                raise UsageError(f"layer {layer.name}: reads values {sources}, not earlier ones, 0 to {index}")
