"""What must hold of linear bounds and of what certifies them, looked at input by input: free of torch."""

from itertools import product

import numpy as np
import numpy.typing as npt

from bvverify.bounds import TO_INPUTS, Depth, LinearBounds, Rows, Slopes, Stop
from bvverify.bounds.certificate import (
    CASE_BITS,
    SLANT_BITS,
    STEEP_BITS,
    Certifier,
    IntegerCases,
    IntegerJoint,
    IntegerMultipliers,
    IntegerRows,
    IntegerSlants,
)
from bvverify.bounds.envelope import Envelope
from bvverify.bounds.groups import groups_of
from bvverify.bounds.hull import NetworkHulls
from bvverify.bounds.linear import PRECISIONS
from bvverify.bounds.lines import SHIFT, step_lines
from bvverify.bounds.sums import nonlinear_behind, sums_of
from bvverify.network import Step, StepNetwork
from bvverify.search.linear import linear_gap
from harness.mutants.small_networks import SmallQuestion

_CERTIFIED_BITS = 30


def bounds_fault(question: SmallQuestion, violated: npt.NDArray[np.bool_]) -> str:
    """Return what is wrong with the linear bounds of a small question."""
    network, box, points = question.network, question.box, question.points
    computed = network.evaluate_values(points, range(len(network.nodes) + 1))
    for slopes, depth in product(Slopes, (TO_INPUTS, Depth(1, Stop.FORMS))):
        bounds = LinearBounds(network, box.lower, box.upper, slopes=slopes, depth=depth)
        for value, (numbers, (low, high)) in enumerate(zip(computed, bounds.values, strict=True)):
            if (numbers < low).any() or (numbers > high).any():
                return "a value leaves its linear bounds"
            flat = numbers.reshape(len(points), -1)
            rows = np.array([[1, -2, 3][place % 3] for place in range(flat.shape[1])])[None] * [[1], [-1]]
            reached = (flat @ rows.T).max(axis=0).tolist()
            for precisions in (PRECISIONS, (0,)):  # coarse coefficients show what rounding costs
                greatest = bounds.greatest(Rows(value, rows, (0, 0)), depth=depth, precisions=precisions) or reached
                if any(most < met for most, met in zip(greatest, reached, strict=True)):
                    return "a linear form exceeds its bound"
        if fault := lines_fault(network, bounds, slopes) or certificate_fault(question, bounds):
            return fault
    if linear_gap(network, box, question.property) == 0 and violated.any():
        return "linear bounds prove what is false"
    return ""


def certificate_fault(question: SmallQuestion, bounds: LinearBounds) -> str:
    """Return what is wrong with certified bounds of single staircases, clamps and tables, for several multipliers."""
    network, points = question.network, question.points
    certifier, hulls = Certifier(NetworkHulls(network), bounds.values), NetworkHulls(network)
    for index in hulls.makers:
        y = network.evaluate_values(points, (index + 1,))[0].reshape(len(points), -1)
        several = np.array([[1, -2, 3][place % 3] for place in range(y.shape[1])])[None]
        rows = np.concatenate([several, np.eye(y.shape[1], dtype=np.int64)]) << _CERTIFIED_BITS
        hull = hulls.hull(index, *bounds.values[network.nodes[index].inputs[0]])
        slope = (hull.y[3] - hull.y[0]) / np.maximum(hull.x[3] - hull.x[0], 1)
        none = {
            other: np.zeros(
                (len(rows), sum(network.values[source].lower.size for source in node.inputs)), dtype=np.int64
            )
            for other, node in enumerate(network.nodes[:index])
        }
        for part in (-20.0, 0.0, 0.4, 1.0, 1.5):
            back = {**none, index: np.rint(rows * slope * part).astype(np.int64)}
            slanted = {
                side: _slants(hulls, envelope, part)
                for side, envelope in hulls.envelopes.items()
                if side[0] == index + 1
            }
            for multipliers in (IntegerMultipliers(back, {}), IntegerMultipliers(back, slanted)):
                constants = np.zeros(len(rows), dtype=np.int64)
                greatest = certifier.greatest(IntegerRows({index + 1: rows}, constants), multipliers)
                if greatest is not None and ((y @ rows.T).max(axis=0) > greatest).any():
                    return "a linear form exceeds its certified bound"
        source = network.nodes[index].inputs[0]
        u = network.evaluate_values(points, (source,))[0].reshape(len(points), -1)
        own = rows[1:]
        for sign in (1, -1):  # the source's multiple cancels what the multiplier makes of the result
            back = {**{other: zeros[1:] for other, zeros in none.items()}, index: -sign * own}
            both = IntegerRows({index + 1: own, source: sign * own}, np.zeros(len(own), dtype=np.int64))
            greatest = certifier.greatest(both, IntegerMultipliers(back, {}))
            if greatest is not None and ((y + sign * u).max(axis=0) << _CERTIFIED_BITS > greatest).any():
                return "a result and its source exceed their certified bound"
    others = (slanted_fault, cases_fault, joint_fault)
    return next((fault for look in others if (fault := look(question, hulls, certifier))), "")


