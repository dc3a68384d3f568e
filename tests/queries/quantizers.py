"""Input quantizations to try, and torch's own to compare with."""

from fractions import Fraction

import numpy as np
import torch
from hypothesis import strategies as st

from bvverify.kernels.quantizer import Quantizer
from bvverify.model import QuantParams
from bvverify.network import IntArray

SCALES = (1 / 255, 1 / 127, 1 / 510, 1 / 1000, 1 / 16, 0.5, 3.0, 0.007870171219110489, 1e-4, 1e-30)
"""From coarse, where many pixels share a level, over fine, where pixels skip levels, to saturating."""


def quantizers() -> st.SearchStrategy[Quantizer]:
    scales = st.sampled_from(SCALES) | st.floats(1e-4, 4.0, allow_subnormal=False)
    return st.builds(QuantParams, scales, st.integers(0, 255)).map(Quantizer)


def torch_levels(x: np.ndarray, quantizer: Quantizer) -> IntArray:
    """Return the bytes that torch.quantize_per_tensor gives."""
    tensor = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
    scale, zero_point = quantizer.params.scale, quantizer.params.zero_point
    return torch.quantize_per_tensor(tensor, scale, zero_point, torch.quint8).int_repr().numpy().astype(np.int64)


class Ordinals:
    """A quantization that loses nothing: neighbouring float32 numbers get neighbouring levels, both zeros level 0."""

    def levels(self, x: np.ndarray, /) -> IntArray:
        magnitude = np.abs(x).astype(np.float32).view(np.int32).astype(np.int64)
        return np.where(np.signbit(x), -magnitude, magnitude)


def exact(x: np.floating) -> Fraction:
    return Fraction(float(x))
