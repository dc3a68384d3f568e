"""What lowering computes is proved on every target, and no fault that is planted escapes."""

from dataclasses import replace

import numpy as np
import pytest

from bvverify.errors import NotExact
from bvverify.kernels.lower import lower
from bvverify.kernels.onednn import OneDnnRequantization
from bvverify.kernels.target import TARGETS, Target
from bvverify.model import Linear, Quantize, QuantParams
from bvverify.network import Step
from bvverify.proofs import Obligation, channel_obligation, obligations
from bvverify.proofs.channel import Channel
from bvverify.proofs.engines import pipeline_of
from bvverify.proofs.floating_point import INT32_MAX, INT32_MIN, Single, add, mul, single
from bvverify.proofs.pipeline import X_SINGLE, Pipeline
from bvverify.proofs.questions import Question, Staircase, direct_question, staged_questions
from bvverify.solvers import Status, check_smtlib

from . import layers

FBGEMM, ONEDNN, QNNPACK = (Target.parse(name) for name in ("fbgemm/avx512_vnni", "onednn/avx512_vnni", "qnnpack/sse2"))
ENGINES = [FBGEMM, ONEDNN, QNNPACK]


def lowered_obligations(target: Target) -> list[Obligation]:
    """Return the obligations of small layers of every kind, two channels each."""
    wanted: list[Obligation] = []
    for make in (layers.linear, layers.convolution):
        for per_channel in (False, True):
            layer = make(per_channel=per_channel, relu=per_channel)
            try:
                wanted += obligations(layers.model(layer), target)
            except NotExact:
                assert (make, target.engine) == (layers.convolution, "onednn")
                assert target != ONEDNN
    return wanted


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_layers_are_proved(target: Target) -> None:
    wanted = lowered_obligations(target)
    assert {obligation.channel for obligation in wanted} == {0, 1}
    assert all(len(obligation.staircase.starts) > 3 for obligation in wanted)
    if target not in ENGINES:
        wanted = wanted[::2]
    wanted.append(layers.obligation(layers.linear(per_channel=True, bias=False), target))
    layer = layers.linear(per_channel=True)
    below = layers.obligation(replace(layer, bias=layer.bias - 25), target)
    assert below.staircase.bytes[0] == 0  # saturated
    assert len(below.staircase.starts) > 1
    wanted.append(below)
    proofs = layers.proved(wanted)
    assert len(proofs) == len(wanted)
    assert {proof.entry.status for proof in proofs} == {"unsat"}


@pytest.mark.parametrize("target", [each for each in TARGETS if each.engine == "onednn"], ids=str)
def test_signed_activations_are_proved_and_their_faults_found(target: Target) -> None:
    source = replace(layers.SOURCE, signed=True)
    for relu in (False, True):
        layer = layers.linear(per_channel=True, relu=relu)
        layer = replace(layer, output=QuantParams(3.31, -3, signed=True))
        lowered = lower(replace(layers.model(layer), layers=(Quantize("quantize", source), layer)), target)
        (right,) = (node.operation for node in lowered.network.nodes if isinstance(node.operation, Step))
        bounds = int(lowered.accumulators[0].lower[0]), int(lowered.accumulators[0].upper[0])
        (level, *_) = np.flatnonzero((right.thresholds[0] > bounds[0]) & (right.thresholds[0] <= bounds[1]))
        wrong = Step(-128, right.thresholds + (np.arange(255) == level))
        proofs = layers.proved([channel_obligation(layer, 0, source, target, step, *bounds) for step in (right, wrong)])
        assert [proof.entry.status for proof in proofs] == ["unsat", "sat"]
        example = proofs[1].entry.counterexample
        assert example is not None
        assert (example.accumulator, example.claimed) == (right.thresholds[0, level], level - 128)
        assert example.claimed < 0
        assert example.computed == example.claimed + 1


def test_signed_activations_have_a_pipeline_on_onednn_only() -> None:
    layer = replace(layers.linear(per_channel=True), output=QuantParams(3.31, -3, signed=True))
    channel = Channel.of(layer, 0, layers.SOURCE)
    with pytest.raises(NotExact, match="layer fc"):
        pipeline_of(layer, channel, QNNPACK)


