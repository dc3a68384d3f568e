"""Bytes to float32 and back, inside kernels: ATen has one form for whole vectors and one for the remainder.

Source: ATen `cpu/vec/vec*/vec*_qint.h` (vector lanes), `native/quantized/AffineQuantizerBase.cpp` (scalar lanes),
fbgemm `QuantUtils.h` (`Quantize`).  Confirmed against PyTorch 2.13.0's kernels by the tests.
"""

from enum import Enum

import numpy as np

from bvverify.kernels.float32 import Float32, Integers, f32, fma, round_to_int32
from bvverify.model import QuantParams

LARGEST_CONVERTIBLE = np.float32(2147483520.0)
"""The float32 below 2**31, to which values are limited before a conversion."""


class Lane(Enum):
    """Which code an element of an elementwise kernel meets: whole blocks of 64 are vectors, the rest is scalar."""

    VECTOR = "vector"
    SCALAR = "scalar"


class LeavesInt32(ArithmeticError):
    """A value in output units leaves int32, where vector and scalar conversions differ and are not modelled."""


def dequantize(levels: Integers, params: QuantParams, lane: Lane) -> Float32:
    """Return the float32 values of bytes.  In a vector, one fused multiply-add; a zero point need not give 0."""
    scale = np.asarray(f32(params.scale))
    if lane is Lane.VECTOR:
        offset = np.asarray(scale * np.float32(-params.zero_point))
        return fma(scale, levels.astype(np.float32), offset)
    return scale * (levels - params.zero_point).astype(np.float32)


def quantize(values: Float32, params: QuantParams, lane: Lane, *, reciprocal: Float32 | None = None) -> Integers:
    """Return the bytes of float32 values: a vector rounds before it adds the zero point, a scalar after.

    `reciprocal` of the scale, where the kernel does not compute it from the float32 scale.  Raises `LeavesInt32`.
    """
    inverse = np.float32(1) / f32(params.scale) if reciprocal is None else reciprocal
    scaled = values * inverse
    if not (np.abs(scaled) < 2.0**31).all():
        raise LeavesInt32
    if lane is Lane.VECTOR:
        levels = round_to_int32(np.minimum(scaled, LARGEST_CONVERTIBLE)) + params.zero_point
    else:
        levels = np.rint((scaled + np.float32(params.zero_point)).astype(np.float64)).astype(np.int64)
    return np.clip(levels, params.least, params.greatest)


def quantize_fused(values: Float32, params: QuantParams, *, reciprocal: Float32 | None = None) -> Integers:
    """Return the bytes of float32 values as quantize_per_tensor computes them: the zero point enters by a fused
    multiply-add, before rounding.
    """
    inverse = np.asarray(np.float32(1) / f32(params.scale) if reciprocal is None else reciprocal)
    fused = fma(values, inverse, np.array([params.zero_point], dtype=np.float32))
    return np.clip(round_to_int32(np.minimum(fused, LARGEST_CONVERTIBLE)), params.least, params.greatest)