def slanted_fault(question: SmallQuestion, hulls: NetworkHulls, certifier: Certifier) -> str:
    """Return what is wrong with slanted bounds, by looking at what units exceed them by."""
    network, points = question.network, question.points
    flat = points.reshape(len(points), -1)
    for (value, sign), envelope in hulls.envelopes.items():
        units = envelope.units
        y = network.evaluate_values(points, (value,))[0].reshape(len(points), -1)
        slants = _slants(hulls, envelope, 1.0)
        spread = np.zeros((y.shape[1], flat.shape[1]), dtype=np.int64)
        unit, place = np.nonzero(units.inputs >= 0)
        np.add.at(spread, (units.elements[unit], units.inputs[unit, place]), slants.slant[0, unit, place])
        over = _CERTIFIED_BITS - SLANT_BITS
        own = sign * np.eye(y.shape[1], dtype=np.int64) << _CERTIFIED_BITS
        rows = IntegerRows({value: own, 0: -(spread << over)}, np.zeros(len(own), dtype=np.int64))
        none = {
            index: np.zeros(
                (len(own), sum(network.values[source].lower.size for source in node.inputs)), dtype=np.int64
            )
            for index, node in enumerate(network.nodes[:value])
        }
        greatest = certifier.greatest(rows, IntegerMultipliers(none, {(value, sign): slants}))
        reached = (sign * y << _CERTIFIED_BITS) - (flat @ spread.T << over)
        if greatest is not None and (reached.max(axis=0) > greatest).any():
            return "a unit exceeds its slanted bound"
    return ""


def cases_fault(question: SmallQuestion, hulls: NetworkHulls, certifier: Certifier) -> str:
    """Return what is wrong with bounds case by case, by looking at what units exceed them by."""
    network, points = question.network, question.points
    for index, node in enumerate(network.nodes):
        if not isinstance(node.operation, Step):
            continue
        source = node.inputs[0]
        u, y = (values.reshape(len(points), -1) for values in network.evaluate_values(points, (source, index + 1)))
        units, ones = y.shape[1], np.ones(y.shape[1], dtype=np.int64)
        slope = 1.0 / max(1, int(np.ptp(u)))
        sums, behind = sums_of(network, source, np.arange(units)), nonlinear_behind(network, index + 1)
        read = dict(
            zip(
                behind,
                (values.reshape(len(points), -1) for values in network.evaluate_values(points, behind)),
                strict=True,
            )
        )
        for through, lean, steepness, rest in ((0.0, 1.0, 1.0, 0.0), (0.5, 0.0, 2.0, 1.0), (2.0, 1.0, 1.0, -1.0)):
            none = {
                other: np.zeros(
                    (2 * units, sum(network.values[read].lower.size for read in before.inputs)), dtype=np.int64
                )
                for other, before in enumerate(network.nodes[:index])
            }
            forms = {}
            for number, computed in read.items():
                leaning = np.tile([[3, -2][place % 2] for place in range(computed.shape[1])], (units, 1))
                along = through * slope * sums.weights[number] if number in sums.weights else 0.0
                forms[number] = np.rint((along + lean * leaning / 16) * (1 << SLANT_BITS)).astype(np.int64)
            cases = IntegerCases(
                np.arange(units),
                forms,
                ones * int(steepness * slope * (1 << CASE_BITS)),
                np.stack([ones, ones]) * int(rest * slope * (1 << CASE_BITS)),
                IntegerMultipliers(none, {}),
            )
            over = _CERTIFIED_BITS - SLANT_BITS
            start = {number: -(form << over) for number, form in forms.items()}
            start[index + 1] = np.eye(units, dtype=np.int64) << _CERTIFIED_BITS
            rows = IntegerRows(start, np.zeros(units, dtype=np.int64))
            back = {other: zeros[:units] for other, zeros in none.items()}
            back[index] = np.zeros((units, units), dtype=np.int64)
            greatest = certifier.greatest(rows, IntegerMultipliers(back, {}, {index + 1: cases}))
            reached = y << _CERTIFIED_BITS
            for number, form in forms.items():
                reached = reached - (read[number] @ form.T << over)
            if greatest is not None and (reached.max(axis=0) > greatest).any():
                return "a unit exceeds its bound case by case"
    return ""


