"""Lowering: a QuantizedModel and a Target become the exact integer program that the target computes."""

from dataclasses import dataclass

import numpy as np

from bvverify.errors import NotExact, UnsupportedLayer
from bvverify.kernels import fbgemm, onednn, qnnpack, x86
from bvverify.kernels.accumulate import accumulate_exact, accumulate_pairs, saturating_pairs
from bvverify.kernels.float32 import INT32_MAX, INT32_MIN, Integers
from bvverify.kernels.quantizer import Quantizer
from bvverify.kernels.requantize import Accumulation, Kernel, WeightedLayer, window_of
from bvverify.kernels.target import Engine, Target
from bvverify.model import (
    Conv2d,
    Dequantize,
    Layer,
    Linear,
    MaxPool2d,
    Quantize,
    QuantizedModel,
    QuantParams,
    Relu,
    Reshape,
)
from bvverify.network import IntArray, NetworkBuilder, StepNetwork, Window, step_of_rule
from bvverify.network.build import conv_taps, conv_weight


@dataclass(frozen=True, eq=False)
class LayerOutput:
    """Where the bytes that a layer puts out are found in the StepNetwork."""

    name: str
    value: int
    layout: IntArray
    """Logical shape of the layer's output (batch left out), holding each element's position in the flattened value."""


@dataclass(frozen=True, eq=False)
class Accumulator:
    """Facts about one weighted layer, for inspection."""

    name: str
    lower: IntArray
    """Least accumulator per channel over all inputs, int64 [C]."""
    upper: IntArray
    """Greatest accumulator per channel over all inputs, int64 [C]."""
    saturating_pairs: int
    """Number of pairs of adjacent products whose 16-bit sum can saturate for some input of this layer."""


@dataclass(frozen=True, eq=False)
class LoweredModel:
    """The exact program of one model on one target.

    The network maps input bytes to output bytes; `quantizer` maps real inputs to input bytes.
    """

    target: Target
    quantizer: Quantizer
    network: StepNetwork
    layers: tuple[LayerOutput, ...]
    accumulators: tuple[Accumulator, ...]

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
    for layer in model.layers:
        lowering.add(layer)
    return lowering.finish()


