"""What is to be proved: one obligation for each channel of each linear layer and convolution, and those of the layers
that round without weights.
"""

from collections.abc import Iterator

from bvverify.kernels.lower import LoweredModel, lower
from bvverify.kernels.target import Target
from bvverify.model import (
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    Conv2d,
    Layer,
    Linear,
    Mean,
    Mul,
    QuantizedModel,
    QuantParams,
)
from bvverify.network import Step
from bvverify.proofs.channel import Channel
from bvverify.proofs.engines import is_staged, pipeline_of
from bvverify.proofs.floating_point import INT32_MAX, INT32_MIN
from bvverify.proofs.obligation import Obligation
from bvverify.proofs.questions import Question, Staircase, direct_question, ends_question, staged_questions
from bvverify.proofs.unweighted import step_at, unweighted_obligations


def obligations(
    model: QuantizedModel, target: Target, *, full_range: bool = False, lowered: LoweredModel | None = None
) -> Iterator[Obligation]:
    """Yield the obligations of `model` on `target`, layer by layer; `lowered` is its lowering, where that is at hand.

    `full_range` is as in `channel_obligation`.  Raises what lowering raises.
    """
    lowered = lowered or lower(model, target)
    for layer, sources in _layers(model):
        match layer:
            case Linear() | Conv2d():
                yield from _weighted(layer, sources[0], lowered, full_range=full_range)
            case Add() | Mul() | AvgPool2d() | AdaptiveAvgPool2d() | Mean():
                yield from unweighted_obligations(layer, sources, lowered)


def channel_obligation(
    layer: Linear | Conv2d,
    channel: int,
    source: QuantParams,
    target: Target,
    step: Step,
    lower: int,
    upper: int,
    *,
    full_range: bool = False,
) -> Obligation:
    """Return the obligation that row `channel` of `step` is what `target` computes for that channel of `layer`, on
    accumulators in [lower, upper], when the layer reads activations quantized as `source`.

    With `full_range`, an end at which the byte can go no further is moved to the end of int32: there, thresholds
    claim the same byte for all accumulators beyond, and only those for which the conversion to int32 wraps around
    are left out.  At another end the thresholds say nothing of what lies beyond, and it stays.
    """
    thresholds = step.thresholds[channel].tolist()
    staircase = Staircase.of(step.base, thresholds, lower, upper)
    if full_range:
        least = layer.output.zero_point if layer.relu else layer.output.least
        lower = INT32_MIN if staircase.bytes[0] == least else lower
        upper = INT32_MAX if staircase.bytes[-1] == layer.output.greatest else upper
        staircase = Staircase.of(step.base, thresholds, lower, upper)
    pipeline = pipeline_of(layer, Channel.of(layer, channel, source), target)
    direct = direct_question(pipeline, staircase, monotone_only=full_range)
    questions: tuple[Question, ...] = (direct,)
    if is_staged(pipeline):
        questions = (ends_question(pipeline, staircase), *staged_questions(pipeline, staircase))
    return Obligation(layer.name, channel, lower, upper, staircase, questions, direct)


def _weighted(
    layer: Linear | Conv2d, source: QuantParams, lowered: LoweredModel, *, full_range: bool
) -> Iterator[Obligation]:
    (value,) = (output.value for output in lowered.layers if output.name == layer.name)
    (bounds,) = (accumulator for accumulator in lowered.accumulators if accumulator.name == layer.name)
    step, _ = step_at(lowered.network, value, layer.name)
    for channel in range(len(step.thresholds)):
        ends = int(bounds.lower[channel]), int(bounds.upper[channel])
        yield channel_obligation(layer, channel, source, lowered.target, step, *ends, full_range=full_range)


def _layers(model: QuantizedModel) -> Iterator[tuple[Layer, tuple[QuantParams, ...]]]:
    """Yield the layers that read quantized values, each with the quantization of these."""
    params: list[QuantParams | None] = [None]
    for layer, sources in zip(model.layers, model.sources, strict=True):
        known = tuple(own for source in sources if (own := params[source]) is not None)
        if len(known) == len(sources):
            yield layer, known
        params.append(getattr(layer, "output", params[sources[0]]))
