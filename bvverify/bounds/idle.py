"""Idle clamps: where no sum reaches its clamp, layers that add products in pairs of 16 bits are plain sums again.

Kernels without VNNI saturate the sum of every two products, and their networks hold a clamp for each pair that some
input can saturate.  In a region, hardly any of them acts.  A layer whose clamps are idle becomes one affine operation:
sums of sums are multiplied out, in exact integers, and for convolutions brought to the form of one weight for all
places.  Clamps that may act stay.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from bvverify.bounds.integers import TooLarge, check, largest, plus
from bvverify.bounds.sums import Sums, is_linear, sums_of
from bvverify.network import Affine, Clamp, Gather, IntArray, Node, StepNetwork

Bounds = tuple[IntArray, IntArray]
_Marks = npt.NDArray[np.bool_]
_LARGEST = 1 << 24
"""Layers whose sums would take a matrix with more elements stay as they are."""


def without_idle_clamps(network: StepNetwork, values: Sequence[Bounds]) -> StepNetwork:
    """Return a network that computes the same for all inputs at which every value of `network` lies between its bounds,
    int64 of its shape each; the network itself if all clamps may act.
    """
    idle = {
        index + 1: ((low >= node.operation.lower) & (high <= node.operation.upper)).reshape(-1)
        for index, node in enumerate(network.nodes)
        if isinstance(node.operation, Clamp)
        for low, high in [values[node.inputs[0]]]
    }
    marked = tuple((value, found.tobytes()) for value, found in idle.items() if found.any())
    return StepNetwork(*values[0], _multiplied_out(network, marked)) if marked else network


_Marked = tuple[tuple[int, bytes], ...]
"""Per value that is clamped, the bytes of which elements are idle; it can be a key."""


@lru_cache(maxsize=16)
def _multiplied_out(network: StepNetwork, marked: _Marked) -> tuple[Node, ...]:
    return _Rewriting(network, marked).run()


@lru_cache(maxsize=64)
def _sums(network: StepNetwork, value: int, marked: _Marked) -> Sums | None:
    """Return all elements of a linear value as sums; None beyond 64 bits."""
    idle = {clamped: np.frombuffer(found, dtype=np.bool_) for clamped, found in marked}
    try:
        return sums_of(network, value, np.arange(network.values[value].lower.size), idle)
    except TooLarge:
        return None


class _Rewriting:
    def __init__(self, network: StepNetwork, marked: _Marked) -> None:
        self._network, self._marked = network, dict(marked)
        self._nodes: list[Node] = []
        self._numbers = {0: 0}

    def run(self) -> tuple[Node, ...]:
        """Return the nodes that the outputs need."""
        self._written(len(self._network.nodes))
        return tuple(self._nodes)

    def _written(self, value: int) -> int:
        """Return the number of a value in the new network."""
        if value not in self._numbers:
            self._numbers[value] = self._made(value)
        return self._numbers[value]

    def _made(self, value: int) -> int:
        node = self._network.nodes[value - 1]
        if value in self._marked and all(self._marked[value]):
            return self._written(node.inputs[0])
        if isinstance(node.operation, Affine) and (clamped := self._clamped(value)):
            marked = tuple((one, self._marked[one]) for one in sorted(clamped))
            if (sums := _sums(self._network, value, marked)) is not None:
                places, _ = self._network.values[value].shape
                made = self._dense(sums) if places == 1 else self._convolution(value, sums)
                if made is not None:
                    return made
        return self._append(Node(node.operation, tuple(self._written(source) for source in node.inputs)))

    def _append(self, node: Node) -> int:
        self._nodes.append(node)
        return len(self._nodes)

    def _clamped(self, value: int) -> set[int]:
        """Return the clamped values with idle elements that a linear value adds up."""
        found, left = set[int](), [value]
        while left:
            for source in self._network.nodes[left.pop() - 1].inputs:
                if source in self._marked:
                    found.add(source)
                if source in self._marked or is_linear(self._network, source):
                    left.append(source)
        return found

    def _dense(self, sums: Sums) -> int | None:
        """Write a layer as a matrix over the elements of one value, and over clamped sums of it that may act."""
        bases = sorted(sums.weights)
        acting = [base for base in bases if base in self._marked]
        weights = np.concatenate([sums.weights[base] for base in bases], axis=1)
        if weights.size > _LARGEST or len(bases) - len(acting) != 1:
            return None
        sources = tuple(self._written(base) for base in bases)
        if not acting:
            return self._append(Node(Affine(weights[None], sums.offset), sources))
        (read,) = np.nonzero(weights.any(axis=0))
        wires = self._append(Node(Gather(read[None]), sources))
        return self._append(Node(Affine(weights[None][:, :, read], sums.offset), (wires,)))

    def _convolution(self, value: int, sums: Sums) -> int | None:
        """Write a layer as one matrix for all places, over the elements that one of its parts reads at each."""
        if len(sums.weights) != 1:
            return None
        ((base, rows),) = sums.weights.items()
        places, channels = self._network.values[value].shape
        for source in self._parts(value, base):
            gather = self._network.nodes[source - 1].operation
            assert isinstance(gather, Gather)
            if gather.indices.ndim != 3 or len(gather.indices) != places or channels % gather.indices.shape[1]:
                continue
            if (affine := _for_all_places(gather, rows, sums.offset)) is not None:
                wires = self._append(Node(gather, (self._written(base),)))
                return self._append(Node(affine, (wires,)))
        return None

    def _parts(self, value: int, base: int) -> list[int]:
        """Return the Gathers of one value that a linear value is made from."""
        found, left = [], [value]
        while left:
            node = self._network.nodes[left.pop() - 1]
            for source in node.inputs:
                if not (is_linear(self._network, source) or source in self._marked):
                    continue
                behind = self._network.nodes[source - 1]
                if isinstance(behind.operation, Gather) and behind.inputs == (base,):
                    found.append(source)
                else:
                    left.append(source)
        return sorted(found)


def _for_all_places(gather: Gather, rows: IntArray, offset: IntArray) -> Affine | None:
    """Return the Affine that makes rows [P * C, elements] over what a Gather reads [P, G, K], the same at every place;
    None if there is none.
    """
    places, groups, taps = gather.indices.shape
    if _reads_twice(gather.indices):
        return None
    rows = rows.reshape(places, groups, -1, rows.shape[1])
    inside = gather.indices >= 0
    index = np.broadcast_to(np.maximum(gather.indices, 0)[:, :, None], (*rows.shape[:3], taps))
    picked = np.where(inside[:, :, None], np.take_along_axis(rows, index, axis=3), 0)
    fullest = inside.argmax(axis=0)  # [G, K]: a place at which the tap is read
    weight = np.stack([picked[fullest[group], group, :, np.arange(taps)].T for group in range(groups)])
    if (np.where(inside[:, :, None], weight[None], 0) != picked).any() or (
        np.abs(rows).sum(axis=3) != np.abs(picked).sum(axis=3)
    ).any():
        return None
    check(largest(weight) * abs(gather.padding), taps)
    padded = np.where(inside[:, :, None], 0, weight[None]).sum(axis=3) * gather.padding
    constant = plus(offset.reshape(places, groups, -1), -padded)
    return Affine(weight, constant[0].reshape(-1)) if (constant == constant[:1]).all() else None


def _reads_twice(indices: IntArray) -> bool:
    """Return whether some place and group [P, G, K] reads an element twice."""
    ordered = np.sort(indices, axis=2)
    return bool(((ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] >= 0)).any())
