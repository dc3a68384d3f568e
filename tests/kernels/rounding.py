"""Rounding to float32 on exact rational numbers: the definition, against which the fast primitives are tested."""

from fractions import Fraction
from math import inf

import numpy as np


def nearest_float32(value: Fraction) -> np.float32:
    """Return the float32 nearest to `value`, ties to even, infinite beyond the largest."""
    if value == 0:
        return np.float32(0)
    exponent = value.numerator.bit_length() - value.denominator.bit_length() - 1
    if abs(value) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    unit = Fraction(2) ** max(exponent - 23, -149)
    rounded = round(value / unit) * unit  # Python rounds halves to even
    if abs(rounded) >= 2**128:
        return np.float32(inf if value > 0 else -inf)
    return np.float32(float(rounded))
