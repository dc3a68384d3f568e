"""Converted quantized modules, built directly from their numbers, without training or calibration."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.ao.nn import quantized as nnq
from torch.ao.nn.intrinsic import quantized as nniq

Pair = tuple[int, int]
Scale = float | Sequence[float] | npt.NDArray[np.float64]
ZeroPoint = int | Sequence[int] | npt.NDArray[np.int64]
"""One number for weights quantized per tensor, one number per output channel for weights quantized per channel."""


def quantized_weight(values: npt.ArrayLike, *, scale: Scale, zero_point: ZeroPoint = 0) -> Tensor:
    """Return int8 `values` as a qint8 tensor; per channel (the first axis) if `scale` has one number for each."""
    integers = torch.from_numpy(np.array(values, dtype=np.int8))
    if isinstance(scale, float):
        return torch._make_per_tensor_quantized_tensor(integers, scale, int(zero_point))
    zero_points = torch.as_tensor(np.broadcast_to(np.asarray(zero_point, dtype=np.int64), len(integers)).copy())
    return torch._make_per_channel_quantized_tensor(
        integers, torch.as_tensor(np.array(scale, dtype=np.float64)), zero_points, 0
    )


def linear(
    weight: Tensor, bias: npt.ArrayLike | None = None, *, scale: float = 1.0, zero_point: int = 0, relu: bool = False
) -> nn.Module:
    """Return a linear layer with a weight [O, I] from `quantized_weight`; `scale` and `zero_point` are its output's."""
    outputs, inputs = weight.shape
    layer = (nniq.LinearReLU if relu else nnq.Linear)(inputs, outputs)
    return _filled(layer, weight, bias, scale, zero_point)


def conv2d(
    weight: Tensor,
    bias: npt.ArrayLike | None = None,
    *,
    scale: float = 1.0,
    zero_point: int = 0,
    relu: bool = False,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> nn.Module:
    """Return a quantized convolution with a weight [O, I / groups, KH, KW] from `quantized_weight`."""
    outputs, inputs, *kernel = weight.shape
    layer = (nniq.ConvReLU2d if relu else nnq.Conv2d)(
        inputs * groups, outputs, tuple(kernel), stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    return _filled(layer, weight, bias, scale, zero_point)


def quantize(*, scale: float = 1.0, zero_point: int = 0, dtype: torch.dtype = torch.quint8) -> nn.Module:
    """Return the layer that turns float inputs into bytes."""
    return nnq.Quantize(torch.tensor([scale]), torch.tensor([zero_point]), dtype)


def converted(*layers: nn.Module, input_scale: float = 1.0, input_zero_point: int = 0) -> nn.Sequential:
    """Return `layers` between a quantization of the input and a dequantization of the output, in evaluation mode."""
    return nn.Sequential(quantize(scale=input_scale, zero_point=input_zero_point), *layers, nnq.DeQuantize()).eval()


def small_dense(*, seed: int = 0) -> nn.Sequential:
    """Return 6 inputs, 5 hidden neurons with ReLU, 3 outputs; per-channel weights, then per-tensor ones."""
    rng = np.random.default_rng(seed)
    hidden = quantized_weight(rng.integers(-128, 128, (5, 6)), scale=_float32(rng.uniform(0.01, 0.02, 5)))
    output = quantized_weight(rng.integers(-128, 128, (3, 5)), scale=2.0**-7)
    return converted(
        linear(hidden, rng.normal(size=5), scale=0.04, relu=True),
        linear(output, rng.normal(size=3), scale=0.1, zero_point=130),
        input_scale=1 / 127,
    )


def small_convolutional(*, seed: int = 0) -> nn.Sequential:
    """Return a strided convolution with ReLU on 2 x 6 x 5 images, a max-pooling, flatten and 3 outputs."""
    rng = np.random.default_rng(seed)
    kernel = quantized_weight(rng.integers(-128, 128, (4, 2, 3, 2)), scale=_float32(rng.uniform(0.01, 0.02, 4)))
    output = quantized_weight(rng.integers(-128, 128, (3, 36)), scale=2.0**-7)
    return converted(
        conv2d(kernel, rng.normal(size=4), scale=0.04, relu=True, stride=(2, 1), padding=(1, 1)),
        nn.MaxPool2d((1, 2), stride=(1, 3), padding=(0, 1)),
        nn.Flatten(),
        linear(output, rng.normal(size=3), scale=0.1, zero_point=130),
        input_scale=1 / 127,
        input_zero_point=3,
    )


def _float32(scales: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the scales as training computes them, in float32, which every engine stores without loss."""
    return scales.astype(np.float32).astype(np.float64)


def _filled(layer: nn.Module, weight: Tensor, bias: npt.ArrayLike | None, scale: float, zero_point: int) -> nn.Module:
    layer.set_weight_bias(weight, None if bias is None else torch.from_numpy(np.array(bias, dtype=np.float32)))
    layer.scale, layer.zero_point = scale, zero_point
    return layer
