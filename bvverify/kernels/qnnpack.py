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

_BIAS_OVERFLOW = "the bias, or the accumulator with it, leaves int32"


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
    defect: str | None
    """Why QNNPACK rejects these numbers or computes them in a way that is not modelled."""

    @classmethod
    def of(cls, layer: WeightedLayer, source: QuantParams) -> "QnnpackRequantization":
        """Return the formula of `layer` fed by activations quantized as `source`."""
        scale = f32(layer.weight.scales) * f32(source.scale)
        reciprocal_output = f32(1.0 / np.float64(f32(layer.output.scale)))
        multiplier = scale * reciprocal_output
        padding = f32(source.scale) * reciprocal_output  # channels that fill up a block have weight scale 1
        defect = None
        if not (_normal(scale) and _normal(multiplier) and _normal(padding)):
            defect = "QNNPACK accepts only requantization scales that are positive normal float32 numbers"
        bias = np.zeros(len(layer.weight.values))
        if layer.bias is not None and defect is None:
            reciprocal = np.float32(1) / f32(layer.weight.scales * source.scale)
            bias = np.rint((layer.bias * reciprocal).astype(np.float64))
            if (bias < INT32_MIN).any() or (bias > INT32_MAX).any():  # there linear layers and convolutions disagree
                defect = _BIAS_OVERFLOW
        rounded = np.clip(bias, INT32_MIN, INT32_MAX).astype(np.int64)
        return cls(multiplier[:, None], rounded[:, None], layer.output.zero_point, layer.relu, defect)

    def bytes_of(self, accumulator: Integers) -> Integers:
        return rounded_to_bytes(self._scaled(accumulator), self.zero_point, relu=self.relu)

    def refusal(self, lower: Integers, upper: Integers) -> str | None:
        if self.defect is not None:
            return self.defect
        bias = self.bias[:, 0]
        if (lower + bias < INT32_MIN).any() or (upper + bias > INT32_MAX).any():
            return _BIAS_OVERFLOW
        return int32_overflow(lower, upper, self._scaled)

    def _scaled(self, accumulator: Integers) -> Float32:
        return from_int32(accumulator + self.bias) * self.multiplier


def _normal(values: Float32) -> bool:
    return bool((values >= np.finfo(np.float32).tiny).all() and np.isfinite(values).all())
