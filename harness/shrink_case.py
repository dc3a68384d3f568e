"""Cases that are shrunk, and changes of one layer of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bvverify.model import Conv2d, Linear, Quantize, QuantizedModel, QuantParams, Weight
from bvverify.model.quantized import Layer

Array: TypeAlias = npt.NDArray[Any]
Edit: TypeAlias = Callable[[Layer], Layer]
Change: TypeAlias = Callable[[Array], Array]
Places: TypeAlias = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Case:
    """A failing case: models of one architecture, and inputs (n, *input_shape) of each."""

    models: tuple[QuantizedModel, ...]
    inputs: Array

    @property
    def model(self) -> QuantizedModel:
        """The first model."""
        return self.models[0]

    @property
    def alone(self) -> Layer | None:
        """The layer of a case that is a Quantize followed by one layer that reads it."""
        chain = self.model.sources == ((0,), (1,))
        return self.model.layers[1] if chain and isinstance(self.model.layers[0], Quantize) else None

    def edited(self, index: int, edit: Edit) -> "Case":
        """Return the case with one layer of every model changed."""
        models = tuple(
            replace(m, layers=(*m.layers[:index], edit(m.layers[index]), *m.layers[index + 1 :])) for m in self.models
        )
        return Case(models, self.inputs)

    def with_inputs(self, inputs: Array) -> "Case":
        """Return the case with other inputs, to whose shape the models are adjusted."""
        return Case(tuple(replace(m, input_shape=inputs.shape[1:]) for m in self.models), inputs)


def with_field(name: str, value: object) -> Edit:
    """Return the change of one field of a layer."""

    def edit(layer: Any) -> Layer:
        changed: Layer = replace(layer, **{name: value})
        return changed

    return edit


def output_of(layer: Layer) -> QuantParams:
    """Return how a Quantize layer quantizes."""
    assert isinstance(layer, Quantize)
    return layer.output


def with_output(layer: Any, change: Callable[[QuantParams], QuantParams]) -> Layer:
    """Return a layer whose output is quantized otherwise."""
    changed: Layer = replace(layer, output=change(layer.output))
    return changed


def with_weight(layer: Any, change: Callable[[Weight], Weight]) -> Layer:
    """Return a linear layer or a convolution with another weight."""
    changed: Layer = replace(layer, weight=change(layer.weight))
    return changed


def taken(kept: Places, axis: int) -> Edit:
    """Return the change that keeps some places along one axis of the weight."""

    def change(weight: Weight) -> Weight:
        return replace(weight, values=np.ascontiguousarray(np.take(weight.values, kept, axis=axis)))

    return lambda layer: with_weight(layer, change)


def weights_at(places: Places, value: int) -> Edit:
    """Return the change of single weights, whose places are those of the flat array."""

    def change(weight: Weight) -> Weight:
        return replace(weight, values=placed(weight.values, places, value))

    return lambda layer: with_weight(layer, change)


def outputs(kept: Places) -> Edit:
    """Return the change that keeps some output channels."""

    def change(weight: Weight) -> Weight:
        scales, zero_points = weight.scales, weight.zero_points
        if weight.per_channel:
            scales, zero_points = scales[kept], zero_points[kept]
        return replace(weight, values=weight.values[kept], scales=scales, zero_points=zero_points)

    def edit(layer: Layer) -> Layer:
        return biases(lambda bias: bias[kept])(with_weight(layer, change))

    return edit


def biases(change: Change) -> Edit:
    """Return the change of the bias, if there is one."""

    def edit(layer: Layer) -> Layer:
        assert isinstance(layer, Linear | Conv2d)
        return layer if layer.bias is None else replace(layer, bias=change(layer.bias).astype(np.float32))

    return edit


def placed(values: Array, places: Places, value: float) -> Array:
    """Return a copy of an array with another value at some places of the flat array."""
    changed = values.copy()
    changed.reshape(-1)[places] = value
    return changed


def weighted_layers(case: Case) -> list[tuple[int, Linear | Conv2d]]:
    """Return the layers with weights and their numbers."""
    return [(i, layer) for i, layer in enumerate(case.model.layers) if isinstance(layer, Linear | Conv2d)]
