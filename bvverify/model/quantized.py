"""QuantizedModel: what a deployed file says, without engine and without torch.

Weights are int8, scales are the float64 numbers that the file holds, bias is float32, zero points are integers.
What a target makes of them is decided in `bvverify.kernels`.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Shape: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class QuantParams:
    """Affine quantization to quint8: real = scale * (byte - zero_point), bytes 0 to 255."""

    scale: float
    zero_point: int


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
class Reshape:
    """Another shape for the same elements, in row-major order; `shape` leaves out the batch dimension."""

    name: str
    shape: Shape


@dataclass(frozen=True)
class Dequantize:
    """Bytes in, float32 out: the end of the quantized part."""

    name: str


Layer: TypeAlias = Quantize | Linear | Conv2d | MaxPool2d | Relu | Reshape | Dequantize


@dataclass(frozen=True)
class QuantizedModel:
    """A chain of layers on inputs of `input_shape` (batch dimension left out)."""

    input_shape: Shape
    layers: tuple[Layer, ...]
