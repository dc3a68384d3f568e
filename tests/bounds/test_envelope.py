"""Corners of envelopes cover their staircases, and units narrow the sums that they are made of."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bvverify.bounds.boxfed import BoxUnits
from bvverify.bounds.envelope import Envelope
from bvverify.bounds.hull import NetworkHulls, sums_between
from bvverify.network import IntArray, Max, NetworkBuilder, Step, StepNetwork
from bvverify.network.operations import Gather

STEEP = np.array([0, 1, 2, 5, 17, 100])
ENDS = st.tuples(st.integers(-30, 30), st.integers(0, 30)).map(lambda pair: (pair[0], pair[0] + pair[1]))
THRESHOLDS = st.lists(st.integers(-40, 40), min_size=1, max_size=12).map(sorted)


def maximum_of_two(thresholds: list[int]) -> StepNetwork:
    """Return max(f(u), f(v)) of two inputs, for a staircase f."""
    builder = NetworkBuilder(lower=[-60, -60], upper=[60, 60])
    builder.dense([[1, 0], [0, 1]], [0, 0])
    builder.append(Step(-3, np.array([thresholds])), builder.value)
    builder.append(Max(), builder.append(Gather(np.array([[0, 1]])), builder.value))
    return builder.build()


def units_of(network: StepNetwork) -> BoxUnits:
    (units,) = NetworkHulls(network).boxes.values()
    return units


def stairs(thresholds: list[int], x: IntArray) -> IntArray:
    return -3 + np.searchsorted(np.array(thresholds), x, side="right")


@given(THRESHOLDS, ENDS, st.integers(2, 9), st.sampled_from([1, -1]))
@settings(max_examples=300, deadline=None)
def test_corners_cover_the_stairs(thresholds: list[int], ends: tuple[int, int], segments: int, sign: int) -> None:
    """With y = sign * f(x), y - m * sign * x is nowhere above all corners, for any steepness m >= 0."""
    network = maximum_of_two(thresholds)
    envelope = Envelope(units_of(network), sign, segments)
    corners = NetworkHulls(network).corners(envelope, np.array([ends[0]]), np.array([ends[1]]))
    x = np.arange(ends[0], ends[1] + 1)
    reached = (sign * stairs(thresholds, x) - STEEP[:, None] * sign * x).max(axis=1)
    allowed = (corners.y.reshape(-1) - STEEP[:, None] * corners.x.reshape(-1)).max(axis=1)
    assert corners.x.shape == (1, segments, 2)
    assert (allowed >= reached).all()


def test_corners_of_even_stairs_are_the_stairs() -> None:
    network = maximum_of_two([10, 20, 30])
    above, below = (
        NetworkHulls(network).corners(Envelope(units_of(network), sign, 4), np.array([5]), np.array([35]))
        for sign in (1, -1)
    )
    assert above.x[0, :, 0].tolist() == above.x[0, :, 1].tolist() == [5, 10, 20, 30]
    assert above.y[0, :, 0].tolist() == [-3, -2, -1, 0]
    assert (-below.x[0, :, 0]).tolist() == [35, 9, 19, 29]
    assert (-below.y[0, :, 0]).tolist() == [0, -3, -2, -1]


@given(THRESHOLDS, ENDS, ENDS, st.integers(0, 12), st.integers(0, 12))
@settings(max_examples=300, deadline=None)
def test_units_narrow_their_sums(
    thresholds: list[int], first: tuple[int, int], second: tuple[int, int], low: int, more: int
) -> None:
    network = maximum_of_two(thresholds)
    lower, upper = np.array([first[0], second[0]]), np.array([first[1], second[1]])
    values = list(network.interval(lower, upper))
    values[-1] = (
        np.array([low - 3]).reshape(values[-1][0].shape),
        np.array([low + more - 3]).reshape(values[-1][0].shape),
    )
    least, most = sums_between(network, units_of(network), values)
    u = np.arange(lower[0], upper[0] + 1)[:, None]
    v = np.arange(lower[1], upper[1] + 1)
    greatest = np.maximum(u, v).reshape(-1)
    level = stairs(thresholds, greatest)
    met = greatest[(level >= low - 3) & (level <= low + more - 3)]
    assert (met >= least).all()
    assert (met <= most).all()
