"""Weighted sums of bounded integers that take wanted values, found exactly or proved impossible.

A sum  sum_k weight[k] * x[k]  with  low[k] <= x[k] <= high[k]  is its least value plus  sum_k |weight[k]| * u[k],
where u[k] counts from the end of the range that makes the sum least.  Inputs of one |weight| are interchangeable, so
only their number of units matters.  A few sizes |weight| together reach every value of a long dense window (a table
says how); the other sizes are spent greedily, in any order, so that the rest falls into the window.  Values below the
window have a table of their own over all sizes, which is exact; values above it are mirrored.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bvverify.network import IntArray

_Bools = npt.NDArray[np.bool_]
_TABLE_ENTRIES = 2**26
"""Tables beyond this size are not built; the values that would need them stay undecided."""


@dataclass(frozen=True, eq=False)
class Found:
    """What is known of n wanted values."""

    x: npt.NDArray[np.int32]
    """Inputs (n, K) whose sum is the wanted value, where `reached`."""
    reached: _Bools
    """Which values have inputs, (n,)."""
    impossible: _Bools
    """Which values no inputs within the bounds have, (n,)."""


@dataclass(frozen=True, eq=False)
class BoundedSum:
    """The values of  sum_k weight[k] * x[k]  for integers  low[k] <= x[k] <= high[k]: int64 [K] each."""

    weight: IntArray
    low: IntArray
    high: IntArray

    @property
    def least(self) -> int:
        """The least value."""
        return int(np.minimum(self.weight * self.low, self.weight * self.high).sum())

    @property
    def greatest(self) -> int:
        """The greatest value."""
        return int(np.maximum(self.weight * self.low, self.weight * self.high).sum())

    def find(self, wanted: IntArray, generator: np.random.Generator) -> Found:
        """Return inputs for `wanted`, int64 (n,).  The generator decides which inputs are spent first."""
        rest = wanted - self.least
        span = self.greatest - self.least
        candidate = (rest >= 0) & (rest <= span) & (rest % self._unit == 0)
        total = span // self._unit
        rest = np.where(candidate, rest // self._unit, 0)
        mirrored = rest > total - rest
        rest = np.where(mirrored, total - rest, rest)
        window = self._window
        if window is None:
            low_end = np.ones(len(rest), dtype=bool)
            units = np.zeros((len(rest), len(self._sizes)), dtype=np.int64)
        else:
            low_end = rest < window.start
            units = self._spend(np.maximum(rest, window.start), window, generator)
        decided = np.ones(len(rest), dtype=bool)
        reached = candidate.copy()
        if (low_end & candidate).any():
            ends = self._low_end
            if ends is None:
                decided &= ~low_end
                reached &= ~low_end
            else:
                units[low_end], known = ends.units(rest[low_end])
                reached[low_end] &= known
        units = np.where(mirrored[:, None], self._capacity - units, units)
        return Found(self._inputs(units, generator), reached, ~candidate | (decided & ~reached))

    @cached_property
    def _used(self) -> npt.NDArray[np.intp]:
        return np.flatnonzero((self.weight != 0) & (self.high > self.low))

    @cached_property
    def _unit(self) -> int:
        """What all changes of the sum are multiples of."""
        return int(np.gcd.reduce(self.weight[self._used])) if self._used.size else max(1, self.greatest - self.least)

    @cached_property
    def _sizes(self) -> IntArray:
        return np.unique(np.abs(self.weight[self._used])) // self._unit

    @cached_property
    def _of_size(self) -> npt.NDArray[np.intp]:
        return np.searchsorted(self._sizes, np.abs(self.weight[self._used]) // self._unit)

    @cached_property
    def _capacity(self) -> IntArray:
        """How many units of each size there are."""
        spans = (self.high - self.low)[self._used]
        return np.bincount(self._of_size, weights=spans, minlength=len(self._sizes)).astype(np.int64)

    @cached_property
    def _window(self) -> "_Window | None":
        return _dense_window(self._sizes, self._capacity)

    @cached_property
    def _low_end(self) -> "_Table | None":
        half = int((self._sizes * self._capacity).sum()) // 2
        limit = half if self._window is None else min(half, self._window.start - 1)
        if (limit + 1) * max(1, len(self._sizes)) > _TABLE_ENTRIES:
            return None
        table = _Table.empty(limit)
        for index, (size, capacity) in enumerate(zip(self._sizes.tolist(), self._capacity.tolist(), strict=True)):
            if size <= limit:
                table = table.with_size(index, size, capacity)
        return table.for_sizes(len(self._sizes))

    def _spend(self, rest: IntArray, window: "_Window", generator: np.random.Generator) -> IntArray:
        """Return the units (n, sizes) of values in [window.start, total / 2].

        After a size that is not used up, less than that size remains above the window's start; if all are used up,
        what remains is below the window's end, because the value was at most half of the total.
        """
        units = np.zeros((len(rest), len(self._sizes)), dtype=np.int64)
        spare = self._capacity - window.capacity
        rest = rest.copy()
        for index in generator.permutation(np.flatnonzero(spare > 0)):
            units[:, index] = np.minimum((rest - window.start) // self._sizes[index], spare[index])
            rest -= units[:, index] * self._sizes[index]
        fine, _ = window.table.units(rest)
        return units + fine

    def _inputs(self, units: IntArray, generator: np.random.Generator) -> npt.NDArray[np.int32]:
        """Return inputs (n, K) that spend so many units of each size; inputs that change nothing are random."""
        x = np.empty((len(units), len(self.weight)), dtype=np.int32)
        free = np.setdiff1d(np.arange(len(self.weight)), self._used)
        x[:, free] = generator.integers(self.low[free], self.high[free] + 1, size=(len(units), len(free)))
        order = generator.permutation(len(self._used))
        order = order[np.argsort(self._of_size[order], kind="stable")]
        used, of_size = self._used[order], self._of_size[order]
        span = (self.high - self.low)[used]
        before = np.cumsum(span) - span
        first = np.searchsorted(of_size, np.arange(len(self._sizes)))
        spent = units.astype(np.int32)[:, of_size]
        spent -= (before - before[first[of_size]]).astype(np.int32)
        np.clip(spent, 0, span.astype(np.int32), out=spent)
        rising = self.weight[used] > 0
        spent *= np.where(rising, 1, -1).astype(np.int32)
        spent += np.where(rising, self.low[used], self.high[used]).astype(np.int32)
        x[:, used] = spent
        return x


@dataclass(frozen=True, eq=False)
class _Table:
    """How to reach each value 0..limit with units of some sizes: the least number of units of each, size after size."""

    reached: _Bools
    steps: tuple[tuple[int, int, IntArray], ...]
    """Per size: its number, the size, and the units of it that reach each value given the sizes before, -1 for none."""
    sizes: int = 0

    @classmethod
    def empty(cls, limit: int) -> "_Table":
        reached = np.zeros(limit + 1, dtype=bool)
        reached[0] = True
        return cls(reached, ())

    def with_size(self, index: int, size: int, capacity: int) -> "_Table":
        """Return the table with up to `capacity` units of one more size; values keep their limit."""
        rows = -(-len(self.reached) // size)
        padded = np.zeros(rows * size, dtype=bool)
        padded[: len(self.reached)] = self.reached
        row = np.arange(rows)[:, None]
        last = np.maximum.accumulate(np.where(padded.reshape(rows, size), row, -1), axis=0)
        units = np.where((last >= 0) & (row - last <= capacity), row - last, -1).reshape(-1)[: len(self.reached)]
        return _Table(units >= 0, (*self.steps, (index, size, units)))

    def extended(self, limit: int) -> "_Table":
        """Return the table for values up to a greater limit, which none of the sizes so far reaches."""
        more = limit + 1 - len(self.reached)
        steps = tuple((index, size, np.concatenate([units, np.full(more, -1)])) for index, size, units in self.steps)
        return _Table(np.concatenate([self.reached, np.zeros(more, dtype=bool)]), steps)

    def for_sizes(self, sizes: int) -> "_Table":
        """Return the table with answers for so many sizes."""
        return _Table(self.reached, self.steps, sizes)

    def units(self, values: IntArray) -> tuple[IntArray, _Bools]:
        """Return the units (n, sizes) that sum up to `values`, and which of the values can be reached at all."""
        known = self.reached[values]
        rest = np.where(known, values, 0)
        result = np.zeros((len(values), self.sizes), dtype=np.int64)
        for index, size, units in reversed(self.steps):
            result[:, index] = units[rest]
            rest -= result[:, index] * size
        return result, known


@dataclass(frozen=True, eq=False)
class _Window:
    """A run of values, all reached by a few units of a few sizes, at least as long as the greatest size."""

    start: int
    table: _Table
    capacity: IntArray
    """How many units of each size the table may use."""


_FINE = 255
"""Units of one size that a window uses at most: those of one input."""


def _dense_window(sizes: IntArray, capacity: IntArray) -> _Window | None:
    """Return a dense window, or None if even all sizes together have none."""
    chosen: list[int] = []
    fine = np.zeros_like(capacity)
    table, divisor = _Table.empty(0), 0
    for _ in range(len(sizes)):
        index = _next_size(sizes, chosen, divisor)
        size, units = int(sizes[index]), min(int(capacity[index]), _FINE)
        chosen.append(index)
        divisor, fine[index] = int(np.gcd(divisor, size)), units
        limit = len(table.reached) - 1 + size * units
        if (limit + 1) * len(chosen) > _TABLE_ENTRIES:
            return None
        table = table.extended(limit).with_size(index, size, units)
        unreached = np.flatnonzero(~table.reached[: limit // 2 + 1])
        start = int(unreached[-1]) + 1 if unreached.size else 0
        if start <= limit // 2 and limit - 2 * start >= int(sizes[-1]) - 1:
            return _Window(start, table.for_sizes(len(sizes)), fine)
    return None


def _next_size(sizes: IntArray, chosen: list[int], divisor: int) -> int:
    """Return the least size that lowers the common divisor of those chosen; the least one left if it is 1."""
    left = [index for index in range(len(sizes)) if index not in chosen]
    lowering = [index for index in left if divisor != 1 and np.gcd(divisor, int(sizes[index])) != divisor]
    return (lowering or left)[0]
