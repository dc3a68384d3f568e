"""IntegerProgram: integers between bounds and linear rows between bounds; it belongs to no solver."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

UNBOUNDED_BELOW = int(np.iinfo(np.int64).min)
UNBOUNDED_ABOVE = int(np.iinfo(np.int64).max)


@dataclass(frozen=True, eq=False)
class IntegerProgram:
    """Is there an integer x with lower <= x <= upper and row_lower <= A x <= row_upper?

    V variables, R rows, N coefficients that are not zero.  All arrays are int64 but `implied`.
    """

    lower: IntArray
    """[V]"""
    upper: IntArray
    """[V]"""
    implied: npt.NDArray[np.bool_]
    """[V]: the variable is an integer whenever the others are, so that a solver need not ask for it."""
    starts: IntArray
    """[R + 1]: row r holds the entries starts[r] to starts[r + 1] - 1 of `columns` and `coefficients`."""
    columns: IntArray
    """[N]"""
    coefficients: IntArray
    """[N]"""
    row_lower: IntArray
    """[R], UNBOUNDED_BELOW where the row has no lower bound."""
    row_upper: IntArray
    """[R], UNBOUNDED_ABOVE where the row has no upper bound."""
