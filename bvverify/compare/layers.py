"""Layers of two models side by side: which of them can be compared, and how far their bytes differ."""

from dataclasses import dataclass

import numpy as np

from bvverify.evidence import Subject
from bvverify.model import Layer, QuantizedModel, QuantParams
from bvverify.network import IntArray


@dataclass(frozen=True)
class LayerComparison:
    """How the bytes of one layer differ, over the images compared so far."""

    name: str
    kind: str
    shape: tuple[int, ...]
    """Shape of the layer's output, without the batch."""
    compared: int = 0
    """Bytes of each side."""
    images: int = 0
    """Images for which some byte differs."""
    bytes: int = 0
    """Bytes that differ, over all images."""
    largest: int = 0
    """Largest difference of two bytes."""
    example: int | None = None
    """Position of the first image with the largest difference; None if no byte differs."""

    def after(self, first: IntArray, second: IntArray, positions: IntArray) -> "LayerComparison":
        """Return this comparison with further images: both sides' bytes (n, *shape), and the images' positions (n,)."""
        distances = np.abs(first - second).reshape(len(first), -1)
        by_image = distances.max(axis=1, initial=0)
        largest = int(by_image.max(initial=0))
        return LayerComparison(
            self.name,
            self.kind,
            self.shape,
            self.compared + distances.size,
            self.images + int(np.count_nonzero(by_image)),
            self.bytes + int(np.count_nonzero(distances)),
            max(self.largest, largest),
            int(positions[by_image.argmax()]) if largest > self.largest else self.example,
        )


@dataclass(frozen=True)
class SkippedLayer:
    """A layer whose bytes are not compared, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class _Described:
    kind: str
    shape: tuple[int, ...]
    params: QuantParams


def output_params(model: QuantizedModel) -> QuantParams:
    """Return what the bytes of the model's output mean."""
    found = _params(model)[-1]
    assert found is not None, "a lowered model quantizes its input"
    return found


def matched_layers(first: Subject, second: Subject) -> tuple[list[LayerComparison], list[SkippedLayer]]:
    """Return the layers that both subjects have, nothing compared yet, and those that cannot be compared.

    Layers match by name, type, size and quantization of their outputs.
    """
    ours, theirs = _described(first), _described(second)
    matched, skipped = [], []
    for name, layer in ours.items():
        other = theirs.get(name)
        reason = "only the first side has it" if other is None else _mismatch(layer, other)
        if reason is None:
            matched.append(LayerComparison(name, layer.kind, layer.shape))
        else:
            skipped.append(SkippedLayer(name, reason))
    skipped += [SkippedLayer(name, "only the second side has it") for name in theirs if name not in ours]
    return matched, skipped


def meaning(params: QuantParams) -> str:
    """Return a quantization in words."""
    return f"scale {params.scale:.9g}, zero point {params.zero_point}{', signed' if params.signed else ''}"


def _mismatch(first: _Described, second: _Described) -> str | None:
    if first.kind != second.kind:
        return f"types: {first.kind} and {second.kind}"
    if first.shape != second.shape:
        return f"sizes: {first.shape} and {second.shape}"
    if first.params != second.params:
        return f"quantization: {meaning(first.params)}; and {meaning(second.params)}"
    return None


def _described(subject: Subject) -> dict[str, _Described]:
    model = subject.deployed.model
    by_name = {layer.name: (layer, params) for layer, params in zip(model.layers, _params(model)[1:], strict=True)}
    found = {}
    for output in subject.lowered.layers:
        layer, params = by_name[output.name]
        assert params is not None, "a lowered layer has quantized outputs"
        found[output.name] = _Described(_kind(layer), output.layout.shape, params)
    return found


def _kind(layer: Layer) -> str:
    return type(layer).__name__ + (" + ReLU" if getattr(layer, "relu", False) else "")


def _params(model: QuantizedModel) -> list[QuantParams | None]:
    """Return what the bytes of each value of the model mean, the input first; None for a value without bytes."""
    found: list[QuantParams | None] = [None]
    for layer, sources in zip(model.layers, model.sources, strict=True):
        own = getattr(layer, "output", None)
        found.append(own if isinstance(own, QuantParams) else found[sources[0]])
    return found
