"""Without idle clamps, networks compute the same on their region, and plain layers are plain again."""

from collections import Counter

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bvverify.bounds.idle import without_idle_clamps
from bvverify.kernels.accumulate import accumulate_exact, accumulate_pairs, saturating_pairs
from bvverify.network import Affine, Clamp, Gather, IntArray, NetworkBuilder, Step, StepNetwork, Window
from bvverify.network.build import conv_taps
from tests.encode.questions import Question, questions
from tests.networks import points_of

PATIENT = settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)


def layer(builder: NetworkBuilder, taps: IntArray, weight: IntArray, zero_point: int, *, pairs: bool) -> None:
    """Append sums of weighted bytes, as kernels with and without VNNI add them up."""
    saturating = saturating_pairs(builder, taps, weight, zero_point, 0)
    if pairs and saturating.any():
        accumulate_pairs(builder, taps, weight, zero_point, 0, saturating)
    else:
        accumulate_exact(builder, taps, weight, zero_point)


def stairs(random: np.random.Generator, channels: int) -> Step:
    return Step(0, np.sort(random.integers(-60_000, 60_000, (channels, 12)), axis=1))


def dense(random: np.random.Generator, *, pairs: bool) -> StepNetwork:
    builder = NetworkBuilder(lower=np.zeros((1, 5), dtype=int), upper=np.full((1, 5), 255))
    for inputs, outputs in ((5, 4), (4, 3)):
        weight = random.integers(-127, 128, (1, outputs, inputs))
        layer(builder, builder.layout.reshape(1, 1, inputs), weight, int(random.integers(0, 9)), pairs=pairs)
        builder.step(stairs(random, outputs))
        builder.reshape((1, outputs))
    return builder.build()


def convolution(random: np.random.Generator, *, pairs: bool, groups: int) -> StepNetwork:
    builder = NetworkBuilder(lower=np.zeros((2, 4, 4), dtype=int), upper=np.full((2, 4, 4), 255))
    taps = conv_taps(builder.layout, window=Window((2, 2), padding=(1, 1)), groups=groups)
    weight = random.integers(-127, 128, (groups, 2 // groups, taps.shape[2]))
    layer(builder, taps, weight, int(random.integers(0, 9)), pairs=pairs)
    builder.step(stairs(random, 2))
    return builder.build()


def narrow(random: np.random.Generator, network: StepNetwork, most: int) -> tuple[IntArray, IntArray]:
    low = random.integers(0, most, network.lower.shape)
    return low, np.minimum(low + random.integers(0, 40, low.shape), most)


def samples(random: np.random.Generator, low: IntArray, high: IntArray) -> IntArray:
    inside = random.integers(low, high + 1, (40, *low.shape))
    corners = np.where(random.random(inside.shape) < 0.5, low, high)
    return np.concatenate([inside, corners])


def test_layers_in_pairs_compute_the_same_and_become_plain_where_no_pair_saturates() -> None:
    seen: Counter[str] = Counter()

    @given(st.integers(0, 2**32 - 1), st.sampled_from([100, 160, 255]), st.sampled_from([0, 1, 2]))
    @PATIENT
    def same(seed: int, most: int, groups: int) -> None:
        def made(*, pairs: bool) -> StepNetwork:
            random = np.random.default_rng(seed)
            return convolution(random, pairs=pairs, groups=groups) if groups else dense(random, pairs=pairs)

        random = np.random.default_rng([seed, 1])
        network, exact = made(pairs=True), made(pairs=False)
        low, high = narrow(random, network, most)
        values = network.interval(low, high)
        plain = without_idle_clamps(network, values)
        points = samples(random, low, high)
        assert (plain.evaluate(points) == network.evaluate(points)).all()
        acting = [
            (values[node.inputs[0]][0] < -(2**15)) | (values[node.inputs[0]][1] >= 2**15)
            for node in network.nodes
            if isinstance(node.operation, Clamp)
        ]
        if not any(each.any() for each in acting):
            assert [type(node.operation) for node in plain.nodes] == [type(node.operation) for node in exact.nodes]
            assert (plain.evaluate(points) == exact.evaluate(points)).all()
        kinds = {type(node.operation) for node in plain.nodes}
        seen["plain"] += Clamp not in kinds
        seen["some"] += Clamp in kinds and any(not each.all() for each in acting)
        seen["saturated"] += bool((network.evaluate(points) != exact.evaluate(points)).any())

    same()
    assert min(seen.values()) >= 10, seen


@given(questions())
@PATIENT
def test_nothing_changes_on_the_box(question: Question) -> None:
    network, box = question.network, question.box
    plain = without_idle_clamps(network, network.interval(box.lower, box.upper))
    assert (plain.evaluate(points_of(box)) == network.evaluate(points_of(box))).all()


def test_a_layer_that_is_not_the_same_at_all_places_stays_in_pairs() -> None:
    """Two places, and a second summand that only one of them has."""
    builder = NetworkBuilder(lower=[0, 0, 0], upper=[9, 9, 9])
    first = builder.append(
        Affine(np.array([[[1, 2]]]), np.array([0])), builder.append(Gather(np.array([[[0, 1]], [[1, 2]]])), 0)
    )
    clamped = builder.append(
        Clamp(-100, 100),
        builder.append(Affine(np.array([[[3]]]), np.array([0])), builder.append(Gather(np.array([[[0]]])), 0)),
    )
    wires = builder.append(Gather(np.array([[[0, 2]], [[1, -1]]])), first, clamped)
    builder.append(Affine(np.array([[[1, 1]]]), np.array([0])), wires)
    network = builder.build()
    plain = without_idle_clamps(network, network.interval(network.lower, network.upper))
    points = np.random.default_rng(0).integers(0, 10, (50, 3))
    assert (plain.evaluate(points) == network.evaluate(points)).all()
    assert not any(isinstance(node.operation, Clamp) for node in plain.nodes)