class _Lowering:
    def __init__(self, model: QuantizedModel, target: Target) -> None:
        self.target = target
        self.builder = NetworkBuilder(
            lower=np.zeros(model.input_shape, dtype=np.int64), upper=np.full(model.input_shape, 255)
        )
        self.quantizer: Quantizer | None = None
        self.dequantized = False
        self.activation: QuantParams | None = None
        self.layers: list[LayerOutput] = []
        self.accumulators: list[Accumulator] = []

    def add(self, layer: Layer) -> None:
        if self.dequantized and not isinstance(layer, Reshape):
            raise UnsupportedLayer(
                f"layer {layer.name}: {type(layer).__name__} after dequantize; only a reshape may follow"
            )
        match layer:
            case Reshape():
                self.builder.reshape(layer.shape)
                return
            case Dequantize():
                self._source(layer)
                self.dequantized = True
                return
            case Quantize():
                self._quantize(layer)
            case Linear():
                self._weighted(layer, self.builder.layout.reshape(-1, 1, layer.weight.values.shape[1]))
            case Conv2d():
                self._weighted(layer, conv_taps(self.builder.layout, window=window_of(layer), groups=layer.groups))
            case MaxPool2d():
                self._max_pool(layer)
            case Relu():
                self.builder.clamp(self._source(layer).zero_point, 255)
        self.layers.append(LayerOutput(layer.name, self.builder.value, self.builder.layout))

    def finish(self) -> LoweredModel:
        if self.quantizer is None:
            raise UnsupportedLayer("the model does not quantize its input: expected quantize_per_tensor first")
        return LoweredModel(
            self.target, self.quantizer, self.builder.build(), tuple(self.layers), tuple(self.accumulators)
        )

    def _quantize(self, layer: Quantize) -> None:
        if self.quantizer is not None:
            raise UnsupportedLayer(f"layer {layer.name}: a second quantize_per_tensor")
        _check_scale(layer.name, layer.output.scale)
        self.quantizer, self.activation = Quantizer(layer.output), layer.output

    def _source(self, layer: Layer) -> QuantParams:
        if self.activation is None:
            raise UnsupportedLayer(f"layer {layer.name}: {type(layer).__name__} before the input is quantized")
        return self.activation

    def _max_pool(self, layer: MaxPool2d) -> None:
        self._source(layer)
        if self.target.engine is Engine.QNNPACK:
            _refuse_qnnpack_pooling(layer)
        self.builder.max_pool2d(Window(layer.kernel, layer.stride, layer.padding, layer.dilation, layer.ceil_mode))

    def _weighted(self, layer: WeightedLayer, taps: IntArray) -> None:
        source = self._source(layer)
        for scale in (layer.output.scale, *layer.weight.scales):
            _check_scale(layer.name, float(scale))
        if layer.bias is not None and not np.isfinite(layer.bias).all():
            raise NotExact(f"layer {layer.name}: the bias holds NaN or infinity")
        shape = self.builder.layout.shape
        image = (shape[1], shape[2]) if isinstance(layer, Conv2d) else None
        try:
            with np.errstate(over="raise", invalid="raise", divide="raise"):
                kernel = _kernel(layer, source, self.target, image)
                self._accumulate(layer, kernel, taps, source.zero_point)
                self._requantize(layer, kernel)
        except FloatingPointError as error:
            reason = f"scales and bias lead out of the finite float32 numbers ({error})"
            raise NotExact(f"layer {layer.name} on {self.target}: {reason}") from error
        if isinstance(layer, Conv2d):
            self.builder.as_image(window_of(layer).output_size(shape[1], shape[2]))
        else:
            self.builder.reshape((*shape[:-1], len(layer.weight.values)))
        self.activation = layer.output

    def _accumulate(self, layer: WeightedLayer, kernel: Kernel, taps: IntArray, zero_point: int) -> None:
        weight = _grouped(layer, layer.weight.centered)
        stored = _grouped(layer, layer.weight.values.astype(np.int64))
        saturating = saturating_pairs(self.builder, taps, stored, zero_point)
        if kernel.accumulation is Accumulation.EXACT or not saturating.any():
            accumulate_exact(self.builder, taps, weight, zero_point)
        elif kernel.accumulation is Accumulation.UNORDERED_PAIRS:
            raise NotExact(
                f"layer {layer.name}: the order in which {self.target} pairs saturating products of {taps.shape[2]} "
                "inputs is not modelled; use another target"
            )
        elif layer.weight.zero_points.any():
            raise NotExact(
                f"layer {layer.name}: weights with a zero point on a saturating accumulator are not modelled"
            )
        else:
            accumulate_pairs(self.builder, taps, weight, zero_point, saturating)
        lower, upper = (bound.reshape(-1, len(layer.weight.values)) for bound in self.builder.bounds)
        self.accumulators.append(Accumulator(layer.name, lower.min(axis=0), upper.max(axis=0), int(saturating.sum())))

    def _requantize(self, layer: WeightedLayer, kernel: Kernel) -> None:
        lower, upper = self.accumulators[-1].lower, self.accumulators[-1].upper
        # Kernels sum raw bytes first and correct for zero points later; neither sum may leave int32.
        raw = 255 * np.abs(layer.weight.values.reshape(len(layer.weight.values), -1).astype(np.int64)).sum(axis=1)
        if lower.min() < INT32_MIN or max(upper.max(), raw.max()) > INT32_MAX:
            raise NotExact(f"layer {layer.name}: the accumulator may leave int32, where the kernel wraps around")
        if (reason := kernel.requantization.refusal(lower, upper)) is not None:
            raise NotExact(f"layer {layer.name} on {self.target}: {reason}")
        step = step_of_rule(kernel.requantization.bytes_of, lower=lower, upper=upper, base=0, top=255)
        self.builder.step(step)


def _kernel(layer: WeightedLayer, source: QuantParams, target: Target, image: tuple[int, int] | None) -> Kernel:
    """Return what `target` runs for `layer`; `image` is the height and width of a convolution's input."""
    match target.engine:
        case Engine.FBGEMM:
            return fbgemm.kernel(layer, source, target.isa)
        case Engine.X86:
            return x86.kernel(layer, source, target.isa, image)
        case Engine.ONEDNN:
            return onednn.kernel(layer, source, target.isa, image)
        case Engine.QNNPACK:
            return qnnpack.kernel(layer, source)


def _refuse_qnnpack_pooling(layer: MaxPool2d) -> None:
    if layer.kernel == (1, 1):
        raise NotExact(f"layer {layer.name}: QNNPACK rejects max_pool2d with a 1x1 window; use another target")
    if layer.dilation != (1, 1) and layer.padding != (0, 0):
        # Where a dilated window begins in the padding, it reads the edge pixel, which does not belong to the window.
        raise NotExact(f"layer {layer.name}: QNNPACK computes max_pool2d wrongly with both dilation and padding")


def _grouped(layer: WeightedLayer, values: Integers) -> IntArray:
    return conv_weight(values, groups=layer.groups) if isinstance(layer, Conv2d) else values[None]


def _check_scale(name: str, scale: float) -> None:
    """Scales must be positive normal float32 numbers, and 255 steps must stay finite: then dequantize keeps the
    order of bytes.
    """
    info = np.finfo(np.float32)
    if not float(info.tiny) <= scale <= float(info.max) / 255:
        raise NotExact(f"layer {name}: scale {scale!r} is not a positive normal float32 number")
