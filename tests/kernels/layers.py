"""Small quantized models for single facts: scales are 1 and zero points 0 unless a test says otherwise."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bvverify.model import Conv2d, Linear, MaxPool2d, Quantize, QuantizedModel, QuantParams, Weight
from bvverify.model.quantized import Layer, Pair


def weight(values: npt.ArrayLike, *, scale: float | Sequence[float] = 1.0, zero_point: int = 0) -> Weight:
    """Return int8 `values`, per channel if `scale` is a sequence."""
    scales = np.atleast_1d(np.array(scale, dtype=np.float64))
    zero_points = np.full(len(scales), zero_point, dtype=np.int64)
    return Weight(np.array(values, dtype=np.int8), scales, zero_points, not isinstance(scale, float))


def linear(
    values: npt.ArrayLike | Weight,
    *,
    bias: npt.ArrayLike | None = None,
    scale: float = 1.0,
    zero_point: int = 0,
    relu: bool = False,
    name: str = "fc",
) -> Linear:
    """Return a linear layer; a single row of `values` stands for one output."""
    given = values if isinstance(values, Weight) else weight(np.atleast_2d(values))
    return Linear(name, given, _bias(bias), relu, QuantParams(scale, zero_point))


def conv(
    values: npt.ArrayLike | Weight,
    *,
    bias: npt.ArrayLike | None = None,
    scale: float = 1.0,
    zero_point: int = 0,
    relu: bool = False,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Conv2d:
    """Return a convolution."""
    given = values if isinstance(values, Weight) else weight(values)
    return Conv2d("conv", given, _bias(bias), relu, QuantParams(scale, zero_point), stride, padding, dilation, groups)


def max_pool(
    kernel: Pair,
    *,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    ceil_mode: bool = False,
) -> MaxPool2d:
    """Return a max-pooling."""
    return MaxPool2d("pool", kernel, stride, padding, dilation, ceil_mode)


def model(shape: tuple[int, ...], *layers: Layer, scale: float = 1.0, zero_point: int = 0) -> QuantizedModel:
    """Return `layers` behind a quantization of the input."""
    return QuantizedModel(shape, (Quantize("quantize", QuantParams(scale, zero_point)), *layers))


def _bias(bias: npt.ArrayLike | None) -> npt.NDArray[np.float32] | None:
    return None if bias is None else np.atleast_1d(np.array(bias, dtype=np.float32))
