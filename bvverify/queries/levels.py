"""LevelBox: the set of network inputs that a question ranges over."""

from dataclasses import dataclass

import numpy as np

from bvverify.errors import UsageError
from bvverify.network import IntArray
from bvverify.network.exact import integers


@dataclass(frozen=True, eq=False)
class LevelBox:
    """All integer inputs between two ends, element by element, except levels that no real input reaches.

    `lower`, `upper`: int64 of the network's input shape, lower <= upper.  `missing`: int64 [n, 2], rows of (flat
    element, level) with lower < level < upper.
    """

    lower: IntArray
    upper: IntArray
    missing: IntArray

    @classmethod
    def of(cls, lower: object, upper: object) -> "LevelBox":
        """Return the box without missing levels between two integer arrays of one shape."""
        low, high = integers(np.asarray(lower), "box, lower end"), integers(np.asarray(upper), "box, upper end")
        if low.shape != high.shape or (low > high).any():
            raise UsageError("box: the ends must have one shape, and lower <= upper everywhere")
        return cls(low, high, np.empty((0, 2), dtype=np.int64))

    def allowed(self, levels: IntArray) -> IntArray:
        """Move elements of `levels`, a batch between the ends (n, *shape), off the missing levels, and return it."""
        flat = levels.reshape(len(levels), -1)
        for element, level in self.missing[::-1]:  # downwards: the level below may be missing as well
            flat[flat[:, element] == level, element] = level - 1
        return levels

    def contains(self, levels: IntArray) -> bool:
        """Return whether one input (of the box's shape) belongs to the set."""
        inside = (levels >= self.lower).all() and (levels <= self.upper).all()
        flat = levels.reshape(-1)
        return bool(inside and (flat[self.missing[:, 0]] != self.missing[:, 1]).all())