@pytest.mark.parametrize("target", ENGINES, ids=str)
def test_a_threshold_that_is_off_by_one_is_found(target: Target) -> None:
    layer = layers.linear(per_channel=False)
    step, lower, upper = layers.staircase_of(layer, target)
    right = step.thresholds[1]
    level = int(np.flatnonzero((right > lower[1]) & (right <= upper[1]))[2])
    for shift in (-1, 1):
        thresholds = step.thresholds.copy()
        thresholds[1, level] += shift
        (proof,) = layers.proved([layers.obligation(layer, target, 1, step=Step(0, thresholds))])
        example = proof.entry.counterexample
        assert example is not None
        assert example.accumulator == min(right[level], thresholds[1, level])
        assert example.computed == layers.computed(layer, target, 1, example.accumulator)
        assert example.claimed == (thresholds[1] <= example.accumulator).sum() != example.computed


def other_layers() -> list[tuple[Linear, Linear]]:
    """Return layers that are lowered, each with another whose pipeline they must not be proved to have."""
    layer = layers.linear(per_channel=False)
    below = replace(layer, bias=layer.bias - 60, output=QuantParams(3.31, 20))
    return [
        (layer, replace(layer, output=replace(layer.output, zero_point=6))),
        (layer, replace(layer, output=replace(layer.output, scale=3.33))),
        (layer, replace(layer, bias=layer.bias + np.float32(0.01))),
        (below, replace(below, relu=True)),
    ]


@pytest.mark.parametrize("target", ENGINES, ids=str)
def test_the_pipeline_of_another_layer_is_found(target: Target) -> None:
    for layer, other in other_layers():
        (proof,) = layers.proved([layers.obligation(layer, target, pipeline_of=other)])
        example = proof.entry.counterexample
        assert example is not None
        assert example.claimed == layers.computed(layer, target, 0, example.accumulator)
        assert example.computed == layers.computed(other, target, 0, example.accumulator) != example.claimed


def test_a_bias_that_is_not_fused_is_found() -> None:
    """With a bias of whole accumulator steps, a division hits ties that one fma with a reciprocal misses."""
    layer = layers.tied(layers.linear(per_channel=False))
    bias = (np.float32([1001, 1003]) * layers.unit(layer)).astype(np.float32)
    layer = replace(layer, bias=bias)
    weight = replace(layer.weight, scales=layer.weight.scales.repeat(2), zero_points=np.zeros(2, dtype=np.int64))
    unfused = replace(layer, weight=replace(weight, per_channel=True))
    (proof,) = layers.proved([layers.obligation(layer, FBGEMM, pipeline_of=unfused)])
    example = proof.entry.counterexample
    assert example is not None
    assert example.claimed == layers.computed(layer, FBGEMM, 0, example.accumulator)
    assert example.computed == layers.computed(unfused, FBGEMM, 0, example.accumulator) != example.claimed


def test_a_fused_bias_is_rounded_once() -> None:
    """Its product with the reciprocal is just above a whole number, which it would become if it were rounded."""
    layer = layers.tied(layers.linear(per_channel=False))
    unit = layers.unit(layer)
    reciprocal = np.float32(1 / np.float64(unit))
    biases = (np.arange(-1400, -1000, dtype=np.float32) * unit).astype(np.float32)
    exact = biases.astype(np.float64) * reciprocal
    above = np.where(exact.astype(np.float32) == np.rint(exact), exact - np.rint(exact), 0)
    bias = biases[above.argmax()]
    layer = replace(layer, bias=np.array([bias, bias]))
    obligation = layers.obligation(layer, FBGEMM)
    assert layers.proved([obligation])[0].entry.status == "unsat"
    pipeline = pipeline_of(layer, Channel.of(layer, 0, layers.SOURCE), FBGEMM)
    product = add(X_SINGLE, mul(single(float(bias)), Single("reciprocal")))
    twice = replace(pipeline, steps=(product, *pipeline.steps[1:]))
    assert check(direct_question(twice, obligation.staircase)) is Status.SAT


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (("convolution", "x86/avx512_vnni"), ("convolution", "fbgemm/avx512_vnni")),
        (("convolution", "x86/avx2"), ("convolution", "onednn/avx512_vnni")),
        (("linear", "x86/avx512_vnni"), ("linear", "onednn/avx512_vnni")),
        (("linear", "onednn/avx2"), ("linear", "onednn/avx512")),
        (("linear", "onednn/avx512"), ("linear", "onednn/avx2")),
        (("linear", "onednn/avx512_vnni"), ("convolution", "onednn/avx512_vnni")),
        (("convolution", "onednn/avx512_vnni"), ("linear", "onednn/avx512_vnni")),
        (("linear", "qnnpack/sse2"), ("linear", "fbgemm/avx512_vnni")),
    ],
    ids=str,
)
def test_each_target_has_a_pipeline_of_its_own(own: tuple[str, str], other: tuple[str, str]) -> None:
    """At an accumulator half-way between two bytes, where the numpy pipelines differ."""
    ties = np.arange(32, 64 * 100, 64)
    for seed in range(200):
        sides = []
        for kind, target in (own, other):
            layer = layers.tied(getattr(layers, kind)(per_channel=False, bias=False, seed=seed))
            sides.append((layer, Target.parse(target), layers.bytes_of(layer, Target.parse(target), ties)[0]))
        differing = np.flatnonzero(sides[0][2] != sides[1][2])
        if differing.size:
            break
    else:
        pytest.fail("no layer makes a difference")
    tie = int(ties[differing[0]])
    staircase = Staircase(0, tie, (tie,), (int(sides[0][2][differing[0]]),))
    pipelines = [pipeline_of(layer, Channel.of(layer, 0, layers.SOURCE), target) for layer, target, _ in sides]
    assert [check(direct_question(pipeline, staircase)) for pipeline in pipelines] == [Status.UNSAT, Status.SAT]


