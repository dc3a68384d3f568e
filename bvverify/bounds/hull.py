"""Hulls of graphs: for an operation on one integer, points whose convex hull holds every (input, output) pair.

A linear form a * y + b * x in the output and the input of such an operation is then at most its largest value at these
points, whatever a and b are.  Points are integers, so the bound is exact, and nothing has to be repaired.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bvverify.bounds.boxfed import BoxUnits, box_units
from bvverify.bounds.envelope import FEW_INPUTS, Corners, Envelope, Side, segments_of
from bvverify.network import ALWAYS, NEVER, Clamp, IntArray, Lookup, Step, StepNetwork
from bvverify.network.staircase import count_reached

POINTS = 6
"""Points per hull."""
_FINE = 16
"""Lines beside staircases are spaced in steps of 2**-_FINE."""

Bounds = tuple[IntArray, IntArray]
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Hull:
    """Points of one operation's elements, int64 [POINTS, elements]: the left end, two above, the right end, two below.

    Between the two points above (below) all corners of the graph lie below (above) their segment.
    """

    x: IntArray
    y: IntArray


class HullMaker:
    """One operation, prepared for the hulls of many intervals.

    The corners of a staircase's channel lie near a line.  `_above` and `_below` are the integer points of two lines
    parallel to it, one on each side: the segment between any two points of such a line leaves all corners between them
    on one side.
    """

    def __init__(self, operation: Step | Clamp | Lookup) -> None:
        self._operation = operation
        if isinstance(operation, Step):
            self._above, self._below = _parallels(operation.thresholds)

    @property
    def stairs(self) -> bool:
        """Whether the operation is a staircase."""
        return isinstance(self._operation, Step)

    @cached_property
    def channel_slopes(self) -> Reals:
        """Result per unit of input where it rises steadily, float64 [channels]; infinite where it need not."""
        if not isinstance(self._operation, Step):
            return np.array([np.inf])
        rises = np.zeros(len(self._operation.thresholds))
        for channel, row in enumerate(self._operation.thresholds):
            inside = row[(row != ALWAYS) & (row != NEVER)].astype(np.float64)
            if len(inside):
                rises[channel] = (len(inside) - 1) / (inside[-1] - inside[0]) if inside[-1] > inside[0] else 1.0
        return rises

    def slopes(self, elements: int) -> Reals:
        """Return `channel_slopes` for each of so many elements."""
        return np.tile(self.channel_slopes, elements // len(self.channel_slopes))

    def hull(self, lower: IntArray, upper: IntArray) -> Hull:
        """Return the hull of each element on the interval [lower, upper], int64 of the operation's input shape."""
        match self._operation:
            case Step():
                channels = len(self._operation.thresholds)
                low, high = lower.reshape(-1, channels), upper.reshape(-1, channels)
                thresholds = self._operation.thresholds
                reached = count_reached(thresholds, low), count_reached(thresholds, high)
                return self._staircase(np.arange(channels), low, high, *reached)
            case Clamp():
                return _clamp_hull(self._operation, lower, upper)
            case Lookup():
                return _lookup_hull(self._operation, lower, upper)

    def turns(self, lower: IntArray, upper: IntArray) -> IntArray:
        """Return where each element of a staircase first rises on the interval [lower, upper], int64 [elements]: from
        there on its level is higher than at the lower end; upper + 1 if there is no such place.
        """
        assert isinstance(self._operation, Step)
        thresholds, levels = self._operation.thresholds, self._operation.levels
        low, high = lower.reshape(-1, len(thresholds)), upper.reshape(-1, len(thresholds))
        if not levels:
            return high.reshape(-1) + 1
        reached = count_reached(thresholds, low)
        following = thresholds[np.arange(len(thresholds)), np.minimum(reached, levels - 1)]
        return np.where((reached < levels) & (following <= high), following, high + 1).reshape(-1)

    def rows(self, channel: IntArray, lower: IntArray, upper: IntArray) -> Hull:
        """Return the hull of staircases picked one by one: channel, lower and upper int64 [elements]."""
        assert isinstance(self._operation, Step)
        thresholds = self._operation.thresholds
        reached = [
            np.array([np.searchsorted(thresholds[c], x, side="right") for c, x in zip(channel, end, strict=True)])
            for end in (lower, upper)
        ]
        return self._staircase(channel, lower, upper, reached[0], reached[1])

    def corners(self, envelope: Envelope, lower: IntArray, upper: IntArray) -> Corners:
        """Return the corners of staircases for an envelope; lower and upper int64 [units], of the largest sums."""
        assert isinstance(self._operation, Step)
        channel, sign = envelope.units.channel, envelope.sign
        thresholds = self._operation.thresholds[channel]
        first, last = ((thresholds <= end[:, None]).sum(axis=1) for end in (lower, upper))
        several = envelope.segments - 1
        end, extreme = (lower, first) if sign > 0 else (upper, last)
        xs, ys = [np.stack([end, end])], [np.stack([extreme, extreme]) + self._operation.base]
        for segment in range(several):
            # Levels above `start`, up to `stop`; from below, one less.  Units that rise little repeat their last level.
            start = np.minimum(first + (last - first) * segment // several, np.maximum(last - 1, first))
            stop = np.maximum(first + (last - first) * (segment + 1) // several, np.minimum(start + 1, last))
            hull = self._staircase(channel, lower, upper, start, stop)
            beside = [1, 2] if sign > 0 else [5, 4]
            xs.append(hull.x[beside])
            ys.append(hull.y[beside])
        return Corners(sign * np.stack(xs).transpose(2, 0, 1), sign * np.stack(ys).transpose(2, 0, 1))

    def _staircase(self, channel: IntArray, low: IntArray, high: IntArray, first: IntArray, last: IntArray) -> Hull:
        """Return hulls from the numbers of thresholds that the ends reach."""
        assert isinstance(self._operation, Step)
        thresholds, levels = self._operation.thresholds, self._operation.levels
        if not levels:
            x = np.stack([low] * (POINTS // 2) + [high] * (POINTS // 2)).reshape(POINTS, low.size)
            return Hull(x, np.full_like(x, self._operation.base))
        # thresholds[c, k] is where level k + 1 begins
        least, most = np.minimum(first, levels - 1), np.maximum(last - 1, 0)
        rising, single = last > first, last - first == 1

        def points(index: IntArray, parallel: IntArray, corner: int, otherwise: IntArray) -> IntArray:
            exact = thresholds[channel, index] + corner
            return np.where(rising, np.where(single, exact, parallel[channel, index]), otherwise)

        xs = [
            low,
            points(least, self._above, 0, low),
            points(most, self._above, 0, high),
            high,
            points(most, self._below, -1, high),
            points(least, self._below, -1, low),
        ]
        ys = [first, np.where(rising, first + 1, first), last, last, np.where(rising, last - 1, last), first]
        shape = (POINTS, low.size)
        return Hull(np.stack(xs).reshape(shape), np.stack(ys).reshape(shape) + self._operation.base)


class NetworkHulls:
    """Hulls of all operations of one network that have one integer as input, and envelopes of units fed by the box."""

    def __init__(self, network: StepNetwork) -> None:
        self.network = network
        self.boxes = box_units(network)
        """All units fed by the box, by the number of their value."""
        self.makers = {
            index: HullMaker(node.operation)
            for index, node in enumerate(network.nodes)
            if isinstance(node.operation, Step | Clamp | Lookup)
        }
        self.envelopes = self._envelopes(network.interval(network.lower, network.upper))
        """The sides from which units are bounded by forms in the inputs."""

    @cached_property
    def fed_by_box(self) -> frozenset[int]:
        """The staircases whose sums read the network's inputs."""
        return frozenset(units.step for units in self.boxes.values())

    def around(self, values: Sequence[Bounds]) -> "NetworkHulls":
        """Return the hulls for parts of a region, given the bounds of all values on it: with envelopes of only those
        units that gain by them.
        """
        narrowed = copy(self)
        narrowed.envelopes = self._envelopes(values)
        return narrowed

    def hull(self, index: int, lower: IntArray, upper: IntArray) -> Hull:
        """Return the hulls of one node's elements on intervals of its source."""
        return self.makers[index].hull(lower, upper)

    def box_hull(self, box: BoxUnits, lower: IntArray, upper: IntArray) -> tuple[Hull, Reals]:
        """Return the hulls of units whose largest sums lie in [lower, upper], int64 [U] each, and the slopes of their
        staircases, float64 [U].
        """
        maker = self.makers[box.step]
        return maker.rows(box.channel, lower, upper), maker.channel_slopes[box.channel]

    def corners(self, envelope: Envelope, lower: IntArray, upper: IntArray) -> Corners:
        """Return the corners of an envelope whose units' largest sums lie in [lower, upper], int64 [U] each."""
        return self.makers[envelope.units.step].corners(envelope, lower, upper)

    def _envelopes(self, values: Sequence[Bounds]) -> dict[Side, Envelope]:
        found = {}
        for value, box in self.boxes.items():
            least, most = sums_between(self.network, box, values)
            line = raised(*self.box_hull(box, least, most))
            few = box.inputs.shape[1] <= FEW_INPUTS
            for sign in (1, -1) if few else (1,):
                if (kept := line.rises > 0 if few else line.late).any():
                    segments = segments_of(box, int(line.rises.max()))
                    found[value, sign] = Envelope(box.only(kept), sign, segments)
        return found


def sums_between(network: StepNetwork, box: BoxUnits, values: Sequence[Bounds]) -> Bounds:
    """Return bounds of the greatest sum of each unit, int64 [U]: those of the sums, narrowed by those of the unit."""
    step = network.nodes[box.step]
    assert isinstance(step.operation, Step)
    least, most = (end.reshape(-1)[box.sums].max(axis=1) for end in values[step.inputs[0]])
    low, high = (end.reshape(-1)[box.elements] - step.operation.base for end in values[box.value])
    thresholds = step.operation.thresholds[box.channel]
    unit, levels = np.arange(len(thresholds)), step.operation.levels
    if levels:
        least = np.where(low > 0, np.maximum(least, thresholds[unit, np.clip(low - 1, 0, levels - 1)]), least)
        most = np.where(high < levels, np.minimum(most, thresholds[unit, np.clip(high, 0, levels - 1)] - 1), most)
    return least, most


@dataclass(frozen=True, eq=False)
class Raised:
    """The line above the stairs of each unit, along its slope, [U]."""

    rises: IntArray
    """Levels by which the unit may rise."""
    late: npt.NDArray[np.bool_]
    """Whether the line is below the lowest level at first."""
    chord: Reals
    """The slope of the line from the left end."""


def raised(hull: Hull, slope: Reals) -> Raised:
    """Return the lines, given hulls and the slopes of the staircases, float64 [U]."""
    x, y = hull.x.astype(np.float64), hull.y.astype(np.float64)
    rise = np.maximum(y[1] - slope * x[1], y[2] - slope * x[2])
    chord = (y[2] - y[0]) / np.maximum(x[2] - x[0], 1)
    late = (y[3] > y[0]) & (slope * x[0] + rise < y[0])
    return Raised(hull.y[3] - hull.y[0], late, np.where(y[3] - y[0] > 1, np.minimum(chord, slope), chord))


def _clamp_hull(clamp: Clamp, lower: IntArray, upper: IntArray) -> Hull:
    """Return the hull of each element of a clamp on [lower, upper]."""
    low, high = lower.reshape(-1), upper.reshape(-1)
    bend, end = np.clip(clamp.lower, low, high), np.clip(clamp.upper, low, high)
    x = np.stack([low, end, end, high, bend, bend])
    return Hull(x, np.clip(x, clamp.lower, clamp.upper))


def _lookup_hull(lookup: Lookup, lower: IntArray, upper: IntArray) -> Hull:
    """Return the corners of a parallelogram around each element's table entries on [lower, upper]."""
    channels = len(lookup.table)
    low, high = lower.reshape(-1, channels), upper.reshape(-1, channels)
    places = np.clip(lookup.lower + np.arange(lookup.table.shape[1]), low[..., None], high[..., None])
    values = lookup.table[np.arange(channels)[None, :, None], places - lookup.lower]
    ahead, width = places - low[..., None], np.maximum(high - low, 1)[..., None]
    chord = values[..., :1] + (values[..., -1:] - values[..., :1]) * ahead // width  # rounded down
    over = np.maximum((values - chord).max(axis=2), 0)
    under = np.minimum((values - chord).min(axis=2), 0) - 1  # the chord itself may lie up to one higher
    start, stop = values[..., 0], values[..., -1]
    x = np.stack([low, low, high, high, high, low]).reshape(POINTS, -1)
    y = np.stack([start, start + over, stop + over, stop, stop + under, start + under]).reshape(POINTS, -1)
    return Hull(x, y)


def _parallels(thresholds: IntArray) -> tuple[IntArray, IntArray]:
    """Return, per channel and level, the points of the line left of all corners (t, level + 1), and of the line right
    of all corners (t - 1, level).
    """
    above, below = thresholds.copy(), thresholds.copy()
    for channel, row in enumerate(thresholds):
        finite = np.flatnonzero((row != ALWAYS) & (row != NEVER))
        if not len(finite):
            continue
        inside = row[finite]
        fine = _FINE if abs(int(inside[0])) + abs(int(inside[-1])) < 1 << 44 else 0
        steps = np.arange(len(inside))
        spacing = (int(inside[-1]) - int(inside[0]) << fine) // max(len(inside) - 1, 1)
        line = (int(inside[0]) << fine) + spacing * steps
        ahead = line - (inside << fine)
        # Shifted by the same amount everywhere, then rounded away from the corners.
        above[channel, finite] = (line - ahead.max()) >> fine
        below[channel, finite] = -((-(line - ahead.min())) >> fine) - 1
    return above, below
