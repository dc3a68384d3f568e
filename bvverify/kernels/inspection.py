"""Facts about a model that do not depend on a query: layers, accumulators, and which targets are modelled for it."""

from dataclasses import dataclass

from bvverify.errors import BvverifyError
from bvverify.kernels.availability import unavailable
from bvverify.kernels.lower import LoweredModel, lower
from bvverify.kernels.target import TARGETS
from bvverify.kernels.weighted import Accumulator
from bvverify.model import Conv2d, Layer, Linear, Quantize, QuantizedModel


@dataclass(frozen=True)
class LayerFacts:
    """One layer as the file describes it, with its accumulators over all inputs."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None
    weight: str
    accumulator: tuple[int, int] | None
    """Least and greatest accumulator over all inputs and channels."""
    pairs: int | None
    """Number of 16-bit pair sums that kernels without VNNI form per position."""
    saturating_pairs: int | None
    """How many of them can saturate."""


@dataclass(frozen=True)
class TargetSupport:
    """Whether one target is modelled exactly for this model, and whether it can be replayed here."""

    target: str
    refusal: str | None
    unavailable: str | None


@dataclass(frozen=True)
class Inspection:
    """All of it."""

    name: str
    digest: str
    input_shape: tuple[int, ...]
    layers: tuple[LayerFacts, ...]
    targets: tuple[TargetSupport, ...]


def inspect(model: QuantizedModel, *, name: str, digest: str) -> Inspection:
    """Return the facts about `model`; `digest` is the SHA-256 of its file.

    Raises the first target's refusal if no target at all is modelled for it.
    """
    supports, lowered, refusals = [], [], []
    for target in TARGETS:
        try:
            lowered.append(lower(model, target))
        except BvverifyError as error:
            refusals.append(error)
            supports.append(TargetSupport(str(target), str(error), None))
        else:
            supports.append(TargetSupport(str(target), None, unavailable(model, target)))
    if not lowered:
        raise refusals[0]
    return Inspection(name, digest, model.input_shape, _layers(model, lowered[0]), tuple(supports))


def _layers(model: QuantizedModel, lowered: LoweredModel) -> tuple[LayerFacts, ...]:
    shapes = {output.name: output.layout.shape for output in lowered.layers}
    accumulators = {accumulator.name: accumulator for accumulator in lowered.accumulators}
    facts, shape = [], model.input_shape
    for layer in model.layers:
        shape = shapes.get(layer.name, getattr(layer, "shape", shape))
        facts.append(_facts(layer, shape, accumulators.get(layer.name)))
    return tuple(facts)


def _facts(layer: Layer, shape: tuple[int, ...], accumulator: Accumulator | None) -> LayerFacts:
    output = layer.output if isinstance(layer, Quantize | Linear | Conv2d) else None
    relu = isinstance(layer, Linear | Conv2d) and layer.relu
    return LayerFacts(
        name=layer.name,
        kind=type(layer).__name__ + (" + ReLU" if relu else ""),
        output_shape=shape,
        scale=output.scale if output else None,
        zero_point=output.zero_point if output else None,
        weight=_weight(layer) if isinstance(layer, Linear | Conv2d) else "",
        accumulator=(int(accumulator.lower.min()), int(accumulator.upper.max())) if accumulator else None,
        pairs=_pairs(layer) if isinstance(layer, Linear | Conv2d) else None,
        saturating_pairs=accumulator.saturating_pairs if accumulator else None,
    )


def _weight(layer: Linear | Conv2d) -> str:
    grain = "per channel" if layer.weight.per_channel else "per tensor"
    return f"{list(layer.weight.values.shape)} {grain}{'' if layer.bias is not None else ', no bias'}"


def _pairs(layer: Linear | Conv2d) -> int:
    outputs, taps = layer.weight.values.reshape(len(layer.weight.values), -1).shape
    return outputs * ((taps + 1) // 2)
