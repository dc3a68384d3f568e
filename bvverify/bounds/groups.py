"""Groups of units fed by the box that share inputs: the channels of a place of a convolution, and of places beside it.

In how many ways such units behave at once is counted here, for bounds of all of them together
(`bvverify.bounds.joint`).  A unit f(max_i u_i(x)) that is bounded from above stays at its lowest level, or one of its
sums u_i has made it rise: that is one case each.  From below a single case suffices, for the greatest sum is at least
as great as every mixture of the sums.  The cases of a group are the combinations of its units' cases.
Free of torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from bvverify.bounds.boxfed import BoxUnits
from bvverify.bounds.envelope import FEW_INPUTS
from bvverify.bounds.hull import Bounds, NetworkHulls, sums_between
from bvverify.network import IntArray, Step, StepNetwork

_MOST_UNITS, _MOST_INPUTS, _MOST_CASES = 8, 128, 128
"""Per group."""
_STAYING, _RISING, _BELOW = (0, 0, 0), (1, 2, 2), (3, 4, 5)
"""The points of a unit's hull that count in its cases (`bvverify.bounds.hull.Hull`)."""

Bools = npt.NDArray[np.bool_]
Ways = list[tuple[tuple[int, int, int], IntArray]]
"""The cases of one unit: the points of its hull, and the sums along which its bound may rise."""


@dataclass(frozen=True, eq=False)
class Groups:
    """G groups of up to C units of one value; F sums per unit, P inputs per group, T cases in all.

    Units are numbered as in the envelopes of their value.  Where a group has fewer than C units, signs and weights
    are 0.
    """

    value: int
    units: IntArray
    """int64 [G, C]"""
    elements: IntArray
    """int64 [G, C]: the units as elements of the value, flat."""
    sign: IntArray
    """int64 [G, C]: 1 for a unit that is bounded from above, -1 from below."""
    inputs: IntArray
    """int64 [G, P]: the network inputs, flat; -1 where a group has fewer."""
    places: IntArray
    """int64 [G, C, inputs of a unit]: where the units' inputs are among those of the group; P where there is none."""
    weight: IntArray
    """int64 [G, C, F, P]: those of the units' sums, with the sign."""
    offset: IntArray
    """int64 [G, C, F]: likewise."""
    group: IntArray
    """int64 [T]: the group of a case, ascending."""
    steep: Bools
    """[T, C, F]: the sums along which a unit's bound may rise in a case."""
    points: IntArray
    """int64 [T, C, 3]: the points of a unit's hull that count in a case."""

    @property
    def lifted(self) -> Bools:
        """The sums along which some case lets a unit rise, [G, C, F]."""
        found = np.zeros((*self.units.shape, self.steep.shape[2]), dtype=bool)
        np.logical_or.at(found, self.group, self.steep)
        return found


def groups_of(
    hulls: NetworkHulls, value: int, values: Sequence[Bounds], row: npt.NDArray[np.floating]
) -> Groups | None:
    """Return the groups of a value's units for a row of coefficients [elements] in them, given bounds of all values of
    the network; None if no two units that read few inputs share one.
    """
    if (value, 1) not in hulls.envelopes or (value, -1) not in hulls.envelopes:
        return None
    box = hulls.envelopes[value, 1].units
    if box.inputs.shape[1] > FEW_INPUTS:
        return None
    taken, lifting = np.asarray(row)[box.elements], lifting_sums(hulls.network, box, values)
    (members,) = np.nonzero((taken != 0) & lifting.any(axis=1))
    ways = {unit: _ways(taken[unit] > 0, np.flatnonzero(lifting[unit])) for unit in members.tolist()}
    low, high = (end.reshape(-1) for end in values[0])
    found = _gathered(box, ways, high > low)
    return _arranged(value, box, np.sign(taken).astype(np.int64), found, ways) if found else None


