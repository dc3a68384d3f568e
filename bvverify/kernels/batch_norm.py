"""batch_norm2d and batch_norm2d_relu: one fused multiply-add per byte.

Source: ATen `native/quantized/cpu/Normalization.cpp`, `kernels/QuantizedOpKernels.cpp`.  Confirmed against PyTorch
2.13.0's kernels by the tests.
"""

import numpy as np

from bvverify.errors import NotExact
from bvverify.kernels.conversion import LeavesInt32
from bvverify.kernels.float32 import Integers, f32, fma, round_to_int32
from bvverify.kernels.tensor import Tensor
from bvverify.model import BatchNorm2d, QuantParams
from bvverify.network import Gather, Lookup, NetworkBuilder
from bvverify.network.build import image_shape


def append_batch_norm(builder: NetworkBuilder, layer: BatchNorm2d, source: Tensor) -> Tensor:
    """Append a lookup table per channel."""
    assert source.params is not None
    channels, height, width = image_shape(source.layout, "batch_norm2d")
    if len(layer.weight) != channels:
        raise NotExact(f"layer {layer.name}: normalizes {len(layer.weight)} channels, the image has {channels}")
    tables = batch_norm_tables(layer, source.params)
    builder.append(Gather(source.layout.transpose(1, 2, 0).reshape(-1, channels)), source.value)
    builder.append(Lookup(source.params.least, tables), builder.value)
    builder.as_image((height, width))
    return Tensor(builder.value, builder.layout, layer.output, True)


def batch_norm_tables(layer: BatchNorm2d, source: QuantParams) -> Integers:
    """Return each channel's result for each byte, int64 [C, 256]."""
    inverse = np.float32(1) / np.sqrt(layer.variance + np.float32(layer.epsilon))
    alpha = f32((inverse * layer.weight).astype(np.float64) * (source.scale / layer.output.scale))
    beta = f32((layer.bias - layer.mean * inverse * layer.weight).astype(np.float64) / layer.output.scale)
    if not (np.isfinite(alpha).all() and np.isfinite(beta).all()):
        raise NotExact(f"layer {layer.name}: its scales lead out of the finite float32 numbers")
    centered = (np.arange(source.least, source.greatest + 1) - source.zero_point).astype(np.float32)
    value = fma(centered[None, :], alpha[:, None], beta[:, None])
    if not (np.abs(value) < 2.0**31).all():
        raise LeavesInt32
    levels = np.clip(round_to_int32(value) + layer.output.zero_point, 0, 255)
    return np.maximum(levels, layer.output.zero_point) if layer.relu else levels
