"""What lowering needs to know of a kernel: how it accumulates, and how it turns accumulators into bytes."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

import numpy as np

from bvverify.kernels.float32 import Float32, Integers, round_to_int32, saturate_int16, saturate_uint8
from bvverify.model import Conv2d, Linear
from bvverify.network import Window

WeightedLayer: TypeAlias = Linear | Conv2d


class Accumulation(Enum):
    """How products are summed to an int32 accumulator."""

    EXACT = "exact"
    """Every product enters the int32 sum as it is (VNNI, and QNNPACK's 16-bit products)."""
    SATURATING_PAIRS = "saturating pairs"
    """Products of adjacent taps are added with 16-bit saturation first (vpmaddubsw)."""
    UNORDERED_PAIRS = "saturating pairs in an order that is not modelled"
    """The same, but which taps are adjacent is not modelled: exact only where no pair can saturate."""


class Requantization(Protocol):
    """The float32 pipeline from int32 accumulators to bytes, for one layer on one engine.

    `bytes_of` follows the engine operation by operation, vectorised over accumulators [C, n] with one row per
    output channel.  It is non-decreasing in each row where `refusal` returns None.
    """

    def bytes_of(self, accumulator: Integers) -> Integers:
        """Return the output bytes, int64 [C, n], of accumulators int64 [C, n] that fit int32."""

    def refusal(self, lower: Integers, upper: Integers) -> str | None:
        """Return why the pipeline is not modelled exactly for accumulators in [lower[c], upper[c]], or None."""


def window_of(layer: Conv2d) -> Window:
    """Return the geometry of a convolution."""
    height, width = layer.weight.values.shape[2:]
    return Window((height, width), layer.stride, layer.padding, layer.dilation)


@dataclass(frozen=True)
class Kernel:
    """What one engine runs for one layer."""

    accumulation: Accumulation
    requantization: Requantization


def rounded_to_bytes(scaled: Float32, zero_point: int, *, relu: bool) -> Integers:
    """Return the bytes of float32 values in output units: round, saturate to 16 bits, add the zero point, saturate.

    This is the end of FBGEMM's and QNNPACK's pipelines alike; a fused ReLU is a maximum with the zero point.
    """
    rounded = saturate_int16(round_to_int32(scaled))
    result = saturate_uint8(saturate_int16(rounded + zero_point))
    return np.maximum(result, zero_point) if relu else result


def int32_overflow(lower: Integers, upper: Integers, scaled: Callable[[Integers], Float32]) -> str | None:
    """Return a refusal if the float32 values `scaled` of some accumulator may leave int32.

    There the conversion instruction returns INT32_MIN, the byte falls from 255 to 0, and the pipeline is no longer
    monotone.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        ends = scaled(np.stack([lower, upper], axis=1)).astype(np.float64)
    if not np.isfinite(ends).all() or (np.abs(ends) >= 2.0**31).any():
        return "a requantized value may leave int32, where the kernel's conversion wraps around"
    return None
