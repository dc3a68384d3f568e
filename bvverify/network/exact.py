"""Integer arithmetic on numpy arrays that cannot overflow or round.

Values are integers.  They are carried in the narrowest of float32, float64 and int64 in which every number that a
computation meets, partial sums included, is an exact integer: a float format represents all integers up to its
limit, sums and products below the limit are exact in any order, and matrix products of floats run on BLAS.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.errors import UsageError

IntArray = npt.NDArray[np.int64]
Numbers = npt.NDArray[Any]
"""Integers, carried as int64 or as exact floats."""

FLOAT32_LIMIT = 2**24
FLOAT64_LIMIT = 2**53
INT64_LIMIT = 2**60
"""Bound on the magnitude of every value and partial sum: sums of up to four of them still fit int64 without further
proof.
"""


def carrier(magnitude: int) -> np.dtype[Any]:
    """Return the narrowest type in which all integers up to `magnitude` are exact."""
    if magnitude < FLOAT32_LIMIT:
        return np.dtype(np.float32)
    if magnitude < FLOAT64_LIMIT:
        return np.dtype(np.float64)
    return np.dtype(np.int64)


class Carried:
    """An int64 array, available in every carrier, converted once for each."""

    def __init__(self, array: IntArray) -> None:
        self._forms: dict[np.dtype[Any], Numbers] = {array.dtype: array}
        self._array = array

    def as_type(self, dtype: np.dtype[Any]) -> Numbers:
        """Return the array as `dtype`; exact when the carrier's limit covers its magnitude."""
        if dtype not in self._forms:
            self._forms[dtype] = self._array.astype(dtype)
        return self._forms[dtype]


def integers(array: npt.ArrayLike, what: str) -> IntArray:
    """Return `array` as a read-only int64 copy; refuse anything that is not made of integers that fit."""
    values = np.asarray(array)
    if values.dtype == np.uint64 and values.size and int(values.max()) >= 2**63:
        raise UsageError(f"{what}: values do not fit int64")
    if values.dtype.kind not in "iub":
        raise UsageError(f"{what}: expected integers, got {values.dtype}")
    copy = values.astype(np.int64, copy=True)
    copy.setflags(write=False)
    return copy


def magnitude(*arrays: IntArray) -> int:
    """Return the largest absolute value in the arrays, as a Python integer (0 for empty arrays)."""
    return max((max(abs(int(a.min())), abs(int(a.max()))) for a in arrays if a.size), default=0)


def row_magnitude(weight: IntArray, bound: IntArray) -> int:
    """Return max over rows of sum_k |weight[..., k]| * bound[..., k], or a coarser upper bound, without overflow.

    Every partial sum of the products `weight * x` with |x| <= bound, in any order, is at most this.  `bound` is
    non-negative and broadcasts against `weight`.
    """
    if not weight.size:
        return 0
    coarse = weight.shape[-1] * magnitude(weight) * magnitude(bound)
    if coarse < FLOAT64_LIMIT:  # then the products and sums below fit int64 with room to spare
        return int(np.max(np.sum(np.abs(weight) * bound, axis=-1)))
    total = (np.abs(weight.astype(object)) * bound.astype(object)).sum(axis=-1)
    return int(np.max(total))
