"""Constructed accumulators against enumeration, and sides of thresholds on the real kernels."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bvverify.errors import NotExact
from bvverify.kernels.availability import unavailable
from bvverify.kernels.lower import lower
from bvverify.kernels.target import TARGETS, Target
from bvverify.load import DeployedModel
from bvverify.model import Conv2d, Linear, Quantize, QuantizedModel, QuantParams, Weight
from bvverify.network import ALWAYS, NEVER, IntArray, Step
from harness.boundary_channels import network_of_channels
from harness.boundary_coverage import Coverage
from harness.boundary_sums import BoundedSum
from harness.boundary_units import Receptive
from harness.conform.bench import compare_alone
from harness.conform.records import LayerReport
from harness.conform.whole import Subject
from harness.pool import KernelPool

SOURCE = QuantParams(0.5, 3)
OUTPUT = QuantParams(40.0, 10)


@pytest.fixture(scope="module")
def pool() -> Iterator[KernelPool]:
    with KernelPool() as kernels:
        yield kernels


QUICK = {"fbgemm/avx512_vnni", "fbgemm/avx2", "onednn/avx512_vnni", "qnnpack/sse2"}


@pytest.fixture(params=[pytest.param(t, marks=[] if str(t) in QUICK else pytest.mark.slow) for t in TARGETS], ids=str)
def target(request: pytest.FixtureRequest) -> Target:
    return request.param


def weight_of(values: IntArray) -> Weight:
    channels = len(values)
    scales = np.linspace(0.5, 1.5, channels).astype(np.float32).astype(np.float64)
    return Weight(values.astype(np.int8), scales, np.zeros(channels, dtype=np.int64), True)


def assert_all_sides_met(
    layer: Linear | Conv2d, shape: tuple[int, ...], target: Target, pool: KernelPool
) -> LayerReport:
    """Run a layer alone; return its report after checking that no byte differs and no side is missed."""
    model = QuantizedModel(shape, (Quantize("quantize", SOURCE), layer))
    if (reason := unavailable(model, target)) is not None:
        pytest.skip(reason)
    try:
        lowered = lower(model, target)
    except NotExact as refusal:
        pytest.skip(str(refusal))
    subject = Subject(DeployedModel("layer", model, b""), model, lowered)
    report = compare_alone(subject, 1, subject.blank_reports()[1], pool, seed=1, rounds=2)
    assert report.not_alone is None
    assert report.rejected is None
    assert report.alone.different == 0
    assert report.coverage is not None
    assert report.coverage.missed == 0
    assert report.coverage.reachable > 100
    assert report.thresholds is not None
    assert report.thresholds.reach is not None
    np.testing.assert_array_equal(report.thresholds.reach, report.thresholds.executed)
    return report


# Sums.


@st.composite
def sums(draw: st.DrawFn) -> BoundedSum:
    size = draw(st.integers(1, 3))
    largest, factor = draw(st.sampled_from([3, 12, 128])), draw(st.sampled_from([1, 1, 2, 6]))
    weight = draw(st.lists(st.integers(-largest, largest), min_size=size, max_size=size))
    low = draw(st.lists(st.integers(-2, 3), min_size=size, max_size=size))
    span = draw(st.lists(st.integers(0, draw(st.sampled_from([2, 5, 12]))), min_size=size, max_size=size))
    return BoundedSum(np.array(weight) * factor, np.array(low), np.array(low) + span)


@given(sums(), st.integers(0, 3))
@settings(deadline=None, max_examples=150)
def test_every_sum_is_found_or_proved_impossible(bounded: BoundedSum, seed: int) -> None:
    ranges = [range(low, high + 1) for low, high in zip(bounded.low.tolist(), bounded.high.tolist(), strict=True)]
    possible = {int(np.dot(bounded.weight, x)) for x in itertools.product(*ranges)}
    assert (bounded.least, bounded.greatest) == (min(possible), max(possible))
    wanted = np.arange(bounded.least - 3, bounded.greatest + 4)
    found = bounded.find(wanted, np.random.default_rng(seed))
    np.testing.assert_array_equal(found.reached, np.isin(wanted, list(possible)))
    np.testing.assert_array_equal(found.impossible, ~found.reached)
    np.testing.assert_array_equal((found.x @ bounded.weight)[found.reached], wanted[found.reached])
    assert (found.x >= bounded.low).all()
    assert (found.x <= bounded.high).all()


@pytest.mark.parametrize("weights", [[127, 128], [6, 10, 15], [128, -128, 64], [-3] * 5, [100, 101, -99], [0, 0]])
def test_sums_over_all_bytes_are_decided(weights: list[int]) -> None:
    bounded = BoundedSum(np.array(weights), np.zeros(len(weights), dtype=int), np.full(len(weights), 255))
    wanted = np.arange(bounded.least - 1, bounded.greatest + 2)
    possible = wanted == 0
    for weight in weights:
        possible = np.any([np.roll(possible, weight * x) for x in range(256)], axis=0)
    found = bounded.find(wanted, np.random.default_rng(0))
    np.testing.assert_array_equal(found.reached, possible)
    np.testing.assert_array_equal(found.impossible, ~found.reached)
    np.testing.assert_array_equal((found.x @ bounded.weight)[found.reached], wanted[found.reached])


@pytest.mark.parametrize("seed", range(4))
def test_many_inputs_reach_every_sum(seed: int) -> None:
    generator = np.random.default_rng(seed)
    weight = generator.integers(-128, 128, 300)
    bounded = BoundedSum(weight, np.zeros(300, dtype=int), np.full(300, 255))
    ends = [bounded.least, bounded.least + 1, bounded.greatest - 1, bounded.greatest]
    wanted = np.concatenate([ends, generator.integers(bounded.least, bounded.greatest, 400)])
    found = bounded.find(wanted, generator)
    assert found.reached.all()
    np.testing.assert_array_equal(found.x @ weight, wanted)


# Saturating pairs.


@pytest.mark.parametrize(
    "weights",
    [
        [127, 127, 64, 0],
        [-128, -128, 5, 0],
        [100, 90, -128, 0],
        [127, 3, -7, 0],
        [-100, -101, -99, 0],
        [127, 127, 1, 0],
    ],
)
def test_saturating_sums_are_found_or_proved_impossible(weights: list[int]) -> None:
    """Two pairs, of which the last input is padding, against all values of both."""
    zero_point = 77
    low, high = np.array([0, 0, 0, zero_point]), np.array([255, 255, 255, zero_point])
    weight = np.array(weights)
    receptive = Receptive(weight, low, high, zero_point, pairs=True)
    x = np.arange(256)
    first = np.clip(weights[0] * x[:, None] + weights[1] * x, -(2**15), 2**15 - 1)
    second = np.clip(weights[2] * x + weights[3] * zero_point, -(2**15), 2**15 - 1)
    possible = np.unique(np.unique(first)[:, None] + second) - zero_point * weight.sum()
    wanted = np.arange(possible[0] - 2, possible[-1] + 3)[:: 7 if len(possible) > 20000 else 1]
    found = receptive.find(wanted, np.random.default_rng(0))
    own = found.x[found.reached]
    pairs = np.clip((own * weight).reshape(len(own), 2, 2).sum(axis=2), -(2**15), 2**15 - 1).sum(axis=1)
    np.testing.assert_array_equal(pairs - zero_point * weight.sum(), wanted[found.reached])
    np.testing.assert_array_equal(found.impossible, ~np.isin(wanted, possible))
    assert (found.reached | found.impossible).mean() > 0.7


# Coverage.


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_coverage_counts_each_side_that_was_met(data: st.DataObject) -> None:
    inside = st.lists(st.integers(-6, 6), min_size=4, max_size=4)
    rows = [sorted(data.draw(inside)) for _ in range(2)]
    if data.draw(st.booleans()):
        rows[0][0], rows[1][-1] = ALWAYS, NEVER
    thresholds, base = np.array(rows), data.draw(st.integers(-2, 2))
    values = data.draw(st.lists(st.tuples(*[st.integers(-8, 8)] * 2), max_size=8))
    accumulators = np.array(values, dtype=np.int64).reshape(-1, 1, 2)
    agreed = np.array(
        data.draw(st.lists(st.booleans(), min_size=2 * len(values), max_size=2 * len(values))), dtype=bool
    )
    agreed = agreed.reshape(accumulators.shape)
    levels = base + (thresholds[None, None] <= accumulators[..., None]).sum(axis=-1)

    coverage = Coverage(thresholds, base)
    coverage.record(np.arange(2), accumulators, levels, agreed)
    wanted = hit = 0
    for channel in range(2):
        met = set(accumulators[:, :, channel][agreed[:, :, channel]].tolist())
        finite = {int(t) for t in thresholds[channel] if t not in (ALWAYS, NEVER)}
        wanted += 2 * len(finite)
        hit += sum((t in met) + (t - 1 in met) for t in finite)
        still = {v for t in finite for v in (t - 1, t) if v not in met}
        assert coverage.open_values(channel).tolist() == sorted(still)
        if still:
            coverage.rule_out(channel, np.array([min(still)]))
            assert coverage.open_values(channel).tolist() == sorted(still - {min(still)})
    assert coverage.count.hit == hit
    assert coverage.count.reachable + coverage.count.unreachable == wanted
    assert coverage.count.missed == coverage.count.reachable - hit


# Networks of some channels.


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_some_channels_of_a_network_are_what_they_are_in_the_whole(data: st.DataObject) -> None:
    """Saturating accumulators have the most involved networks; without VNNI, they need no kernel to be lowered."""
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))
    groups = data.draw(st.sampled_from([1, 1, 2, 4]))
    least = data.draw(st.sampled_from([-128, 0, 100]))
    if data.draw(st.booleans()):
        layer: Linear | Conv2d = Linear("fc", weight_of(generator.integers(least, 128, (4, 5))), None, False, OUTPUT)
        shape: tuple[int, ...] = data.draw(st.sampled_from([(5,), (2, 5)]))
    else:
        values = generator.integers(least, 128, (4, 4 // groups, 2, 2))
        layer = Conv2d("conv", weight_of(values), None, False, OUTPUT, (1, 1), (1, 0), (1, 1), groups)
        shape = (4, 3, 3)
    network = lower(QuantizedModel(shape, (Quantize("quantize", SOURCE), layer)), Target.parse("fbgemm/avx2")).network
    (step,) = (number for number, node in enumerate(network.nodes) if isinstance(node.operation, Step))
    channels = np.array(sorted(data.draw(st.sets(st.integers(0, 3), min_size=1))))
    batch = generator.choice([0, 255, 255, 17], (6, *shape))
    part = network_of_channels(network, step, channels)
    last = len(part.nodes) - 1
    own = part.evaluate_values(batch, (part.nodes[last].inputs[0], last + 1))
    whole = network.evaluate_values(batch, (network.nodes[step].inputs[0], step + 1))
    for few, all_of_them in zip(own, whole, strict=True):
        np.testing.assert_array_equal(few, all_of_them.reshape(6, -1, 4)[:, :, channels])


# Layers on real kernels.


def test_linear_layers_meet_all_sides(target: Target, pool: KernelPool) -> None:
    generator = np.random.default_rng(0)
    values = generator.integers(-128, 128, (3, 21))
    values[1] = 2 * (values[1] // 2)
    bias = generator.normal(size=3, scale=200).astype(np.float32)
    assert_all_sides_met(Linear("linear", weight_of(values), bias, True, OUTPUT), (2, 21), target, pool)


def test_padded_convolutions_meet_all_sides(target: Target, pool: KernelPool) -> None:
    values = np.random.default_rng(1).integers(-60, 60, (2, 1, 3, 2))
    layer = Conv2d("conv", weight_of(values), None, False, OUTPUT, (2, 1), (1, 1), (1, 1), 1)
    assert_all_sides_met(layer, (1, 7, 5), target, pool)


def test_a_saturating_depthwise_convolution_meets_all_sides(pool: KernelPool) -> None:
    """FBGEMM's depthwise kernel adds pairs of taps in 16 bits on every machine."""
    target = Target.parse("fbgemm")
    values = np.random.default_rng(2).integers(-128, 128, (8, 1, 3, 3))
    values[0] = 127
    wide = QuantParams(500.0, 128)  # thresholds over the whole range, saturated pairs included
    layer = Conv2d("conv", weight_of(values), None, False, wide, (1, 1), (1, 1), (1, 1), 8)
    assert_all_sides_met(layer, (8, 4, 4), target, pool)


