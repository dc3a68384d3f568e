"""Units fed by the box: values f(max_i u_i(x)) where f is a staircase and every u_i is a sum of network inputs.

For them a bound can be linear in the inputs and tighter than any line in the accumulator (Anderson et al., "Strong
mixed-integer programming formulations for trained neural networks", 2020), because the inputs form a box.  With the
box around the values that they read it gained nothing for later layers; those are bounded case by case
(`bvverify.bounds.cases`).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bvverify.network import Affine, Gather, IntArray, Max, Step, StepNetwork

_LARGEST = 1 << 24
"""Groups with more weights than this are left out: their dense form would not fit."""


@dataclass(frozen=True, eq=False)
class BoxUnits:
    """The elements of one value that are fed by the box; U elements, F sums each, P inputs around each.

    A dense first layer has F = 1 and reads all inputs; behind max pooling, F is the size of the window.
    """

    value: int
    """The number of the value f(max u)."""
    step: int
    """The node of the staircase f."""
    elements: IntArray
    """int64 [U]: which elements of the value these are, flat."""
    channel: IntArray
    """int64 [U]: the row of thresholds."""
    sums: IntArray
    """int64 [U, F]: the accumulators u, as flat elements of the staircase's source."""
    inputs: IntArray
    """int64 [U, P]: the network inputs, flat; -1 where there are fewer."""
    weight: IntArray
    """int64 [U, F, P]: u[j, i] = sum_p weight[j, i, p] * x[inputs[j, p]] + offset[j, i]."""
    offset: IntArray
    """int64 [U, F]."""

    def only(self, kept: npt.NDArray[np.bool_]) -> "BoxUnits":
        """Return some of the units, marked bool [U]."""
        return BoxUnits(
            self.value,
            self.step,
            self.elements[kept],
            self.channel[kept],
            self.sums[kept],
            self.inputs[kept],
            self.weight[kept],
            self.offset[kept],
        )


@dataclass(frozen=True, eq=False)
class _Wire:
    """Which network input each element of a value reads (-1: the padding), and the padding."""

    elements: IntArray
    padding: int


@dataclass(frozen=True, eq=False)
class _Sums:
    inputs: IntArray
    weight: IntArray
    offset: IntArray


def box_units(network: StepNetwork) -> dict[int, BoxUnits]:
    """Return the units fed by the box, by the number of their value."""
    wires = {0: _Wire(np.arange(network.values[0].lower.size), 0)}
    sums: dict[int, _Sums] = {}
    stairs: dict[int, tuple[int, IntArray]] = {}  # value -> its staircase's node, accumulators (elements, F)
    for index, node in enumerate(network.nodes):
        source, value = node.inputs[0], index + 1
        match node.operation:
            case Gather() if source in wires and len(node.inputs) == 1:
                if (wire := _rewired(wires[source], node.operation)) is not None:
                    wires[value] = wire
            case Gather() if source in stairs and len(node.inputs) == 1 and (node.operation.indices >= 0).all():
                stairs[value] = stairs[source][0], stairs[source][1][node.operation.indices.reshape(-1)]
            case Affine() if source in wires:
                if network.values[value].lower.size * node.operation.weight.shape[2] <= _LARGEST:
                    sums[value] = _sums(node.operation, wires[source])
            case Step() if source in sums:
                stairs[value] = index, np.arange(len(sums[source].offset))[:, None]
            case Max() if source in stairs:
                window = network.values[source].shape[-1]
                stairs[value] = stairs[source][0], stairs[source][1].reshape(-1, window * stairs[source][1].shape[1])
    furthest = {step: value for value, (step, _) in stairs.items() if not _wires(network, value)}
    units = {}
    for step, value in furthest.items():
        operation, forms = network.nodes[step].operation, stairs[value][1]
        assert isinstance(operation, Step)
        channel = forms % len(operation.thresholds)
        if (channel == channel[:, :1]).all():
            units[value] = _units(value, step, channel[:, 0], forms, sums[network.nodes[step].inputs[0]])
    return units


def _wires(network: StepNetwork, value: int) -> bool:
    return isinstance(network.nodes[value - 1].operation, Gather)


def _rewired(wire: _Wire, gather: Gather) -> _Wire | None:
    """Return the wire behind a Gather; None if two paddings meet."""
    indices = gather.indices.reshape(-1)
    if (wire.elements < 0).any() and (indices < 0).any() and wire.padding != gather.padding:
        return None
    padding = gather.padding if (indices < 0).any() else wire.padding
    return _Wire(np.where(indices >= 0, wire.elements[np.maximum(indices, 0)], -1), padding)


def _sums(affine: Affine, wire: _Wire) -> _Sums:
    groups, outputs, inputs = affine.weight.shape
    shape = (wire.elements.size // (groups * inputs), groups, outputs, inputs)
    read = np.broadcast_to(wire.elements.reshape(-1, groups, 1, inputs), shape).reshape(-1, inputs)
    weight = np.broadcast_to(affine.weight[None], shape).reshape(-1, inputs)
    offset = np.broadcast_to(affine.offset.reshape(1, groups, outputs), shape[:3]).reshape(-1)
    constant = np.where(read < 0, weight, 0).sum(axis=1) * wire.padding
    return _Sums(read, np.where(read < 0, 0, weight), offset + constant)


def _units(value: int, step: int, channel: IntArray, forms: IntArray, sums: _Sums) -> BoxUnits:
    elements = np.arange(len(forms))
    if forms.shape[1] == 1 and _distinct(sums.inputs):
        picked = forms[:, 0]
        return BoxUnits(
            value,
            step,
            elements,
            channel,
            forms,
            sums.inputs[picked],
            sums.weight[picked][:, None],
            sums.offset[forms],
        )
    around = [np.unique(inputs[inputs >= 0]) for inputs in (sums.inputs[row] for row in forms)]
    most = max(1, *map(len, around))
    inputs = np.full((len(forms), most), -1, dtype=np.int64)
    weight = np.zeros((*forms.shape, most), dtype=np.int64)
    for unit, (row, held) in enumerate(zip(forms, around, strict=True)):
        inputs[unit, : len(held)] = held
        for form, accumulator in enumerate(row):
            read = sums.inputs[accumulator] >= 0
            places = np.searchsorted(held, sums.inputs[accumulator][read])
            np.add.at(weight[unit, form], places, sums.weight[accumulator][read])
    return BoxUnits(value, step, elements, channel, forms, inputs, weight, sums.offset[forms])


def _distinct(inputs: IntArray) -> bool:
    """Return whether no sum reads an input twice."""
    ordered = np.sort(inputs, axis=1)
    return not ((np.diff(ordered, axis=1) == 0) & (ordered[:, 1:] >= 0)).any()
