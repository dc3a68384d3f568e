"""Restriction: a smaller network that computes the same wherever all values lie between given bounds.

Elements that can take one value only are folded into the sums that read them, and what nothing reads is left out: on a
region, dead units of dense layers are gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bvverify.network import Affine, Clamp, Gather, IntArray, Lookup, Max, Node, Operation, Product, Step, StepNetwork

Bounds = tuple[IntArray, IntArray]
_Marks = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Restricted:
    """A smaller network and bounds of all its values, int64 of their shapes.

    Its inputs and outputs are those of the network that it stands for, at all inputs where the values of that network
    lie between the bounds that it was made for.
    """

    network: StepNetwork
    values: list[Bounds]


def restricted(network: StepNetwork, values: Sequence[Bounds]) -> Restricted:
    """Return a smaller network for the inputs at which every value of `network` lies between its bounds, int64 of its
    shape each.
    """
    return _Restriction(network, values).run()


class _Restriction:
    def __init__(self, network: StepNetwork, values: Sequence[Bounds]) -> None:
        self._network, self._values = network, values
        self._kept = _elements_kept(network, values)
        self._nodes: list[Node] = []
        self._bounds: list[Bounds] = [values[0]]
        self._numbers = {0: 0}
        """Of the values that are kept, in the smaller network."""

    def run(self) -> Restricted:
        """Go through the network from the input to the outputs."""
        for index, node in enumerate(self._network.nodes):
            value = index + 1
            if not self._kept[value].any():
                continue
            if isinstance(node.operation, Step | Lookup | Clamp):  # gives an element for each that it reads
                self._kept[value] = self._kept[node.inputs[0]]
            self._nodes.append(Node(self._operation(value, node), tuple(self._numbers[one] for one in node.inputs)))
            self._numbers[value] = len(self._nodes)
        network = StepNetwork(*self._values[0], tuple(self._nodes))
        for value, number in sorted(self._numbers.items())[1:]:
            shape = network.values[number].shape
            low, high = (end.reshape(-1)[self._kept[value]].reshape(shape) for end in self._values[value])
            self._bounds.append((low, high))
        return Restricted(network, self._bounds)

    def _operation(self, value: int, node: Node) -> Operation:
        kept = self._kept[value]
        match node.operation:
            case Affine() as affine if _is_dense(affine, self._network.values[value].shape):
                return self._sums(affine, node.inputs[0], kept)
            case Step() as step if len(step.thresholds) > 1 and not kept.all():
                return Step(step.base, step.thresholds[kept])
            case Lookup() as lookup if len(lookup.table) > 1 and not kept.all():
                return Lookup(lookup.lower, lookup.table[kept])
            case Gather() as gather:
                held = np.concatenate([self._kept[source] for source in node.inputs])
                places = np.append(np.cumsum(held) - 1, -1)  # index -1 reads padding
                return Gather(places[gather.indices], gather.padding)
            case operation:
                return operation

    def _sums(self, affine: Affine, source: int, kept: _Marks) -> Affine:
        """Return the sums that are kept, of the elements that are kept: others are constant, or nothing reads them."""
        read, constant = self._kept[source], self._values[source][0].reshape(-1)
        weight, offset = affine.weight[0][kept], affine.offset[kept]
        return Affine(weight[:, read][None], offset + weight[:, ~read] @ constant[~read])


def _elements_kept(network: StepNetwork, values: Sequence[Bounds]) -> list[_Marks]:
    """Return which elements of each value the smaller network has to compute, flat."""
    kept = [np.zeros(value.lower.size, dtype=np.bool_) for value in network.values]
    kept[0][:], kept[-1][:] = True, True
    for index in reversed(range(len(network.nodes))):
        node, marks = network.nodes[index], kept[index + 1]
        if not marks.any():
            continue
        if _comes_whole(node.operation, network.values[index + 1].shape):
            marks[:] = True
        match node.operation:
            case Affine() as affine if _is_dense(affine, network.values[index + 1].shape):
                low, high = (end.reshape(-1) for end in values[node.inputs[0]])
                kept[node.inputs[0]] |= (affine.weight[0][marks] != 0).any(axis=0) & (low < high)
            case Affine() | Max() | Product():
                for source in node.inputs:
                    kept[source][:] = True
            case Gather() as gather:
                read = gather.indices.reshape(-1)[marks]
                sizes = [network.values[source].lower.size for source in node.inputs]
                picked = np.isin(np.arange(sum(sizes)), read)
                for source, part in zip(node.inputs, np.split(picked, np.cumsum(sizes)[:-1]), strict=True):
                    kept[source] |= part
            case Step() | Clamp() | Lookup():
                kept[node.inputs[0]] |= marks
        for source in node.inputs:
            kept[source][0] |= not kept[source].any()  # an operation reads something of each source
    return kept


def _is_dense(affine: Affine, shape: tuple[int, ...]) -> bool:
    return len(affine.weight) == 1 and shape[0] == 1


def _comes_whole(operation: Operation, shape: tuple[int, ...]) -> bool:
    """Return whether an operation gives all elements of its result or none: those with several rows of channels."""
    match operation:
        case Affine() as affine:
            return not _is_dense(affine, shape)
        case Step(_, rows) | Lookup(_, rows):
            return len(rows) > 1 and shape[0] > 1
        case Gather() | Max() | Product():
            return True
        case _:
            return False
