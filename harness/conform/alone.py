"""Each layer of a model as a model of its own, so that it can be given any bytes as input."""

from dataclasses import dataclass

import numpy as np

from bvverify.kernels.lower import LoweredModel
from bvverify.model import (
    Contiguous,
    Linear,
    Quantize,
    QuantizedModel,
    QuantParams,
    Reshape,
    Slice,
    Weight,
)
from bvverify.model.quantized import Layer, Shape

_INPUT = "(input)"


@dataclass(frozen=True)
class ValueFacts:
    """Shape and quantization of one value of a model; `params` is None before the input is quantized."""

    shape: Shape
    params: QuantParams | None


def values_of(model: QuantizedModel, lowered: LoweredModel) -> list[ValueFacts]:
    """Return the facts of every value of a model: 0 is the input, i + 1 the result of layer i."""
    shapes = {output.name: output.layout.shape for output in lowered.layers}
    values = [ValueFacts(model.input_shape, None)]
    for layer, sources in zip(model.layers, model.sources, strict=True):
        source = values[sources[0]]
        shape = layer.shape if isinstance(layer, Reshape) else shapes.get(layer.name, source.shape)
        output = getattr(layer, "output", None)
        values.append(ValueFacts(shape, output if isinstance(output, QuantParams) else source.params))
    return values


def layer_alone(model: QuantizedModel, index: int, values: list[ValueFacts], *, channels_last: bool) -> QuantizedModel:
    """Return layer `index` alone: its sources' elements, joined and flat if there are several, quantized alike.

    With `channels_last`, images among the sources are laid out in that order before the layer reads them.
    """
    layer = model.layers[index]
    if isinstance(layer, Quantize):
        return QuantizedModel(values[model.sources[index][0]].shape, (layer,))
    sources = [values[number] for number in model.sources[index]]
    chain = _Chain([Quantize(_INPUT, _common(sources))], [(0,)])
    if len(sources) == 1:
        chain.in_format(sources[0].shape, channels_last)
        return chain.with_layer(sources[0].shape, layer, (len(chain.layers),))
    start, ends = 0, []
    for number, source in enumerate(sources):
        size = int(np.prod(source.shape))
        chain.add(Slice(f"(part {number})", 0, start, start + size), 1)
        chain.add(Reshape(f"(column {number})", (size, 1)))
        if source.params != _common(sources):
            chain.add(_identity(f"(requantized {number})", source.params))
        chain.add(Reshape(f"(source {number})", source.shape))
        chain.in_format(source.shape, channels_last, number)
        ends.append(len(chain.layers))
        start += size
    return chain.with_layer((start,), layer, tuple(ends))


@dataclass(frozen=True)
class _Chain:
    layers: list[Layer]
    sources: list[tuple[int, ...]]

    def add(self, layer: Layer, source: int | None = None) -> None:
        self.sources.append((len(self.layers) if source is None else source,))
        self.layers.append(layer)

    def in_format(self, shape: Shape, channels_last: bool, number: int = 0) -> None:
        if channels_last and len(shape) == 3:
            self.add(Contiguous(f"(format {number})", True))

    def with_layer(self, input_shape: Shape, layer: Layer, sources: tuple[int, ...]) -> QuantizedModel:
        return QuantizedModel(input_shape, (*self.layers, layer), (*self.sources, sources))


def _common(sources: list[ValueFacts]) -> QuantParams:
    """Return how the joined input is quantized: as the sources are, or with scale 1 if they differ."""
    params = {source.params for source in sources}
    (first, *others) = params
    return first if first is not None and not others else QuantParams(1.0, 0)


def _identity(name: str, params: QuantParams | None) -> Linear:
    """Return the layer that turns byte x of scale 1 and zero point 0 into byte x of `params`, for single features."""
    assert params is not None
    weight = Weight(np.ones((1, 1), dtype=np.int8), np.array([params.scale]), np.zeros(1, dtype=np.int64), False)
    bias = np.array([-params.zero_point * params.scale], dtype=np.float32)
    return Linear(name, weight, bias, False, params)