def test_an_image_smaller_than_the_kernel_meets_all_sides(pool: KernelPool) -> None:
    """Every position reads padding, and each reads other taps from the image."""
    values = np.random.default_rng(3).integers(-60, 60, (2, 1, 3, 3))
    layer = Conv2d("conv", weight_of(values), None, False, OUTPUT, (1, 1), (1, 1), (1, 1), 1)
    assert_all_sides_met(layer, (1, 2, 2), Target.parse("qnnpack"), pool)


def test_sides_that_no_input_has_are_proved_unreachable(pool: KernelPool) -> None:
    """With a single weight of 100, only one accumulator in a hundred occurs."""
    target = Target.parse("qnnpack")
    layer = Linear("linear", weight_of(np.array([[100]])), None, False, OUTPUT)
    model = QuantizedModel((1,), (Quantize("quantize", SOURCE), layer))
    lowered = lower(model, target)
    subject = Subject(DeployedModel("layer", model, b""), model, lowered)
    report = compare_alone(subject, 1, subject.blank_reports()[1], pool, seed=0, rounds=1)
    occurring = {100 * (x - SOURCE.zero_point) for x in range(256)}
    (step,) = (node.operation for node in lowered.network.nodes if hasattr(node.operation, "thresholds"))
    finite = {t for t in step.thresholds[0].tolist() if t not in (ALWAYS, NEVER)}
    sides = [value for t in finite for value in (t - 1, t)]
    assert report.coverage is not None
    assert report.coverage.missed == 0
    assert report.coverage.hit == sum(value in occurring for value in sides)
    assert report.coverage.unreachable == sum(value not in occurring for value in sides)
