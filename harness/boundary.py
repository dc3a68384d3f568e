"""Inputs that bring the accumulators of a linear layer or a convolution to both sides of every threshold.

Inputs are constructed, not waited for: for a wanted accumulator of a channel, what the channel reads at one position
is solved for (`boundary_sums`, `boundary_units`) and put into an image.  Positions that read disjoint elements, and
groups of a convolution, share an image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bvverify.kernels.requantize import WeightedLayer, window_of
from bvverify.model import Conv2d, QuantParams
from bvverify.model.quantized import Shape
from bvverify.network import IntArray
from bvverify.network.build import conv_taps, conv_weight
from harness.boundary_coverage import Coverage
from harness.boundary_units import Receptive

_BATCH_BYTES = 2**23
"""Batches are cut to about this size."""
_PADDED_TRIED, _PADDED_VALUES = 16, 2
"""Accumulators tried, and those used, per channel and kind of padded position; padding only removes inputs."""


@dataclass(frozen=True, eq=False)
class _Patch:
    """Inputs (n, K) for one group at the positions of one kind."""

    kind: int
    group: int
    x: npt.NDArray[np.int32]


class BoundaryInputs:
    """Inputs of one layer run alone, whose first layer takes bytes of `source` in `input_shape`.

    Positions of one kind read the same taps from inside the image.  A kind whose taps include those of another reaches
    all that the other reaches, because an input may hold the zero point, which is what padding holds.
    """

    def __init__(
        self, layer: WeightedLayer, source: QuantParams, input_shape: Shape, *, saturating: bool, seed: int
    ) -> None:
        """Prepare; `saturating`: the target adds adjacent products of this layer with 16-bit saturation."""
        self._source, self._shape, self._saturating = source, input_shape, saturating
        self._generator = np.random.default_rng(seed)
        layout = np.arange(int(np.prod(input_shape))).reshape(input_shape)
        centered = layer.weight.centered
        if isinstance(layer, Conv2d):
            self._taps = conv_taps(layout, window=window_of(layer), groups=layer.groups)
            self._weight = conv_weight(centered, groups=layer.groups)
        else:
            self._taps = layout.reshape(-1, 1, centered.shape[1])
            self._weight = centered[None]
        self._kinds = _kinds(self._taps[:, 0] >= 0)
        self._slots = [_disjoint(self._taps, positions) for _, positions in self._kinds]

    def batches(self, coverage: Coverage) -> Iterator[tuple[IntArray, npt.NDArray[np.uint8 | np.int8]]]:
        """Yield batches (n, *input_shape) for the sides that are open in `coverage` when each batch is made, after
        the channels, ascending, that a batch is made for.

        Sides that are proved unreachable are noted in `coverage`.
        """
        channels = self._generator.permutation(len(coverage.thresholds))
        rows = 2 * coverage.thresholds.shape[1] / max(len(slots) for slots in self._slots)
        block = max(1, int(_BATCH_BYTES / (rows * int(np.prod(self._shape)))))
        for start in range(0, len(channels), block):
            patches: list[_Patch] = []
            own = np.sort(channels[start : start + block])
            for channel in own.tolist():
                patches += self._solved(channel, coverage)
            for images in self._images(patches):
                yield own, images

    def further_batches(self, coverage: Coverage) -> Iterator[tuple[IntArray, npt.NDArray[np.uint8 | np.int8]]]:
        """Yield all channels, and batches with the least and the greatest accumulator of each at every kind of
        position, and with a few thresholds where positions read padding.
        """
        widest = self._widest()
        patches: list[_Patch] = []
        for kind in range(len(self._kinds)):
            for channel in range(len(coverage.thresholds)):
                group, receptive = self._receptive(channel, kind)
                patches.append(_Patch(kind, group, receptive.extremes()))
                if kind not in widest:
                    at = coverage.thresholds[channel][coverage.sides[channel, :, 1]]
                    wanted = self._generator.permutation(np.concatenate([at, at - 1]))[:_PADDED_TRIED]
                    found = receptive.find(wanted, self._generator, prove=False)
                    patches.append(_Patch(kind, group, found.x[found.reached][:_PADDED_VALUES]))
        for images in self._images(patches):
            yield np.arange(len(coverage.thresholds)), images

    def _widest(self) -> list[int]:
        """Return the kinds of positions whose taps no other kind includes."""
        inside = [mask for mask, _ in self._kinds]
        return [
            kind
            for kind, mask in enumerate(inside)
            if not any(index != kind and (other | ~mask).all() for index, other in enumerate(inside))
        ]

    def _receptive(self, channel: int, kind: int) -> tuple[int, Receptive]:
        inside, _ = self._kinds[kind]
        group, member = divmod(channel, self._weight.shape[1])
        zero_point = self._source.zero_point
        low = np.where(inside, self._source.least, zero_point)
        high = np.where(inside, self._source.greatest, zero_point)
        return group, Receptive(self._weight[group, member], low, high, zero_point, self._saturating)

    def _solved(self, channel: int, coverage: Coverage) -> list[_Patch]:
        wanted = coverage.open_values(channel)
        impossible = np.ones(len(wanted), dtype=bool)
        patches = []
        for kind in self._widest():
            if not wanted.size:
                break
            group, receptive = self._receptive(channel, kind)
            found = receptive.find(wanted, self._generator)
            if found.reached.any():
                patches.append(_Patch(kind, group, found.x[found.reached]))
            impossible = (impossible & found.impossible)[~found.reached]
            wanted = wanted[~found.reached]
        coverage.rule_out(channel, wanted[impossible])
        return patches

    def _images(self, patches: Sequence[_Patch]) -> Iterator[npt.NDArray[np.uint8 | np.int8]]:
        size = int(np.prod(self._shape))
        rows = max(1, _BATCH_BYTES // size)
        for kind, (inside, _) in enumerate(self._kinds):
            slots = self._slots[kind]
            queues: dict[int, list[npt.NDArray[np.int32]]] = {}
            for patch in patches:
                if patch.kind == kind:
                    queues.setdefault(patch.group, []).append(patch.x)
            joined = {group: np.concatenate(queue) for group, queue in queues.items()}
            count = -(-max((len(x) for x in joined.values()), default=0) // len(slots))
            for start in range(0, count, rows):
                images = self._generator.integers(
                    self._source.least,
                    self._source.greatest + 1,
                    size=(min(rows, count - start), size),
                    dtype=np.int16,
                )
                for group, x in joined.items():
                    # One slot after the other: whole columns are much faster than single elements.
                    for number, slot in enumerate(slots.tolist()):
                        part = x[start * len(slots) + number : (start + len(images)) * len(slots) : len(slots)]
                        images[: len(part), self._taps[slot, group][inside]] = part[:, inside]
                kept = images.astype(np.int8) if self._source.signed else images.astype(np.uint8)
                yield kept.reshape(-1, *self._shape)


def _kinds(inside: npt.NDArray[np.bool_]) -> list[tuple[npt.NDArray[np.bool_], IntArray]]:
    """Return the different rows of bool [P, K] with the positions of each; rows without any tap are left out."""
    masks, of = np.unique(inside, axis=0, return_inverse=True)
    of = of.reshape(-1)
    return [(mask, np.flatnonzero(of == index)) for index, mask in enumerate(masks) if mask.any()]


def _disjoint(taps: IntArray, positions: IntArray) -> IntArray:
    """Return positions, the first among them, that read no element in common."""
    used = np.zeros(int(taps.max()) + 1, dtype=bool)
    chosen = []
    for position in positions.tolist():
        read = taps[position][taps[position] >= 0]
        if not used[read].any():
            used[read] = True
            chosen.append(position)
    return np.array(chosen)