def test_a_division_is_not_a_product_with_the_reciprocal() -> None:
    """On qint8 activations, at accumulators that are half-way between two bytes."""
    source = replace(layers.SOURCE, signed=True)
    for seed in range(50):
        layer = layers.tied(layers.linear(per_channel=True, bias=False, seed=seed))
        layer = replace(layer, output=replace(layer.output, signed=True))
        divided = OneDnnRequantization.of(layer, source, avx2=False)
        ties = np.arange(32, 64 * 100, 64)[None].repeat(2, axis=0)
        differing = divided.bytes_of(ties)[0] != replace(divided, divides=False).bytes_of(ties)[0]
        if differing.any():
            break
    else:
        pytest.fail("no layer makes a difference")
    pipeline = pipeline_of(layer, Channel.of(layer, 0, source), ONEDNN)
    tie = int(ties[0, differing][0])
    right = Staircase(-128, tie, (tie,), (int(divided.bytes_of(ties)[0, differing][0]),))
    assert check(direct_question(pipeline, right)) is Status.UNSAT
    assert check(direct_question(replace(pipeline, steps=tuple(multiplied(pipeline))), right)) is Status.SAT


def multiplied(pipeline: Pipeline) -> list[Single]:
    factor = mul(X_SINGLE, Single("output_factor"))
    return [factor if "output_scale" in step else step for step in pipeline.steps]


def check(question: Question) -> Status:
    return check_smtlib(question.text, solver="bitwuzla", time_limit=60).status


def unit_pipeline(target: Target) -> Pipeline:
    """Return a pipeline that takes accumulators to the same float32, then adds a zero point of 200."""
    channel = Channel(1.0, 1.0, 1.0, 200, None, False, per_channel=False, convolution=False)
    return pipeline_of(layers.linear(per_channel=False), channel, target)


@pytest.mark.parametrize("target", [FBGEMM, QNNPACK], ids=str)
def test_a_missing_saturation_to_16_bits_is_found_where_the_zero_point_leaves_int32(target: Target) -> None:
    pipeline = unit_pipeline(target)
    staircase = Staircase.of(0, range(-199, 56), 0, INT32_MAX)
    assert check(direct_question(pipeline, staircase)) is Status.SAT
    assert check(direct_question(pipeline, staircase, monotone_only=True)) is Status.UNSAT
    unsaturated = replace(pipeline, words=pipeline.words[1:])
    assert check(direct_question(unsaturated, staircase, monotone_only=True)) is Status.SAT


@pytest.mark.parametrize("target", ENGINES, ids=str)
@pytest.mark.parametrize("relu", [False, True])
def test_all_of_int32_is_asked_about_at_saturated_ends(target: Target, relu: bool) -> None:
    layer = replace(layers.linear(per_channel=False, relu=relu), output=QuantParams(3.31, 251))
    step, (lower, _), (upper, _) = layers.staircase_of(layer, target)
    wide = channel_obligation(layer, 0, layers.SOURCE, target, step, lower, upper, full_range=True)
    assert (wide.lower, wide.upper) == (INT32_MIN if relu else lower, INT32_MAX)
    assert layers.proved([wide])[0].entry.status == "unsat"


def test_staged_questions_find_intervals_that_meet() -> None:
    """Above 2^24, two accumulators that become the same float32 cannot be told apart by a threshold between them."""
    pipeline = unit_pipeline(ONEDNN)
    staircase = Staircase(0, 2**25 + 9, (2**25, 2**25 + 1), (255, 0))
    assert check(staged_questions(pipeline, staircase)[0]) is Status.SAT
    harmless = Staircase(0, 100, (-300, *range(-199, 56)), tuple(range(256)))
    assert {check(question) for question in staged_questions(pipeline, harmless)} == {Status.UNSAT}
