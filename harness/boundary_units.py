"""Accumulators with saturating pairs as weighted sums of bounded inputs.

Where adjacent products are added in 16 bits, a pair either stays below the limit or is saturated.  With bounds under
which no pair saturates, the accumulator is a weighted sum; pairs whose inputs are both held at 255 contribute a
constant, the 16-bit limit.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bvverify.kernels.accumulate import INT16
from bvverify.network import IntArray
from harness.boundary_sums import BoundedSum, Found

_EXHAUSTIVE_BITS = 2**33
"""How many bits are moved, at most, to prove that saturating accumulators miss a value."""


@dataclass(frozen=True, eq=False)
class Receptive:
    """What one output channel accumulates at one position, with the inputs that it reads.

    `weight` int64 [K], centred; `low`, `high` int64 [K] bound the inputs (equal for padding); the accumulator is
    sum_k weight[k] * (x[k] - zero_point), with pairs (2i, 2i+1) added in 16 bits if `pairs`.
    """

    weight: IntArray
    low: IntArray
    high: IntArray
    zero_point: int
    pairs: bool

    def extremes(self) -> npt.NDArray[np.int32]:
        """Return inputs (2, K) with the least and the greatest accumulator."""
        rising = self.weight > 0
        ends = np.where(rising, self.low, self.high), np.where(rising, self.high, self.low)
        return np.stack(ends).astype(np.int32)

    def find(self, wanted: IntArray, generator: np.random.Generator, *, prove: bool = True) -> Found:
        """Return inputs whose accumulators are `wanted`, int64 (n,).

        With saturating pairs, `impossible` stays False unless `prove`, which can take seconds.
        """
        x = np.zeros((len(wanted), len(self.weight)), dtype=np.int32)
        reached, impossible = np.zeros(len(wanted), dtype=bool), np.zeros(len(wanted), dtype=bool)
        raw = wanted + self.zero_point * int(self.weight.sum())
        saturating = self._saturating() if self.pairs else np.empty(0, dtype=np.int64)
        for bounds, constant in self._regimes(saturating, generator):
            left = np.flatnonzero(~reached)
            if not left.size:
                break
            found = bounds.find(raw[left] - constant, generator)
            x[left[found.reached]] = found.x[found.reached]
            reached[left[found.reached]] = True
            if not saturating.size:
                impossible[left] = found.impossible
        if prove and saturating.size and not reached.all():
            impossible = ~reached & self._proved_missing(raw)
        return Found(x, reached, impossible)

    def _regimes(self, saturating: IntArray, generator: np.random.Generator) -> Iterator[tuple[BoundedSum, int]]:
        """Yield weighted sums, and the constant that saturated pairs add to each; without such pairs there is one."""
        if not saturating.size:
            yield BoundedSum(self.weight, self.low, self.high), 0
            return
        shuffled = generator.permutation(saturating)
        rising = self.weight[2 * shuffled] > 0
        up, down = shuffled[rising], shuffled[~rising]
        yield self._held(saturating, shuffled[: (len(shuffled) + 1) // 2])
        yield self._held(saturating, shuffled[:0])
        for pairs in (up, down):
            for count in sorted({len(pairs), (3 * len(pairs)) // 4, len(pairs) // 2, len(pairs) // 4} - {0}):
                yield self._held(saturating, pairs[:count])
        for count in range(1, min(len(shuffled), 8)):
            yield self._held(saturating, shuffled[:count])

    def _held(self, saturating: IntArray, held: IntArray) -> tuple[BoundedSum, int]:
        """Return the sum in which the pairs `held` are saturated and no other pair can be."""
        weight, low, high = self.weight.copy(), self.low.copy(), self.high.copy()
        for pair in np.setdiff1d(saturating, held).tolist():
            # Both weights have one sign, and the first input alone never saturates.
            first, second = 2 * pair, 2 * pair + 1
            room = INT16.upper if weight[first] > 0 else -INT16.lower
            if low[second] == high[second]:
                room -= abs(int(weight[second])) * int(low[second])
                high[first] = min(int(high[first]), room // abs(int(weight[first])))
            else:
                room -= abs(int(weight[first])) * int(high[first])
                high[second] = min(int(high[second]), room // abs(int(weight[second])))
        ends = 2 * held[:, None] + np.array([0, 1])
        constant = int(np.clip((weight * high)[ends].sum(axis=1), INT16.lower, INT16.upper).sum())
        low[ends] = high[ends]
        weight[ends] = 0
        return BoundedSum(weight, low, high), constant

    def _saturating(self) -> IntArray:
        """Return the numbers of the pairs that can leave 16 bits."""
        least, greatest = (
            _in_pairs(extreme(self.weight * self.low, self.weight * self.high)).sum(axis=1)
            for extreme in (np.minimum, np.maximum)
        )
        return np.flatnonzero((least < INT16.lower) | (greatest > INT16.upper))

    def _proved_missing(self, raw: IntArray) -> npt.NDArray[np.bool_]:
        """Return which raw sums no inputs have, by trying all; nothing is proved where that would be too much."""
        states = [self._pair_values(pair) for pair in range((len(self.weight) + 1) // 2)]
        least = sum(int(values[0]) for values in states)
        span = sum(int(values[-1]) for values in states) - least
        if (span + 1) * max(len(values) for values in states) > _EXHAUSTIVE_BITS:
            return np.zeros(len(raw), dtype=bool)
        sums = 1
        for values in states:
            more = 0
            for value in (values - values[0]).tolist():
                more |= sums << value
            sums = more
        return np.array([not 0 <= value - least <= span or not sums >> (value - least) & 1 for value in raw.tolist()])

    def _pair_values(self, pair: int) -> IntArray:
        ends = range(2 * pair, min(2 * pair + 2, len(self.weight)))
        total = np.zeros(1, dtype=np.int64)
        for index in ends:
            own = self.weight[index] * np.arange(self.low[index], self.high[index] + 1)
            total = np.unique(total[:, None] + own)
        return np.unique(np.clip(total, INT16.lower, INT16.upper))


def _in_pairs(products: IntArray) -> IntArray:
    return np.append(products, np.zeros(len(products) % 2, dtype=np.int64)).reshape(-1, 2)
