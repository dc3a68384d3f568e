"""Layers with weights: linear and conv2d, on whichever library the target runs them with."""

from dataclasses import dataclass

import numpy as np

from bvverify.errors import NotExact
from bvverify.kernels import fbgemm, onednn, qnnpack, x86
from bvverify.kernels.accumulate import accumulate_exact, accumulate_pairs, saturating_pairs
from bvverify.kernels.float32 import INT32_MAX, INT32_MIN, Integers
from bvverify.kernels.requantize import Accumulation, Kernel, WeightedLayer, window_of
from bvverify.kernels.target import Engine, Target
from bvverify.kernels.tensor import Tensor
from bvverify.model import Conv2d, QuantParams
from bvverify.network import IntArray, NetworkBuilder, step_of_rule
from bvverify.network.build import conv_taps, conv_weight


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


def append_weighted(
    builder: NetworkBuilder, layer: WeightedLayer, source: Tensor, target: Target
) -> tuple[Tensor, Accumulator]:
    """Append accumulators and requantization of a linear layer or a convolution."""
    assert source.params is not None
    if layer.bias is not None and not np.isfinite(layer.bias).all():
        raise NotExact(f"layer {layer.name}: the bias holds NaN or infinity")
    builder.resume(source.value, source.layout)
    shape = source.layout.shape
    if isinstance(layer, Conv2d):
        image = (shape[1], shape[2])
        taps = conv_taps(source.layout, window=window_of(layer), groups=layer.groups)
    else:
        image = None
        taps = source.layout.reshape(-1, 1, layer.weight.values.shape[1])
    try:
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            kernel = _kernel(layer, source.params, target, image)
            accumulator = _accumulate(builder, layer, kernel, target, taps, source.params)
            _requantize(builder, layer, kernel, target, accumulator)
    except FloatingPointError as error:
        reason = f"scales and bias lead out of the finite float32 numbers ({error})"
        raise NotExact(f"layer {layer.name} on {target}: {reason}") from error
    if isinstance(layer, Conv2d):
        builder.as_image(window_of(layer).output_size(shape[1], shape[2]))
    else:
        builder.reshape((*shape[:-1], len(layer.weight.values)))
    return Tensor(builder.value, builder.layout, layer.output, isinstance(layer, Conv2d)), accumulator


def _accumulate(
    builder: NetworkBuilder, layer: WeightedLayer, kernel: Kernel, target: Target, taps: IntArray, source: QuantParams
) -> Accumulator:
    weight = _grouped(layer, layer.weight.centered)
    stored = _grouped(layer, layer.weight.values.astype(np.int64))
    raw = -source.least
    saturating = saturating_pairs(builder, taps, stored, source.zero_point, raw)
    if kernel.accumulation is Accumulation.EXACT or not saturating.any():
        accumulate_exact(builder, taps, weight, source.zero_point)
    elif kernel.accumulation is Accumulation.UNORDERED_PAIRS:
        raise NotExact(
            f"layer {layer.name}: the order in which {target} pairs saturating products of {taps.shape[2]} "
            "inputs is not modelled; use another target"
        )
    elif layer.weight.zero_points.any():
        raise NotExact(f"layer {layer.name}: weights with a zero point on a saturating accumulator are not modelled")
    else:
        accumulate_pairs(builder, taps, weight, source.zero_point, raw, saturating)
    lower, upper = (bound.reshape(-1, len(layer.weight.values)) for bound in builder.bounds)
    return Accumulator(layer.name, lower.min(axis=0), upper.max(axis=0), int(saturating.sum()))


def _requantize(
    builder: NetworkBuilder, layer: WeightedLayer, kernel: Kernel, target: Target, accumulator: Accumulator
) -> None:
    lower, upper = accumulator.lower, accumulator.upper
    # Kernels sum raw bytes first and correct for zero points later; neither sum may leave int32.
    raw = 255 * np.abs(layer.weight.values.reshape(len(layer.weight.values), -1).astype(np.int64)).sum(axis=1)
    if lower.min() < INT32_MIN or max(upper.max(), raw.max()) > INT32_MAX:
        raise NotExact(f"layer {layer.name}: the accumulator may leave int32, where the kernel wraps around")
    if (reason := kernel.requantization.refusal(lower, upper)) is not None:
        raise NotExact(f"layer {layer.name} on {target}: {reason}")
    least = layer.output.least
    rule = kernel.requantization.bytes_of
    builder.step(step_of_rule(rule, lower=lower, upper=upper, base=least, top=least + 255))


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


def _grouped(layer: WeightedLayer, values: Integers) -> IntArray:
    return conv_weight(values, groups=layer.groups) if isinstance(layer, Conv2d) else values[None]