def joint_fault(question: SmallQuestion, hulls: NetworkHulls, certifier: Certifier) -> str:
    """Return what is wrong with joint bounds, by looking at what all units together exceed them by."""
    network, points = question.network, question.points
    flat = points.reshape(len(points), -1)
    values = network.interval(question.box.lower, question.box.upper)
    for value in hulls.boxes:
        y = network.evaluate_values(points, (value,))[0].reshape(len(points), -1)
        row = np.array([[3, -2, 1, -4][place % 4] for place in range(y.shape[1])])
        groups = groups_of(hulls, value, values, row)
        if groups is None:
            continue
        units = hulls.envelopes[value, 1].units
        slopes = hulls.makers[units.step].channel_slopes[units.channel][groups.units]
        coefficients = np.abs(row)[groups.elements] * np.abs(groups.sign) << _CERTIFIED_BITS
        among = groups.steep.sum(axis=2, keepdims=True).clip(1)
        along = (coefficients * slopes)[..., None] * groups.weight[:, :, 0]
        for steep, lean, share in (
            (1.0, 1.0, 1.0),
            (0.5, 0.0, 2.0),
            (2.0, 2.0, 1.0),
            (2.0, -1.0, 0.5),
            (-1.0, 0.0, 1.0),
            (0.0, 0.0, 1.0),
        ):
            slant = np.rint(lean * along.sum(axis=1)).astype(np.int64)
            lines = (steep * coefficients * slopes)[groups.group][..., None] / among
            steepness = np.rint(lines * groups.steep).astype(np.int64)
            size = coefficients.sum(axis=1).astype(np.float64)
            joint = IntegerJoint(groups, size, slant, steepness, np.full((1, len(slant)), share))
            none = {
                index: np.zeros((1, sum(network.values[source].lower.size for source in node.inputs)), dtype=np.int64)
                for index, node in enumerate(network.nodes[:value])
            }
            rows = IntegerRows({value: row[None] << _CERTIFIED_BITS}, np.zeros(1, dtype=np.int64))
            multipliers = IntegerMultipliers(none, {}, {}, {value: joint})
            form = certifier.input_forms(rows, multipliers)
            reached = y @ row << _CERTIFIED_BITS
            if form is not None and (reached > flat @ form[0][0] + form[1][0]).any():
                return "units exceed their joint bound"
    return ""


def lines_fault(network: StepNetwork, bounds: LinearBounds, slopes: Slopes) -> str:
    """Return what is wrong with the lines of some staircase, by looking at every accumulator within its bounds."""
    for node in network.nodes:
        if isinstance(node.operation, Step):
            low, high = bounds.values[node.inputs[0]]
            lines = step_lines(node.operation, low, high, slopes)
            for share in np.linspace(0, 1, 33):
                x = low + np.floor((high - low) * share).astype(np.int64)
                y = node.operation.apply(x[None])[0] << SHIFT
                if lines is not None and (lines.upper_slope * x + lines.upper_intercept < y).any():
                    return "a staircase exceeds its upper line"
                if lines is not None and (lines.lower_slope * x + lines.lower_intercept > y).any():
                    return "a staircase falls below its lower line"
    return ""


def _slants(hulls: NetworkHulls, envelope: Envelope, part: float) -> IntegerSlants:
    """Return slanted bounds along the first sum of each unit."""
    units, sign = envelope.units, envelope.sign
    slopes = part * hulls.makers[units.step].channel_slopes[units.channel]
    slant = np.rint(sign * slopes[:, None] * units.weight[:, 0] * 2**SLANT_BITS).astype(np.int64)
    steepness = np.zeros((1, len(slant), envelope.segments, *envelope.weight.shape[1:3]), dtype=np.int64)
    steepness[..., 0] = np.rint(slopes * 2**STEEP_BITS).astype(np.int64)[:, None, None]
    return IntegerSlants(slant[None], steepness, np.ones((1, len(slant))))