def lifting_sums(network: StepNetwork, box: BoxUnits, values: Sequence[Bounds]) -> Bools:
    """Return which sums may lift their unit above its lowest level, given bounds of all values, bool [U, F]."""
    step = network.nodes[box.step]
    assert isinstance(step.operation, Step)
    thresholds = step.operation.thresholds[box.channel]
    least, most = sums_between(network, box, values)
    lowest = (thresholds <= least[:, None]).sum(axis=1)
    greatest = np.minimum(values[step.inputs[0]][1].reshape(-1)[box.sums], most[:, None])
    return np.stack([(thresholds <= sums[:, None]).sum(axis=1) > lowest for sums in greatest.T], axis=1)


def _ways(above: bool, lifting: IntArray) -> Ways:
    if not above:
        return [(_BELOW, lifting)]
    return [(_STAYING, lifting[:0]), *((_RISING, lifting[place : place + 1]) for place in range(len(lifting)))]


def _gathered(box: BoxUnits, ways: dict[int, Ways], free: Bools) -> list[list[int]]:
    """Return groups of two or more units, those first together that share most of the `free` inputs."""
    groups = [[unit] for unit in ways]
    reads = np.zeros((len(groups), len(free)), dtype=bool)
    for place, unit in enumerate(ways):
        held = box.inputs[unit]
        reads[place, held[held >= 0]] = True
    cases = np.array([len(held) for held in ways.values()], dtype=np.int64)
    size = np.ones(len(groups), dtype=np.int64)
    shared = (reads & free).astype(np.float32) @ (reads & free).T.astype(np.float32)
    np.fill_diagonal(shared, 0)
    while shared.size and shared.max() > 0:
        one, other = sorted(divmod(int(shared.argmax()), len(groups)))
        union = reads[one] | reads[other]
        fits = size[one] + size[other] <= _MOST_UNITS and union.sum() <= _MOST_INPUTS
        if not (fits and cases[one] * cases[other] <= _MOST_CASES):
            shared[one, other] = shared[other, one] = 0
            continue
        groups[one] += groups[other]
        groups[other] = []
        reads[one], reads[other] = union, False
        cases[one] *= cases[other]
        size[one] += size[other]
        shared[one] = shared[:, one] = (reads & free).astype(np.float32) @ (union & free).astype(np.float32)
        shared[one, one] = 0
        shared[other] = shared[:, other] = 0
    return [group for group in groups if len(group) > 1]


def _arranged(value: int, box: BoxUnits, sign: IntArray, found: list[list[int]], ways: dict[int, Ways]) -> Groups:
    size, sums = max(map(len, found)), box.sums.shape[1]
    units = np.array([group + [group[0]] * (size - len(group)) for group in found])
    present = np.array([[True] * len(group) + [False] * (size - len(group)) for group in found])
    signs = np.where(present, sign[units], 0)
    around = [np.unique(box.inputs[group][box.inputs[group] >= 0]) for group in found]
    most = max(map(len, around))
    inputs = np.full((len(found), most), -1)
    places = np.full((*units.shape, box.inputs.shape[1]), most)
    weight = np.zeros((*units.shape, sums, most + 1), dtype=np.int64)
    for index, held in enumerate(around):
        inputs[index, : len(held)] = held
        read = box.inputs[units[index]]
        places[index] = np.where(read >= 0, np.searchsorted(held, read), most)
        for place, unit in enumerate(units[index].tolist()):
            weight[index, place][:, places[index, place]] = box.weight[unit] * signs[index, place]
    cases = [(index, case) for index, group in enumerate(found) for case in product(*(ways[unit] for unit in group))]
    steep = np.zeros((len(cases), size, sums), dtype=bool)
    points = np.zeros((len(cases), size, len(_STAYING)), dtype=np.int64)
    for row, (_, case) in enumerate(cases):
        for place, (counting, along) in enumerate(case):
            steep[row, place, along] = True
            points[row, place] = counting
    return Groups(
        value,
        units,
        box.elements[units],
        signs,
        inputs,
        places,
        weight[..., :most],
        box.offset[units] * signs[..., None],
        np.array([index for index, _ in cases]),
        steep,
        points,
    )
