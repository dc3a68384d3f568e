"""Lowering: a QuantizedModel and a Target become the exact integer program that the target computes."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.errors import NotExact, UnsupportedLayer
from bvverify.kernels.activation import append_activation
from bvverify.kernels.arithmetic import Rounded, append_add, append_mul
from bvverify.kernels.batch_norm import append_batch_norm
from bvverify.kernels.concatenation import append_cat
from bvverify.kernels.conversion import Lane, LeavesInt32, quantize
from bvverify.kernels.pooling import Averaged, append_adaptive_avg_pool, append_avg_pool, append_mean
from bvverify.kernels.quantizer import Quantizer
from bvverify.kernels.target import Engine, Target
from bvverify.kernels.tensor import Tensor
from bvverify.kernels.weighted import Accumulator, append_weighted
from bvverify.model import (
    Activation,
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm2d,
    Cat,
    Contiguous,
    Conv2d,
    Dequantize,
    Hardtanh,
    Layer,
    Linear,
    MaxPool2d,
    Mean,
    Mul,
    Quantize,
    QuantizedModel,
    QuantParams,
    Relu,
    Reshape,
    Slice,
)
from bvverify.network import Gather, IntArray, NetworkBuilder, StepNetwork, Window


@dataclass(frozen=True, eq=False)
class LayerOutput:
    """Where the bytes that a layer puts out are found in the StepNetwork."""

    name: str
    value: int
    layout: IntArray
    """Logical shape of the layer's output (batch left out), holding each element's position in the flattened value."""


@dataclass(frozen=True, eq=False)
class LoweredModel:
    """The exact program of one model on one target.

    The network maps input bytes to output bytes; `quantizer` maps real inputs to input bytes. Where `depends_on_place`,
    some kernel rounds an element by its place in memory: then the network is the model in batches of one.
    """

    target: Target
    quantizer: Quantizer
    network: StepNetwork
    layers: tuple[LayerOutput, ...]
    accumulators: tuple[Accumulator, ...]
    roundings: tuple[Rounded | Averaged, ...] = ()
    """The Steps of layers that round without weights."""
    depends_on_place: bool = False

    @property
    def rows(self) -> int | None:
        """How many inputs a kernel may be given at once to compute what the network says; None for any number."""
        return 1 if self.depends_on_place else None

    def levels(self, inputs: npt.NDArray[Any]) -> IntArray:
        """Return the network's inputs, int64 (n, *input_shape): float32 is quantized, bytes are taken as they are."""
        return self.quantizer.levels(inputs) if inputs.dtype == np.float32 else inputs.astype(np.int64)

    def layer_bytes(self, inputs: IntArray) -> dict[str, IntArray]:
        """Return each layer's output bytes, int64 (n, *shape), for input bytes (n, *input_shape)."""
        values = self.network.evaluate_values(inputs, sorted({layer.value for layer in self.layers}))
        by_number = dict(zip(sorted({layer.value for layer in self.layers}), values, strict=True))
        return {layer.name: by_number[layer.value].reshape(len(inputs), -1)[:, layer.layout] for layer in self.layers}


def lower(model: QuantizedModel, target: Target) -> LoweredModel:
    """Return the exact program that `target` runs for `model`.

    Raises `NotExact` for a layer that the target computes in a way that is not modelled or known to be wrong.
    """
    lowering = _Lowering(model, target)
    for layer, sources in zip(model.layers, model.sources, strict=True):
        lowering.add(layer, sources)
    return lowering.finish()


