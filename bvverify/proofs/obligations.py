"""What is to be proved: one obligation for each channel of each linear layer and convolution."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from bvverify.errors import InternalError
from bvverify.kernels.lower import LoweredModel, lower
from bvverify.kernels.target import Target
from bvverify.model import Conv2d, Linear, QuantizedModel, QuantParams
from bvverify.network import Step
from bvverify.proofs.channel import Channel
from bvverify.proofs.engines import is_staged, pipeline_of
from bvverify.proofs.floating_point import INT32_MAX, INT32_MIN
from bvverify.proofs.questions import Question, Staircase, direct_question, ends_question, staged_questions


@dataclass(frozen=True)
class Obligation:
    """That the thresholds of one channel equal its pipeline on the accumulators in [lower, upper].

    It is met if every one of `questions` is unsatisfiable, and not met if one with a witness is satisfiable.  Where
    another one is, the `direct` question decides.
    """

    layer: str
    channel: int
    lower: int
    upper: int
    staircase: Staircase
    questions: tuple[Question, ...]
    direct: Question

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the questions, hexadecimal: equal questions need one proof."""
        return hashlib.sha256("\n".join(question.text for question in self.questions).encode()).hexdigest()


def obligations(
    model: QuantizedModel, target: Target, *, full_range: bool = False, lowered: LoweredModel | None = None
) -> Iterator[Obligation]:
    """Yield the obligations of `model` on `target`, layer by layer; `lowered` is its lowering, where that is at hand.

    `full_range` is as in `channel_obligation`.  Raises what lowering raises.
    """
    lowered = lowered or lower(model, target)
    values = {layer.name: layer.value for layer in lowered.layers}
    accumulators = {accumulator.name: accumulator for accumulator in lowered.accumulators}
    for layer, source in _weighted(model):
        step = lowered.network.nodes[values[layer.name] - 1].operation
        if not isinstance(step, Step):
            raise InternalError(f"layer {layer.name} on {target}: its result is not that of a Step")
        bounds = accumulators[layer.name]
        for channel in range(len(step.thresholds)):
            ends = int(bounds.lower[channel]), int(bounds.upper[channel])
            yield channel_obligation(layer, channel, source, target, step, *ends, full_range=full_range)


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


def _weighted(model: QuantizedModel) -> Iterator[tuple[Linear | Conv2d, QuantParams]]:
    """Yield the layers that have an accumulator, each with the quantization of the activations that it reads."""
    params: list[QuantParams | None] = [None]
    for layer, sources in zip(model.layers, model.sources, strict=True):
        source = params[sources[0]]
        if isinstance(layer, Linear | Conv2d):
            if source is None:
                raise InternalError(f"layer {layer.name}: reads activations that are not quantized")
            yield layer, source
        params.append(getattr(layer, "output", source))
