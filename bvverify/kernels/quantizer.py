"""quantize_per_tensor: how real inputs become bytes, on every engine."""

from dataclasses import dataclass

from bvverify.kernels.conversion import quantize_fused
from bvverify.kernels.float32 import Float32, Integers
from bvverify.model import QuantParams


@dataclass(frozen=True)
class Quantizer:
    """torch.quantize_per_tensor in PyTorch 2.13.0 (FBGEMM `Quantize<uint8_t, LEGACY>`).

    The zero point is added before rounding, with one fused multiply-add; the result is non-decreasing in x.
    """

    params: QuantParams

    def levels(self, x: Float32) -> Integers:
        """Return the bytes, int64 of the shape of x, for finite float32 x."""
        return quantize_fused(x, self.params)
