"""The bounds of the linear relaxation, evaluated in integers: what multipliers prove.

`bvverify.bounds.relaxation` says which bound belongs to which multipliers, for any multipliers whatever.  So those that
floats found are multiplied by a large number and rounded to integers, and the bound that belongs to these integers is
computed exactly.  Nothing is repaired, no tolerance is needed, and floats have no part in what is proved.
Free of torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bvverify.bounds.boxfed import BoxUnits
from bvverify.bounds.envelope import Envelope, Side
from bvverify.bounds.groups import Groups, lifting_sums
from bvverify.bounds.hull import Hull, NetworkHulls, sums_between
from bvverify.bounds.integers import EXACT_INT, TooLarge, check, largest, on_box, plus, product, times
from bvverify.bounds.sums import offsets_of, sums_of, through_affine, through_gather
from bvverify.errors import InternalError
from bvverify.network import Affine, Gather, IntArray, Max, Product

SLANT_BITS = 17
"""Slanted bounds are multiples of 2**-SLANT_BITS."""
STEEP_BITS = 28
"""So is the steepness of 2**-STEEP_BITS: sums, which it is multiplied with, are large."""
CASE_BITS = 36
"""Bits of the integers that one level is in the proof of a bound case by case."""
_FINER = STEEP_BITS - SLANT_BITS
_FACTOR_BITS = 26
_HALVINGS = 30

Reals = npt.NDArray[np.floating]
Bounds = tuple[IntArray, IntArray]


@dataclass(frozen=True, eq=False)
class IntegerRows:
    """Linear forms, one per row, over all values named: int64 [N, elements], constants int64 [N]."""

    start: dict[int, IntArray]
    constant: IntArray


@dataclass(frozen=True, eq=False)
class IntegerSlants:
    """Slanted bounds of an envelope's units: slant int64 [A, U, P] in units of 2**-SLANT_BITS; steepness int64 [A, U,
    segments, alternatives, sums], not negative, in units of 2**-STEEP_BITS; how much of each coefficient goes through
    them, float [N, U] in [0, 1].  A is 1 or N.
    """

    slant: IntArray
    steepness: IntArray
    share: Reals


@dataclass(frozen=True, eq=False)
class IntegerMultipliers:
    """Multipliers of `IntegerRows`: int64 [N, elements of the source] per non-linear node, and slanted bounds."""

    back: Mapping[int, IntArray]
    slanted: Mapping[Side, IntegerSlants]
    cased: Mapping[int, "IntegerCases"] = field(default_factory=dict)
    """Per value whose units are bounded case by case."""
    joined: Mapping[int, "IntegerJoint"] = field(default_factory=dict)
    """Per value whose units are bounded together."""


@dataclass(frozen=True, eq=False)
class IntegerCases:
    """Bounds of J units case by case (`bvverify.bounds.cases`): y <= sum_v forms[v] . v + k, and what proves k.

    `forms` int64 [J, elements] per value behind, in units of 2**-SLANT_BITS; `steepness` int64 [J], not negative, and
    `rest` int64 [2, J] in units of 2**-CASE_BITS.
    """

    elements: IntArray
    forms: Mapping[int, IntArray]
    steepness: IntArray
    rest: IntArray
    """How much of the coefficient of u its interval bounds, in either case; the rest goes back through the layers."""
    proof: IntegerMultipliers
    """Of the forms of the first case, then those of the second: 2 * J rows in units of 2**-CASE_BITS."""


@dataclass(frozen=True, eq=False)
class IntegerJoint:
    """Joint bounds of groups of units (`bvverify.bounds.joint`), for rows whose coefficients in a group add up to
    `size`, float [G]; others take as many times as much of everything.

    `slant` int64 [G, P] and `steepness` int64 [T, C, F], not negative, in the units of the rows; how much of each
    coefficient goes through the bounds, float [N, G] in [0, 1].
    """

    groups: Groups
    size: Reals
    slant: IntArray
    steepness: IntArray
    share: Reals


class Certifier:
    """Evaluates multipliers for one sub-problem: a network and bounds of all its values, int64 of their shapes."""

    def __init__(self, hulls: NetworkHulls, values: Sequence[Bounds]) -> None:
        self._hulls, self._values = hulls, values
        self._network = hulls.network
        self._made: dict[int, Hull] = {}

    def greatest(self, rows: IntegerRows, multipliers: IntegerMultipliers) -> IntArray | None:
        """Return int64 [N] that the forms do not exceed on this sub-problem; None if 64 bits do not suffice."""
        try:
            coefficients, constant = self._back(rows, multipliers)
            return plus(constant, on_box(coefficients, *_flat(self._values[0])))
        except TooLarge:
            return None

    def input_forms(self, rows: IntegerRows, multipliers: IntegerMultipliers) -> tuple[IntArray, IntArray] | None:
        """Return linear forms in the network's inputs that the forms do not exceed on this sub-problem: coefficients
        int64 [N, inputs] and constants [N]; None if 64 bits do not suffice.
        """
        try:
            return self._back(rows, multipliers)
        except TooLarge:
            return None

    def _back(self, rows: IntegerRows, multipliers: IntegerMultipliers) -> tuple[IntArray, IntArray]:
        held, total = dict(rows.start), rows.constant
        for value in range(max(held), 0, -1):
            if (row := held.pop(value, None)) is None:
                continue
            if value in multipliers.joined:
                row, part, constant = self._jointly(row, multipliers.joined[value])
                total = plus(total, constant)
                _add(held, 0, part)
            slanted = [(side, multipliers.slanted[side]) for side in multipliers.slanted if side[0] == value]
            for side, slants in slanted:
                row, part, constant = self._slanted(self._hulls.envelopes[side], row, slants)
                total = plus(total, constant)
                _add(held, 0, part)
            if value in multipliers.cased:
                row, constant = self._case_by_case(value, row, multipliers.cased[value], held)
                total = plus(total, constant)
            sources = self._network.nodes[value - 1].inputs
            parts, constant = self._through(value - 1, row, multipliers.back)
            total = plus(total, constant)
            for source, part in zip(sources, parts, strict=True):
                _add(held, source, part)
        none = np.zeros((len(total), self._network.values[0].lower.size), dtype=np.int64)
        return held.get(0, none), total

    def _through(self, index: int, row: IntArray, back: Mapping[int, IntArray]) -> tuple[list[IntArray], IntArray]:
        """Return the rows in the sources of a node, and what is added to the constants."""
        node = self._network.nodes[index]
        match node.operation:
            case Affine() as affine:
                return [through_affine(affine, row)], offsets_of(affine, row)
            case Gather() as gather:
                sizes = [self._network.values[source].lower.size for source in node.inputs]
                return through_gather(gather, sizes, row)
            case Max():
                low, high = _flat(self._values[node.inputs[0]])
                part, constant = _through_window(row, back[index], low, high)
                return [part], constant
            case Product():
                half = back[index].shape[1] // 2
                first, second = back[index][:, :half], back[index][:, half:]
                ends = [_flat(self._values[source]) for source in node.inputs]
                return [first, second], _corners(row, first, second, ends)
            case _:
                hull = self._hull(index)
                check(largest(row) * largest(hull.y) + largest(back[index]) * largest(hull.x), row.shape[1])
                reached = [row * y - back[index] * x for x, y in zip(hull.x, hull.y, strict=True)]
                return [back[index]], np.asarray(np.maximum.reduce(reached).sum(axis=1))

    def _hull(self, index: int) -> Hull:
        if index not in self._made:
            low, high = self._values[self._network.nodes[index].inputs[0]]
            self._made[index] = self._hulls.hull(index, low, high)
        return self._made[index]

    def _slanted(self, envelope: Envelope, row: IntArray, slants: IntegerSlants) -> tuple[IntArray, IntArray, IntArray]:
        """Return what is left of the rows, what the slanted bounds make of the rest in the inputs, and the constant."""
        units, sign = envelope.units, envelope.sign
        over = np.maximum(sign * row[:, units.elements], 0)
        part = np.floor(over * np.clip(slants.share, 0, 1) / (1 << SLANT_BITS)).astype(np.int64)
        intercepts = np.broadcast_to(self._intercept(envelope, slants), part.shape)
        check(largest(part) * largest(intercepts), part.shape[1])
        constant = np.asarray((part * intercepts).sum(axis=1))
        if len(slants.slant) == 1:
            spread = product(part, self._by_input(units, slants.slant[0]))
        else:
            each = [product(one[None], self._by_input(units, own)) for one, own in zip(part, slants.slant, strict=True)]
            spread = np.concatenate(each)
        left = row.copy()
        left[:, units.elements] -= sign * (part << SLANT_BITS)
        return left, spread, constant

    def _jointly(self, row: IntArray, joint: IntegerJoint) -> tuple[IntArray, IntArray, IntArray]:
        """Return what is left of the rows, what joint bounds make of the rest in the inputs, and the constant."""
        groups = joint.groups
        box = self._hulls.envelopes[groups.value, 1].units
        beyond = lifting_sums(self._network, box, self._values)[groups.units] & ~groups.lifted
        if beyond[groups.sign != 0].any():
            raise InternalError("bounds: units that are bounded together may rise where no case of theirs does")
        over = np.maximum(groups.sign * row[:, groups.elements], 0)
        check(largest(over), EXACT_INT >> 53)  # so that floats multiply them exactly
        part = np.floor(over * np.clip(joint.share, 0, 1)[..., None]).astype(np.int64)
        factor = part.sum(axis=2) / joint.size
        hull, _ = self._hulls.box_hull(box, *sums_between(self._network, box, self._values))
        spread = np.zeros((len(row), self._network.values[0].lower.size), dtype=np.int64)
        constant = np.zeros(len(row), dtype=np.int64)
        for group, inputs in enumerate(groups.inputs):
            read = inputs >= 0
            for index in np.flatnonzero(factor[:, group]).tolist():
                coefficients, often = part[index, group], float(factor[index, group])
                slant = np.rint(often * joint.slant[group, read]).astype(np.int64)
                greatest = self._joint_intercept(joint, group, hull, coefficients, slant, often)
                constant[index] = plus(constant[index : index + 1], greatest)[0]
                spread[index, inputs[read]] = plus(spread[index, inputs[read]], slant)
        left = row.copy()
        for place, elements in enumerate(groups.elements.T):
            left[:, elements] -= (groups.sign * part)[..., place]
        return left, spread, constant

    def _joint_intercept(
        self, joint: IntegerJoint, group: int, hull: Hull, coefficients: IntArray, slant: IntArray, often: float
    ) -> IntArray:
        """Return k, int64 [1], such that slant . x + k is a bound of a group's units, with coefficients [C] and the
        sign, in every case of theirs; their lines are so many times as steep as they are given.
        """
        groups = joint.groups
        inputs = groups.inputs[group][groups.inputs[group] >= 0]
        low, high = (end[inputs] for end in _flat(self._values[0]))
        cases = groups.group == group
        steepness = np.rint(often * joint.steepness[cases]).astype(np.int64).clip(0) * groups.steep[cases]
        sign, units = groups.sign[group], groups.units[group]
        x, y = (sign * points[groups.points[cases].transpose(2, 0, 1), units] for points in (hull.x, hull.y))
        total = steepness.sum(axis=2)
        check(largest(coefficients) * largest(y) + largest(total) * largest(x), len(units) + 4)
        corners = (coefficients * y - total * x).max(axis=0).sum(axis=1)
        steepness = steepness.reshape(len(steepness), -1)
        form = plus(product(steepness, groups.weight[group, ..., : len(inputs)].reshape(-1, len(inputs))), -slant)
        beside = plus(corners, times(steepness, groups.offset[group].reshape(-1)))
        return np.asarray(plus(beside, on_box(form, low, high)).max(keepdims=True))

    def _case_by_case(
        self, value: int, row: IntArray, cases: IntegerCases, held: dict[int, IntArray]
    ) -> tuple[IntArray, IntArray]:
        """Return what is left of the rows and the constant; add to `held` what bounds case by case make of the rest."""
        part = np.maximum(row[:, cases.elements], 0) >> SLANT_BITS
        for behind, form in cases.forms.items():
            _add(held, behind, product(part, form))
        left = row.copy()
        left[:, cases.elements] -= part << SLANT_BITS
        return left, times(part, self._case_intercept(value, cases))

    def _case_intercept(self, value: int, cases: IntegerCases) -> IntArray:
        """Return k, int64 [J], such that (sum_v forms[v] . v + k) / 2**SLANT_BITS is a bound in both cases; see
        `bvverify.bounds.cases`.
        """
        source = self._network.nodes[value - 1].inputs[0]
        low, high = (end[cases.elements] for end in _flat(self._values[source]))
        turn = self._hulls.makers[value - 1].turns(*self._values[source])[cases.elements]
        x, y = (points[:, cases.elements] for points in (self._hull(value - 1).x, self._hull(value - 1).y))
        steepness = np.maximum(cases.steepness, 0)
        finer = CASE_BITS - SLANT_BITS
        check(max(map(largest, cases.forms.values())), 1 << finer)
        check(largest(steepness) * largest(x) + (largest(y) << CASE_BITS), 4)
        corner = np.maximum(*((y[end] << CASE_BITS) - steepness * x[end] for end in (1, 2)))
        ends = np.stack([low, turn]), np.stack([turn - 1, high])
        check(largest(cases.rest) * max(map(largest, ends)), 4)
        beside = np.maximum(*(cases.rest * end for end in ends)) + np.stack([y[0] << CASE_BITS, corner])
        through = plus(np.stack([np.zeros_like(steepness), steepness]), -cases.rest).reshape(-1)
        sums = sums_of(self._network, source, cases.elements)
        check(largest(through) * max(map(largest, [*sums.weights.values(), sums.offset])), 1)
        start = {behind: np.tile(-(form << finer), (2, 1)) for behind, form in cases.forms.items()}
        for behind, weights in sums.weights.items():
            _add(start, behind, through[:, None] * np.tile(weights, (2, 1)))
        coefficients, constant = self._back(IntegerRows(start, through * np.tile(sums.offset, 2)), cases.proof)
        behind_all = plus(constant, on_box(coefficients, *_flat(self._values[0])))
        greatest = plus(behind_all.reshape(2, -1), beside).max(axis=0)
        return np.asarray(-(-greatest >> finer))  # rounded up

    def _by_input(self, units: BoxUnits, slant: IntArray) -> IntArray:
        """Return slants [U, P] as a matrix [U, inputs]."""
        spread = np.zeros((len(slant), self._network.values[0].lower.size), dtype=np.int64)
        unit, place = np.nonzero(units.inputs >= 0)
        spread[unit, units.inputs[unit, place]] = slant[unit, place]
        return spread

    def _intercept(self, envelope: Envelope, slants: IntegerSlants) -> IntArray:
        """Return k, int64 [A, U], such that (slant . x + k) / 2**SLANT_BITS is a bound; see `Relaxation.intercept`."""
        units = envelope.units
        check(largest(slants.slant), 1 << _FINER)
        slant = slants.slant << _FINER
        steepness = np.maximum(slants.steepness, 0)
        low, high = (end[np.maximum(units.inputs, 0)] * (units.inputs >= 0) for end in _flat(self._values[0]))
        corners = self._hulls.corners(envelope, *sums_between(self._network, units, self._values))
        sums = envelope.weight.shape[2]
        steepest, furthest = largest(steepness), max(largest(corners.x), largest(envelope.offset))
        check((largest(corners.y) << STEEP_BITS) + steepest * sums * furthest, 4)
        reach = steepest * largest(envelope.weight) * sums + largest(slant)
        check(reach * max(largest(low), largest(high)), units.inputs.shape[1] + 4)
        total = steepness.sum(axis=4)[..., None]
        passed = ((corners.y << STEEP_BITS)[:, :, None] - total * corners.x[:, :, None]).max(axis=4)
        passed = passed + (steepness * envelope.offset[:, None]).sum(axis=4)
        greatest = np.full((len(slant), len(low)), -EXACT_INT)
        for segment in range(envelope.segments):
            for alternative in range(envelope.weight.shape[1]):
                steep = steepness[:, :, segment, alternative, :, None]
                form = (steep * envelope.weight[:, alternative]).sum(axis=2) - slant
                most = np.where(form > 0, form * high, form * low).sum(axis=2)
                greatest = np.maximum(greatest, most + passed[:, :, segment, alternative])
        return -(-greatest >> _FINER)  # rounded up


def greatest_where(
    forms: tuple[IntArray, IntArray], assumed: tuple[IntArray, int], low: IntArray, high: IntArray
) -> IntArray | None:
    """Return int64 [N] that linear forms in the inputs do not exceed where another form is not negative, on the box
    [low, high]; None if 64 bits do not suffice.

    `forms`: coefficients [N, inputs] and constants [N]; `assumed`: coefficients [inputs] and the constant.  To each
    form a multiple of the assumed one is added; floats look for the best one.
    """
    (rows, constants), (form, constant) = forms, assumed
    unit = max(1, largest(form))
    middle, radius = (high + low) / 2, (high - low) / 2
    real, other, offset = rows.astype(np.float64), form / unit, constant / unit

    def bound(factor: Reals) -> Reals:
        total = real + factor[:, None] * other
        return np.asarray(total @ middle + np.abs(total) @ radius + factor * offset)

    # The bound is convex in the factor.
    left, right = np.zeros(len(rows)), np.full(len(rows), 4.0 * max(1, largest(rows)))
    for _ in range(_HALVINGS):
        first, second = left + (right - left) / 3, right - (right - left) / 3
        down = bound(first) > bound(second)
        left, right = np.where(down, first, left), np.where(down, right, second)
    scale = 1 << _FACTOR_BITS
    factors = np.rint(np.clip((left + right) / 2 / unit * scale, 0, EXACT_INT)).astype(np.int64)
    try:
        check(largest(rows) * scale + largest(factors) * unit, 1)
        check(largest(constants) * scale + largest(factors) * abs(constant), 1)
        total = rows * scale + factors[:, None] * form
        together = plus(on_box(total, low, high), constants * scale + factors * constant)
        alone = plus(on_box(rows, low, high), constants)
    except TooLarge:
        return None
    return np.minimum(together // scale, alone)


def _through_window(row: IntArray, back: IntArray, low: IntArray, high: IntArray) -> tuple[IntArray, IntArray]:
    """Return the row in the elements of each window, and the constant; see the relaxation's rule for Max."""
    windows = back.reshape(*row.shape, -1)
    low, high = low.reshape(row.shape[1], -1), high.reshape(row.shape[1], -1)
    width = windows.shape[2]
    # Negative coefficients: a mixture of the elements that adds up to the coefficient exactly.
    weight = np.maximum(-windows, 0).astype(np.float64)
    weight = weight / np.maximum(weight.sum(axis=2, keepdims=True), 1.0)
    mixture = -np.floor(weight * np.maximum(-row, 0)[..., None]).astype(np.int64)
    over = mixture.sum(axis=2) < row  # rounding may have left too much where coefficients are very large
    mixture[over] = 0
    greatest = np.broadcast_to(low.argmax(axis=1), row.shape)
    rest = np.minimum(row, 0) - mixture.sum(axis=2)
    np.put_along_axis(
        mixture, greatest[..., None], np.take_along_axis(mixture, greatest[..., None], 2) + rest[..., None], axis=2
    )
    windows = np.where(row[..., None] > 0, np.clip(windows, 0, np.maximum(row, 0)[..., None]), mixture)
    check((largest(row) + largest(windows)) * max(largest(low), largest(high)), width * row.shape[1])
    reached = []
    for element in range(width):
        form = -windows
        form[..., element] += row
        reached.append(np.where(form > 0, form * high, form * low).sum(axis=2))
    constant = np.where(row > 0, np.maximum.reduce(reached), 0).sum(axis=1)
    return windows.reshape(len(row), -1), np.asarray(constant)


def _corners(row: IntArray, first: IntArray, second: IntArray, ends: Sequence[tuple[IntArray, IntArray]]) -> IntArray:
    """Return the sums of the largest values of row * x * y - first * x - second * y at the corners of (x, y)."""
    reach = [max(map(largest, end)) for end in ends]
    check(largest(row) * reach[0] * reach[1] + largest(first) * reach[0] + largest(second) * reach[1], row.shape[1])
    reached = [row * (x * y) - first * x - second * y for x in ends[0] for y in ends[1]]
    return np.asarray(np.maximum.reduce(reached).sum(axis=1))


def _flat(bounds: Bounds) -> tuple[IntArray, IntArray]:
    return bounds[0].reshape(-1), bounds[1].reshape(-1)


def _add(held: dict[int, IntArray], value: int, part: IntArray) -> None:
    held[value] = plus(held[value], part) if value in held else part
