"""The part of a network that some channels of one of its staircases depend on.

Every row of constructed inputs is made for one channel.  Where accumulators saturate, evaluating all other channels
along with it is most of the work.
"""

from itertools import pairwise

import numpy as np

from bvverify.network import Affine, Clamp, Gather, IntArray, Node, Operation, Step, StepNetwork


def network_of_channels(network: StepNetwork, step: int, channels: IntArray) -> StepNetwork:
    """Return the network that puts out `channels` (ascending) of the Step that is node `step`, (P, channels).

    The Step's accumulators are the value before the last.  Raises `TypeError` for networks with other operations than
    Gather, Affine, Clamp and Step.
    """
    positions, width = network.values[step + 1].shape
    kept = {step + 1: _grid(np.arange(positions), channels, width)}
    for number in range(step, -1, -1):
        if number + 1 in kept:
            node = network.nodes[number]
            kept[number + 1] = _computed_together(node.operation, kept[number + 1])
            for source, elements in zip(node.inputs, _reads(network, node, kept[number + 1]), strict=True):
                if elements.size:
                    kept[source] = np.union1d(kept.get(source, elements), elements)
    kept[0] = np.arange(network.values[0].lower.size)
    nodes: list[Node] = []
    places = {0: 0}
    for value in sorted(kept.keys() - {0}):
        _append(nodes, network, value, kept, places)
        places[value] = len(nodes)
    return StepNetwork(network.lower, network.upper, tuple(nodes))


def _grid(rows: IntArray, columns: IntArray, width: int) -> IntArray:
    """Return the flat numbers of rows and columns of an array with `width` columns."""
    return np.asarray((rows[:, None] * width + columns).reshape(-1))


def _rows_and_channels(affine: Affine, elements: IntArray) -> tuple[IntArray, IntArray]:
    """Return positions and channels of elements; all channels of a group, if there are several groups."""
    groups, members, _ = affine.weight.shape
    rows, channels = (np.unique(part) for part in np.divmod(elements, groups * members))
    if groups > 1:
        channels = _grid(np.unique(channels // members), np.arange(members), members)
    return rows, channels


def _computed_together(operation: Operation, wanted: IntArray) -> IntArray:
    """Return the elements of a result that come with those wanted."""
    if isinstance(operation, Affine):
        rows, channels = _rows_and_channels(operation, wanted)
        return _grid(rows, channels, len(operation.offset))
    return wanted


def _reads(network: StepNetwork, node: Node, elements: IntArray) -> list[IntArray]:
    """Return the flat elements of each input that elements of a node's result are computed from, in order."""
    match node.operation:
        case Gather(indices=indices):
            read = indices.reshape(-1)[elements]
            starts = np.cumsum([0, *(network.values[source].lower.size for source in node.inputs)])
            return [np.unique(read[(read >= start) & (read < end)]) - start for start, end in pairwise(starts)]
        case Affine(weight=weight):
            groups, members, taps = weight.shape
            rows, channels = _rows_and_channels(node.operation, elements)
            return [_grid(_grid(rows, np.unique(channels // members), groups), np.arange(taps), taps)]
        case Step() | Clamp():
            return [elements]
        case _:
            raise TypeError(f"{type(node.operation).__name__} is not restricted to channels")


def _append(
    nodes: list[Node], network: StepNetwork, value: int, kept: dict[int, IntArray], places: dict[int, int]
) -> None:
    """Append what is kept of a value."""
    node = network.nodes[value - 1]
    if isinstance(node.operation, Gather):
        sources = [source for source in node.inputs if source in kept]
        place = np.full(sum(network.values[source].lower.size for source in node.inputs) + 1, -1)
        start = new = 0
        for source in node.inputs:
            if source in kept:
                place[start + kept[source]] = new + np.arange(len(kept[source]))
                new += len(kept[source])
            start += network.values[source].lower.size
        read = place[node.operation.indices.reshape(-1)[kept[value]]]
        nodes.append(Node(Gather(read, node.operation.padding), tuple(places[source] for source in sources)))
        return
    (source,) = node.inputs
    (reads,) = _reads(network, node, kept[value])
    operation = _restricted(node.operation, kept[value])
    picked = places[source]
    if not np.array_equal(reads, kept[source]):
        shape = (-1, len(operation.thresholds)) if isinstance(operation, Step) else (-1,)
        nodes.append(Node(Gather(np.searchsorted(kept[source], reads).reshape(shape)), (picked,)))
        picked = len(nodes)
    nodes.append(Node(operation, (picked,)))


def _restricted(operation: Operation, elements: IntArray) -> Operation:
    """Return the operation for the channels of the elements."""
    match operation:
        case Affine(weight=weight, offset=offset):
            groups, members, _ = weight.shape
            _, channels = _rows_and_channels(operation, elements)
            own = weight[:, channels] if groups == 1 else weight[np.unique(channels // members)]
            return Affine(own, offset[channels])
        case Step(base=base, thresholds=thresholds) if len(thresholds) > 1:
            return Step(base, thresholds[np.unique(elements % len(thresholds))])
        case _:
            return operation
