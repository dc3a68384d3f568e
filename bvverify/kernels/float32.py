"""The float32 primitives of the kernels, on numpy arrays: each function is one machine operation or instruction."""

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def f32(value: float | npt.NDArray[np.float64]) -> Float32:
    """Round float64 to float32, to nearest even."""
    return np.asarray(value, dtype=np.float64).astype(np.float32)


def from_int32(accumulator: Integers) -> Float32:
    """Convert int32 to float32, to nearest even (cvtdq2ps); int64 in, so that no float64 step rounds first."""
    return accumulator.astype(np.float32)


def fma(a: Float32, b: Float32, c: Float32) -> Float32:
    """Return a * b + c with a single rounding to float32 (vfmadd).

    The product of two float32 is exact in float64.  The float64 sum is then rounded to odd: where it is inexact,
    the neighbour with an odd last bit is taken, after which rounding to float32 cannot be led astray (Boldo and
    Melquiond, 2008).
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return _fma(a, b, c)


def _fma(a: Float32, b: Float32, c: Float32) -> Float32:
    product = a.astype(np.float64) * b.astype(np.float64)
    addend = np.broadcast_to(c.astype(np.float64), np.broadcast_shapes(product.shape, c.shape))
    total = product + addend
    # Knuth's two-sum: `error` is exactly what the addition lost.
    part = total - product
    error = (product - (total - part)) + (addend - part)
    inexact = np.isfinite(error) & (error != 0)
    even = (total.view(np.int64) & 1) == 0
    toward_odd = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    return np.where(inexact & even, toward_odd, total).astype(np.float32)


def round_to_int32(value: Float32) -> Integers:
    """Round half to even to int32; outside the int32 range the result is INT32_MIN (cvtps2dq)."""
    wide = np.rint(value.astype(np.float64))
    inside = (wide >= INT32_MIN) & (wide <= INT32_MAX)
    return np.where(inside, wide, float(INT32_MIN)).astype(np.int64)


def saturate_int16(value: Integers) -> Integers:
    """Clamp to [-32768, 32767] (packssdw, paddsw)."""
    return np.clip(value, -32768, 32767)


def saturate_uint8(value: Integers) -> Integers:
    """Clamp to [0, 255] (packuswb)."""
    return np.clip(value, 0, 255)
