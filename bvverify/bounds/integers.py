"""Linear algebra in 64-bit integers that refuses what might leave them: the arithmetic of proofs.

A number or a sum that may be too large raises `TooLarge`; every result that is returned is exact.
"""

import numpy as np

from bvverify.network import IntArray

EXACT_INT = 1 << 62
_FLOAT_BITS, _SHORTEST_DIGIT = 53, 8


class TooLarge(Exception):
    """A number may leave 64 bits; nothing is proved then."""


def product(rows: IntArray, matrix: IntArray) -> IntArray:
    """Return rows @ matrix.

    BLAS multiplies floats: rows are cut into digits so short that all sums of their products stay below 2**53, where
    float64 is exact.
    """
    sums = int(np.abs(matrix).sum(axis=0).max(initial=0))
    reach = largest(rows) * sums
    check(reach, 1)
    room = _FLOAT_BITS - sums.bit_length()
    if room < _SHORTEST_DIGIT:
        return np.asarray(rows @ matrix)
    carried, found, shift = matrix.astype(np.float64), np.zeros((len(rows), matrix.shape[1]), dtype=np.int64), 0
    while largest(rows >> shift) * sums >= 1 << _FLOAT_BITS:
        digits = (rows >> shift) & ((1 << room) - 1)
        found += (digits.astype(np.float64) @ carried).astype(np.int64) << shift
        shift += room
    return np.asarray(found + (((rows >> shift).astype(np.float64) @ carried).astype(np.int64) << shift))


def times(rows: IntArray, numbers: IntArray) -> IntArray:
    """Return rows @ numbers for a vector."""
    check(largest(rows) * largest(numbers), rows.shape[1])
    return np.asarray(rows @ numbers)


def on_box(rows: IntArray, low: IntArray, high: IntArray) -> IntArray:
    """Return the greatest values of linear forms, one per row, on a box."""
    return plus(times(np.maximum(rows, 0), high), times(np.minimum(rows, 0), low))


def plus(first: IntArray, second: IntArray) -> IntArray:
    """Return the sum of two arrays."""
    check(largest(first) + largest(second), 1)
    return first + second


def largest(array: IntArray) -> int:
    """Return the greatest absolute value in an array, 0 if it is empty."""
    return max(abs(int(array.max(initial=0))), abs(int(array.min(initial=0))))


def check(reach: int, count: int) -> None:
    """Refuse sums of `count` numbers of up to `reach` that may leave 64 bits."""
    if reach * count >= EXACT_INT:
        raise TooLarge
