"""quantize_per_tensor: how real inputs become bytes, on every engine."""

from dataclasses import dataclass

import numpy as np

from bvverify.kernels.float32 import Float32, Integers, f32, fma, round_to_int32
from bvverify.model import QuantParams

_LARGEST_CONVERTIBLE = np.float32(2147483520.0)
"""The float32 below 2**31, to which FBGEMM limits values before it converts them."""


@dataclass(frozen=True)
class Quantizer:
    """torch.quantize_per_tensor to quint8 in PyTorch 2.13.0 (FBGEMM `Quantize<uint8_t, LEGACY>`).

    The zero point is added before rounding, with one fused multiply-add; the result is non-decreasing in x.
    """

    params: QuantParams

    def levels(self, x: Float32) -> Integers:
        """Return the bytes, int64 of the shape of x, for finite float32 x."""
        reciprocal = np.asarray(np.float32(1) / f32(self.params.scale))
        value = fma(x, reciprocal, np.array([self.params.zero_point], dtype=np.float32))
        return np.clip(round_to_int32(np.minimum(value, _LARGEST_CONVERTIBLE)), 0, 255)
