"""Numbers below 2**24 are carried in float32, below 2**53 in float64: no bit may be lost at these seams."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvverify.errors import UsageError
from bvverify.network import Clamp, NetworkBuilder, Step, StepNetwork
from tests.networks import reference, reference_values

SEAMS = [2**24, 2**53]
LIMIT = 2**60


@st.composite
def sums_of_magnitude(draw: st.DrawFn, largest: int) -> StepNetwork:
    """One dense layer whose largest sum of absolute products and offset is exactly `largest`."""
    n = draw(st.integers(1, 5))
    bounds = draw(st.lists(st.integers(1, 255), min_size=n, max_size=n))
    share = largest // (255 * n)
    weights = draw(st.lists(st.integers(1, share), min_size=n, max_size=n))
    signs = draw(st.lists(st.sampled_from([1, -1]), min_size=n + 1, max_size=n + 1))
    used = sum(weight * bound for weight, bound in zip(weights, bounds, strict=True))
    builder = NetworkBuilder(lower=[-bound for bound in bounds], upper=bounds)
    builder.dense(
        [[sign * weight for sign, weight in zip(signs, weights, strict=False)]], [signs[-1] * (largest - used)]
    )
    return builder.build()


def corners(network: StepNetwork) -> np.ndarray:
    """Return the inputs with the least and the greatest sums, one step inside of them, and some between."""
    random = np.random.default_rng(0)
    rows = [network.lower, network.upper]
    ascending = network.nodes[0].operation.weight[0, 0] > 0
    rows += [np.where(ascending, network.upper, network.lower), np.where(ascending, network.lower, network.upper)]
    rows += list(random.integers(network.lower, network.upper + 1, size=(20, len(network.lower))))
    inside = [np.clip(row - np.sign(row), network.lower, network.upper) for row in rows]
    return np.array(rows + inside)


@pytest.mark.parametrize("seam", SEAMS)
@given(delta=st.integers(-3, 3), data=st.data())
def test_sums_at_a_seam_are_exact(seam: int, delta: int, data: st.DataObject) -> None:
    network = data.draw(sums_of_magnitude(seam + delta))
    assert network.values[1].magnitude == seam + delta
    batch = corners(network)
    assert network.evaluate(batch).tolist() == reference(network, batch)


@given(st.integers(24, 59), st.integers(-3, 3), st.data())
def test_sums_of_any_magnitude_are_exact(bits: int, delta: int, data: st.DataObject) -> None:
    network = data.draw(sums_of_magnitude(2**bits + delta))
    batch = corners(network)
    assert network.evaluate(batch).tolist() == reference(network, batch)


@given(st.integers(-3, 3), st.data())
def test_sums_are_refused_exactly_from_the_limit_on(delta: int, data: st.DataObject) -> None:
    if delta < 0:
        network = data.draw(sums_of_magnitude(LIMIT + delta))
        batch = corners(network)
        assert network.evaluate(batch).tolist() == reference(network, batch)
    else:
        with pytest.raises(UsageError, match=r"2\*\*60"):
            data.draw(sums_of_magnitude(LIMIT + delta))


@pytest.mark.parametrize("seam", SEAMS)
@given(delta=st.integers(-3, 3), data=st.data())
def test_intervals_at_a_seam_are_exact(seam: int, delta: int, data: st.DataObject) -> None:
    network = data.draw(sums_of_magnitude(seam + delta))
    ends = sorted(y for (y,) in reference(network, corners(network)))
    lower, upper = network.interval(network.lower, network.upper)[-1]
    assert (lower.item(), upper.item()) == (ends[0], ends[-1])


@pytest.mark.parametrize(("weight", "end"), [(2**12 - 1, 2**12 - 1), (2**27 - 1, 2**26 - 1)])
def test_intervals_of_narrow_boxes_keep_their_last_bit(weight: int, end: int) -> None:
    """Products lie below a seam, and the sum of their two ends, which is odd, above it."""
    builder = NetworkBuilder(lower=[-end], upper=[end])
    builder.dense([[weight]], [0])
    for low, high in ((end - 1, end), (-end, 1 - end)):
        lower, upper = builder.build().interval(np.array([low]), np.array([high]))[-1]
        assert (lower.item(), upper.item()) == (weight * low, weight * high)


@pytest.mark.parametrize("seam", [*SEAMS, 2**59])
def test_staircase_clamp_and_maximum_see_the_last_bit(seam: int) -> None:
    near = list(range(seam - 3, seam + 4))
    builder = NetworkBuilder(lower=[-1], upper=[1])
    builder.dense([[x] for x in near], [0] * 7)
    builder.clamp(-seam - 2, seam + 2)
    builder.step(Step(-1, [[x, x + 1] for x in near]))
    network = builder.build()
    batch = np.array([[-1], [0], [1]])
    for row, point in enumerate(batch):
        got = network.evaluate_values(batch, range(len(network.nodes) + 1))
        assert [value[row].reshape(-1).tolist() for value in got] == reference_values(network, point)


@pytest.mark.parametrize("seam", SEAMS)
def test_a_difference_of_large_values_keeps_its_last_bit(seam: int) -> None:
    builder = NetworkBuilder(lower=[0], upper=[1])
    builder.dense([[seam + 1], [seam]], [0, 0])
    builder.dense([[1, -1]], [0])
    assert builder.build().evaluate([[0], [1]]).tolist() == [[0], [1]]


@pytest.mark.parametrize("seam", SEAMS)
def test_the_padding_of_a_window_keeps_its_last_bit(seam: int) -> None:
    builder = NetworkBuilder(lower=[0, 0], upper=[1, 1])
    builder.append(Clamp(-5, 5), builder.wire(np.array([0, -1]), padding=seam + 1))
    network = builder.build()
    assert network.evaluate_values([[1, 0]], [1])[0].tolist() == [[1, seam + 1]]


@pytest.mark.parametrize(
    "build", [lambda b: b.clamp(-LIMIT, 0), lambda b: b.step(Step(LIMIT, np.zeros((1, 0), dtype=int)))]
)
def test_constants_beyond_the_limit_are_refused(build) -> None:
    builder = NetworkBuilder(lower=[0], upper=[1])
    builder.dense([[1]], [0])
    with pytest.raises(UsageError, match=r"2\*\*60"):
        build(builder)


def test_an_input_domain_beyond_the_limit_is_refused() -> None:
    with pytest.raises(UsageError, match=r"2\*\*60"):
        NetworkBuilder(lower=[0], upper=[LIMIT])


def test_weights_beyond_int64_cannot_hide_in_a_product() -> None:
    builder = NetworkBuilder(lower=[0, 0], upper=[2**31, 2**31])
    with pytest.raises(UsageError, match=r"2\*\*60"):
        builder.dense([[2**62, -(2**62)]], [0])