class _Lowering:
    def __init__(self, model: QuantizedModel, target: Target) -> None:
        self.target = target
        first = next((layer for layer in model.layers if isinstance(layer, Quantize)), None)
        if first is None:
            raise UnsupportedLayer("the model does not quantize its input: expected quantize_per_tensor first")
        _check_scale(first.name, first.output.scale)
        self.quantizer = Quantizer(first.output)
        least = np.full(model.input_shape, first.output.least, dtype=np.int64)
        self.builder = NetworkBuilder(lower=least, upper=least + 255)
        self.tensors = [Tensor(self.builder.value, self.builder.layout)]
        self.layers: list[LayerOutput] = []
        self.accumulators: list[Accumulator] = []
        self.roundings: list[Rounded | Averaged] = []

    def add(self, layer: Layer, numbers: tuple[int, ...]) -> None:
        sources = tuple(self.tensors[number] for number in numbers)
        self._check_sources(layer, sources)
        try:
            # What leaves the finite numbers is refused below by explicit checks.
            with np.errstate(over="ignore", invalid="ignore"):
                result = self._append(layer, sources)
        except LeavesInt32 as error:
            raise NotExact(
                f"layer {layer.name}: a value may leave int32 in units of the output, where the kernel's vector and "
                "scalar code differ"
            ) from error
        self.tensors.append(result)
        if not isinstance(layer, Reshape | Dequantize):
            self.layers.append(LayerOutput(layer.name, result.value, result.layout))

    def finish(self) -> LoweredModel:
        result = self.tensors[-1]
        if result.params is None:
            raise UnsupportedLayer("the model does not quantize its input: expected quantize_per_tensor first")
        self.builder.resume(result.value, result.layout)
        network = self.builder.build()
        depends = any(tensor.depends_on_place for tensor in self.tensors)
        return LoweredModel(
            self.target,
            self.quantizer,
            network,
            tuple(self.layers),
            tuple(self.accumulators),
            tuple(self.roundings),
            depends,
        )

    def _append(self, layer: Layer, sources: tuple[Tensor, ...]) -> Tensor:
        builder, source, target = self.builder, sources[0], self.target
        match layer:
            case Quantize():
                return self._quantize(layer, source)
            case Linear() | Conv2d():
                for scale in layer.weight.scales:
                    _check_scale(layer.name, float(scale))
                result, accumulator = append_weighted(builder, layer, source, target)
                self.accumulators.append(accumulator)
                return result
            case Add():
                return self._rounded(*append_add(builder, layer, sources, target))
            case Mul():
                return self._rounded(*append_mul(builder, layer, sources))
            case Cat():
                return append_cat(builder, layer, sources)
            case Activation():
                return append_activation(builder, layer, source, target)
            case AvgPool2d():
                return self._rounded(*append_avg_pool(builder, layer, source, target))
            case AdaptiveAvgPool2d():
                return self._rounded(*append_adaptive_avg_pool(builder, layer, source, target))
            case Mean():
                return self._rounded(*append_mean(builder, layer, source, target))
            case BatchNorm2d():
                return append_batch_norm(builder, layer, source)
            case _:
                return self._rearranged(layer, source)

    def _rounded(self, result: Tensor, steps: tuple[Rounded | Averaged, ...]) -> Tensor:
        self.roundings += steps
        return result

    def _rearranged(self, layer: Layer, source: Tensor) -> Tensor:
        """Append a layer that keeps its input's quantization."""
        self.builder.resume(source.value, source.layout)
        match layer:
            case MaxPool2d():
                if self.target.engine is Engine.QNNPACK:
                    _refuse_qnnpack_pooling(layer)
                window = Window(layer.kernel, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)
                self.builder.max_pool2d(window)
            case Relu():
                self.builder.clamp(_params(source).zero_point, _params(source).greatest)
            case Hardtanh():
                self._refuse_qnnpack_hardtanh(layer, source)
                self.builder.clamp(*_hardtanh_levels(layer, _params(source)))
            case Reshape():
                self.builder.reshape(layer.shape)
                return replace(source, layout=self.builder.layout, channels_last=False)
            case Slice():
                part = np.take(source.layout, np.arange(layer.start, layer.stop), axis=layer.axis)
                self.builder.append(Gather(part), source.value)
                return replace(source, value=self.builder.value, layout=self.builder.layout, channels_last=False)
            case Contiguous():
                return replace(source, channels_last=layer.channels_last)
            case Dequantize():
                return replace(source, dequantized=True)
            case _:
                raise UnsupportedLayer(f"layer {layer.name}: {type(layer).__name__} is not modelled")
        return replace(source, value=self.builder.value, layout=self.builder.layout)

    def _refuse_qnnpack_hardtanh(self, layer: Hardtanh, source: Tensor) -> None:
        if self.target.engine is Engine.QNNPACK and source.channels_last and source.layout.ndim == 3:
            raise NotExact(
                f"layer {layer.name}: QNNPACK's hardtanh permutes the elements of an image that lies channels last"
            )

    def _quantize(self, layer: Quantize, source: Tensor) -> Tensor:
        if source.params is not None:
            raise UnsupportedLayer(f"layer {layer.name}: a second quantize_per_tensor")
        if layer.output != self.quantizer.params:
            raise UnsupportedLayer(f"layer {layer.name}: the input is quantized in two different ways")
        return replace(source, params=layer.output)

    def _check_sources(self, layer: Layer, sources: tuple[Tensor, ...]) -> None:
        kind = type(layer).__name__
        if any(source.dequantized for source in sources) and not isinstance(layer, Reshape):
            raise UnsupportedLayer(f"layer {layer.name}: {kind} after dequantize; only a reshape may follow")
        if any(source.params is None for source in sources) and not isinstance(layer, Quantize | Reshape):
            raise UnsupportedLayer(f"layer {layer.name}: {kind} before the input is quantized")
        output = getattr(layer, "output", None)
        if isinstance(output, QuantParams):
            _check_scale(layer.name, output.scale)
        signed = [params.signed for params in (output, *(source.params for source in sources)) if params is not None]
        if any(signed) and not isinstance(layer, Quantize):
            self._check_signed(layer, all(signed))

    def _check_signed(self, layer: Layer, everywhere: bool) -> None:
        linear = isinstance(layer, Linear) and self.target.engine is Engine.ONEDNN and everywhere
        if not linear and not isinstance(layer, Relu | Reshape | Slice | Contiguous | Dequantize):
            raise NotExact(
                f"layer {layer.name}: {type(layer).__name__} of qint8 activations is not modelled on {self.target}; "
                "only onednn has linear layers for them"
            )


def _params(tensor: Tensor) -> QuantParams:
    assert tensor.params is not None
    return tensor.params


def _hardtanh_levels(layer: Hardtanh, params: QuantParams) -> tuple[int, int]:
    ends = np.array([layer.lower, layer.upper], dtype=np.float32)
    lower, upper = quantize(ends, params, Lane.SCALAR).tolist()
    return int(lower), int(upper)


def _refuse_qnnpack_pooling(layer: MaxPool2d) -> None:
    if layer.kernel == (1, 1):
        raise NotExact(f"layer {layer.name}: QNNPACK rejects max_pool2d with a 1x1 window; use another target")
    if layer.dilation != (1, 1) and layer.padding != (0, 0):
        # Where a dilated window begins in the padding, it reads the edge pixel, which does not belong to the window.
        raise NotExact(f"layer {layer.name}: QNNPACK computes max_pool2d wrongly with both dilation and padding")


def _check_scale(name: str, scale: float) -> None:
    """Scales must be positive normal float32 numbers, and 255 steps must stay finite: then dequantize keeps the
    order of bytes.
    """
    info = np.finfo(np.float32)
    if not float(info.tiny) <= scale <= float(info.max) / 255:
        raise NotExact(f"layer {name}: scale {scale!r} is not a positive normal float32 number")
