"""QNNPACK: engine qnnpack, with its SSE2 kernels on every x86-64 machine.

Source: ATen `native/quantized/cpu/qnnpack` (`q8gemm/4x4c2-sse2.c`, `q8conv`, `requantization/`), `qlinear.cpp`,
`qconv.cpp`. Confirmed against PyTorch 2.13.0's kernels by the tests.
"""

from dataclasses import dataclass

import numpy as np

from bvverify.kernels.float32 import (
    INT32_MAX,
    INT32_MIN,
    Float32,
    Integers,
    f32,
    from_int32,
)
from bvverify.kernels.requantize import Accumulation, Kernel, WeightedLayer, int32_overflow, rounded_to_bytes
from bvverify.model import QuantParams


def kernel(layer: WeightedLayer, source: QuantParams) -> Kernel:
    """Return what QNNPACK runs for `layer` on activations quantized as `source`."""
    return Kernel(Accumulation.EXACT, QnnpackRequantization.of(layer, source))


@dataclass(frozen=True, eq=False)
class QnnpackRequantization:
    """QNNPACK: bias quantized to int32, then one float32 multiplication (pytorch_qnnp requantize, `q8gemm`, SSE2)."""

    multiplier: Float32
    bias: Integers
    zero_point: int
    relu: bool
    bias_overflow: bool
    """Whether some bias lies outside int32 in accumulator units, where linear and convolution disagree."""

    @classmethod
    def of(cls, layer: WeightedLayer, source: QuantParams) -> "QnnpackRequantization":
        """Return the formula of `layer` fed by activations quantized as `source`."""
        weight_scale = f32(layer.weight.scales)
        multiplier = (weight_scale * f32(source.scale)) * f32(1.0 / np.float64(f32(layer.output.scale)))
        outputs = len(layer.weight.values)
        bias, overflow = np.zeros(outputs), False
        if layer.bias is not None:
            reciprocal = np.float32(1) / f32(layer.weight.scales * source.scale)
            bias = np.rint((layer.bias * reciprocal).astype(np.float64))
            overflow = bool((bias < INT32_MIN).any() or (bias > INT32_MAX).any())
            bias = np.clip(bias, INT32_MIN, INT32_MAX)
        return cls(
            multiplier[:, None],
            bias.astype(np.int64)[:, None],
            layer.output.zero_point,
            layer.relu,
            overflow,
        )

    def bytes_of(self, accumulator: Integers) -> Integers:
        return rounded_to_bytes(self._scaled(accumulator), self.zero_point, relu=self.relu)

    def refusal(self, lower: Integers, upper: Integers) -> str | None:
        normal = (self.multiplier >= np.finfo(np.float32).tiny).all() and np.isfinite(self.multiplier).all()
        if not normal:
            return "QNNPACK accepts only requantization scales that are positive normal float32 numbers"
        bias = self.bias[:, 0]
        if self.bias_overflow or (lower + bias < INT32_MIN).any() or (upper + bias > INT32_MAX).any():
            return "the bias, or the accumulator with it, leaves int32"
        return int32_overflow(lower, upper, self._scaled)

    def _scaled(self, accumulator: Integers) -> Float32:
        return from_int32(accumulator + self.bias) * self.multiplier
