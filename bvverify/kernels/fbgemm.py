"""FBGEMM: engine fbgemm, all linear layers of engine x86, and its convolutions where oneDNN is not chosen.

Source: fbgemm `QuantUtilsAvx2.cc`/`QuantUtilsAvx512.cc` (requantizeOutputProcessing*), `FbgemmI8Depthwise*`; ATen
`quantized/cpu/qlinear.cpp`, `qconv.cpp`.  Confirmed against PyTorch 2.13.0's kernels by the tests.
"""

from dataclasses import dataclass

import numpy as np

from bvverify.errors import NotExact
from bvverify.kernels.float32 import (
    Float32,
    Integers,
    f32,
    fma,
    from_int32,
)
from bvverify.kernels.requantize import Accumulation, Kernel, WeightedLayer, int32_overflow, rounded_to_bytes
from bvverify.kernels.target import Isa
from bvverify.model import Conv2d, QuantParams


def kernel(layer: WeightedLayer, source: QuantParams, isa: Isa) -> Kernel:
    """Return what FBGEMM runs for `layer` on activations quantized as `source`."""
    if isinstance(layer, Conv2d):
        _refuse_groupwise(layer, isa)
    return Kernel(_accumulation(layer, isa), FbgemmRequantization.of(layer, source))


def _accumulation(layer: WeightedLayer, isa: Isa) -> Accumulation:
    saturates = isa is not Isa.AVX512_VNNI or (isinstance(layer, Conv2d) and _depthwise_fast_path(layer))
    return Accumulation.SATURATING_PAIRS if saturates else Accumulation.EXACT


_VECTOR_BYTES = {Isa.AVX512_VNNI: 64, Isa.AVX512: 64, Isa.AVX2: 32}


def groupwise_path(layer: Conv2d, isa: Isa) -> bool:
    """Return whether the 3x3 groupwise kernel runs.  It asks the CPU for its instruction set, not the environment
    (fbgemm `GroupwiseConv.cc`, `PackWeightMatrixForGConv.cc`).
    """
    outputs, channels, height, width = layer.weight.values.shape
    return (
        channels in (2, 4, 8, 16)
        and outputs == channels * layer.groups
        and layer.groups >= _groups_together(channels, isa)
        and (height, width) == (3, 3)
        and layer.stride in ((1, 1), (2, 2))
        and layer.dilation == (1, 1)
        and layer.padding == (1, 1)
    )


def _groups_together(channels: int, isa: Isa) -> int:
    """Return how many groups the groupwise kernel takes at a time: those whose weights of one tap fill a vector.

    Each output of a group has a weight for every channel, and for 4 channels where there are but 2.
    """
    return max(1, _VECTOR_BYTES[isa] // (channels * max(channels, 4)))


def _refuse_groupwise(layer: Conv2d, isa: Isa) -> None:
    """Refuse groups that the groupwise kernel cannot take evenly, for it then writes beyond its memory, and the kernel
    of AVX512 without VNNI, which no machine at hand could run.
    """
    channels = layer.weight.values.shape[1]
    if not groupwise_path(layer, isa):
        return
    if layer.groups % _groups_together(channels, isa):
        raise NotExact(
            f"layer {layer.name}: FBGEMM's 3x3 convolution of {layer.groups} groups of {channels} channels corrupts "
            "memory; use another engine"
        )
    if isa is Isa.AVX512:
        raise NotExact(
            f"layer {layer.name}: FBGEMM's 3x3 groupwise convolution on {isa} without VNNI is not modelled; use "
            "another target"
        )


def _depthwise_fast_path(layer: Conv2d) -> bool:
    """Return whether the 3x3, 5x5 or 7x7 depthwise kernel runs, which adds pairs in 16 bits whatever the CPU."""
    outputs, inputs_per_group, height, width = layer.weight.values.shape
    return (
        inputs_per_group == 1
        and outputs in (layer.groups, 2 * layer.groups)
        and layer.groups % 8 == 0
        and height == width
        and height in (3, 5, 7)
        and set(layer.stride) <= {1, 2}
        and layer.dilation == (1, 1)
        and layer.padding == ((height - 1) // 2,) * 2
    )


@dataclass(frozen=True, eq=False)
class FbgemmRequantization:
    """FBGEMM: ReQuantizeOutput with float bias (fbgemm/QuantUtils, `requantizeOutputProcessingAvx2`).

    Per-tensor weights: the compiler contracts the division of the bias and its addition into a multiplication by a
    reciprocal and one fused multiply-add.  Per-channel weights: a division, then an addition.
    """

    multiplier: Float32
    bias: Float32 | None
    """Real bias where it is fused, bias in accumulator units where it is not, None without bias."""
    reciprocal: Float32 | None
    """Reciprocal of the accumulator's scale, by which a fused bias is multiplied."""
    zero_point: int
    relu: bool

    @classmethod
    def of(cls, layer: WeightedLayer, source: QuantParams) -> "FbgemmRequantization":
        """Return the formula of `layer` fed by activations quantized as `source`."""
        scale = (f32(source.scale) * f32(layer.weight.scales))[:, None]
        bias = None if layer.bias is None else layer.bias[:, None]
        reciprocal = None
        if bias is not None and layer.weight.per_channel:
            bias = bias / scale
        elif bias is not None:
            reciprocal = f32(1.0 / scale.astype(np.float64))
        return cls(scale / f32(layer.output.scale), bias, reciprocal, layer.output.zero_point, layer.relu)

    def bytes_of(self, accumulator: Integers) -> Integers:
        return rounded_to_bytes(self._scaled(accumulator), self.zero_point, relu=self.relu)

    def refusal(self, lower: Integers, upper: Integers) -> str | None:
        return int32_overflow(lower, upper, self._scaled)

    def _scaled(self, accumulator: Integers) -> Float32:
        value = from_int32(accumulator)
        if self.bias is not None and self.reciprocal is not None:
            value = fma(self.bias, self.reciprocal, value)
        elif self.bias is not None:
            value = value + self.bias
        return value * self.multiplier
