"""What stands for a tensor while a model is read: its shape, and the layer whose result it is."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from bvverify.errors import UnsupportedLayer
from bvverify.model import Layer, QuantizedModel, QuantParams
from bvverify.model.quantized import Shape
from bvverify.torchscript.interpreter import Site

BATCH = 1_000_003
"""Stands for the batch size: a prime, so that a reshape which mixes images cannot go unnoticed."""


class Graph:
    """The layers met so far, in the order of the model's code."""

    def __init__(self, shape: Shape) -> None:
        """Start with an input of `shape`, batch left out."""
        self._shape = shape
        self._layers: list[Layer] = []
        self._sources: list[tuple[int, ...]] = []
        self._packed: dict[int, tuple[torch.Tensor, str, float]] = {}

    def use(self, label: str, weight: torch.Tensor, scale: float) -> None:
        """Note that layer `label` uses packed weights, given unpacked, with an output scale.

        Refuses a second use with another scale: QNNPACK keeps the requantization scale of the first.
        """
        _, first, known = self._packed.setdefault(weight.data_ptr(), (weight, label, scale))
        if known != scale:
            raise UnsupportedLayer(
                f"layer {label}: shares its packed weights with layer {first}, but not its output scale; QNNPACK would "
                "use the scale of whichever runs first"
            )

    def input(self) -> "Activation":
        """Return the model's input."""
        return Activation(self, 0, (BATCH, *self._shape))

    def add(self, layer: Layer, sources: tuple[int, ...]) -> int:
        """Append a layer and return the number of its result."""
        self._layers.append(layer)
        self._sources.append(sources)
        return len(self._layers)

    def model(self, result: int) -> QuantizedModel:
        """Return the layers that lead to the value `result`."""
        needed = {result}
        for number in range(result, 0, -1):
            if number in needed:
                needed |= set(self._sources[number - 1])
        kept = sorted(needed | {0})
        place = {number: index for index, number in enumerate(kept)}
        return QuantizedModel(
            self._shape,
            tuple(self._layers[number - 1] for number in kept[1:]),
            tuple(tuple(place[source] for source in self._sources[number - 1]) for number in kept[1:]),
        )


@dataclass
class _Storage:
    """Memory that several tensors may share; an in-place operation raises the version."""

    version: int = 0


@dataclass(frozen=True)
class Activation:
    """An intermediate tensor: value `number` of the graph, its shape with the stand-in batch size.

    `params` is None unless the tensor is quantized; `strided` marks a view that has no memory of its own.
    """

    graph: Graph
    number: int
    shape: Shape
    params: QuantParams | None = None
    strided: bool = False
    storage: _Storage = field(default_factory=_Storage)
    version: int = 0

    def after(
        self, layer: Layer, shape: Shape, params: QuantParams | None, *, others: Sequence["Activation"] = ()
    ) -> "Activation":
        """Return the result of a layer that reads this tensor and `others`, in memory of its own."""
        number = self.graph.add(layer, (self.number, *(other.number for other in others)))
        return Activation(self.graph, number, shape, params)

    def view(self, layer: Layer, shape: Shape) -> "Activation":
        """Return the same elements in another shape, possibly in the same memory."""
        return replace(self, number=self.graph.add(layer, (self.number,)), shape=shape)

    def overwrite(self, result: "Activation") -> "Activation":
        """Return `result`, written into this tensor's memory."""
        self.storage.version += 1
        return replace(result, storage=self.storage, version=self.storage.version)

    @property
    def overwritten(self) -> bool:
        """Whether an in-place operation has changed this tensor's memory since."""
        return self.version != self.storage.version


def quantized(site: Site, x: Activation) -> QuantParams:
    """Return the quantization of `x`; refuse a float tensor and a view without memory of its own."""
    if x.params is None:
        raise UnsupportedLayer(f"layer {site.label}: {site.kind} on a float tensor; only bytes are verified")
    if x.strided:
        raise UnsupportedLayer(f"layer {site.label}: {site.kind} on a slice; call .contiguous() on it first")
    return x.params


def plain(shape: Sequence[int]) -> str:
    """Return a shape for people to read."""
    return "(" + ", ".join("batch" if extent == BATCH else str(extent) for extent in shape) + ")"
