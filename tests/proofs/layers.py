"""Small layers with few output levels, on which every pipeline is proved in a moment."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bvverify.kernels import fbgemm, onednn, qnnpack, x86
from bvverify.kernels.lower import lower
from bvverify.kernels.target import Engine, Target
from bvverify.model import Conv2d, Linear, Quantize, QuantizedModel, QuantParams, Weight
from bvverify.network import Step
from bvverify.proofs import Obligation, Proof, Store, channel_obligation, prove

SOURCE = QuantParams(0.0173, 3)


def linear(*, per_channel: bool, bias: bool = True, relu: bool = False, seed: int = 0) -> Linear:
    """Return a layer of 2 inputs and 2 outputs with some six output levels around its zero point."""
    rng = np.random.default_rng(seed)
    channels = 2 if per_channel else 1
    scales = rng.uniform(0.01, 0.03, channels)
    weight = Weight(
        rng.integers(64, 128, (2, 2)).astype(np.int8), scales, np.zeros(channels, dtype=np.int64), per_channel
    )
    values = rng.uniform(-1, 1, 2).astype(np.float32) if bias else None
    return Linear("fc", weight, values, relu, QuantParams(3.31, 5))


def unit(layer: Linear | Conv2d) -> np.float32:
    """Return the scale of the first channel's accumulator."""
    return np.float32(SOURCE.scale) * np.float32(layer.weight.scales[0])


def tied(layer: Linear | Conv2d) -> Linear | Conv2d:
    """Return `layer` with 64 accumulator steps of the first channel to a byte, so that some are half-way."""
    return replace(layer, output=QuantParams(64 * float(unit(layer)), 5))


def convolution(*, per_channel: bool, bias: bool = True, relu: bool = False, seed: int = 0) -> Conv2d:
    """Return the same as a convolution of one pixel."""
    layer = linear(per_channel=per_channel, bias=bias, relu=relu, seed=seed)
    weight = replace(layer.weight, values=layer.weight.values[:, :, None, None])
    return Conv2d("conv", weight, layer.bias, relu, layer.output, (1, 1), (0, 0), (1, 1), 1)


def model(layer: Linear | Conv2d) -> QuantizedModel:
    """Return `layer` behind a quantization of the input."""
    shape = (2,) if isinstance(layer, Linear) else (2, 1, 1)
    return QuantizedModel(shape, (Quantize("quantize", SOURCE), layer))


def staircase_of(layer: Linear | Conv2d, target: Target) -> tuple[Step, list[int], list[int]]:
    """Return the Step that lowering makes of `layer`, and the least and greatest accumulator of each channel."""
    lowered = lower(model(layer), target)
    (step,) = (node.operation for node in lowered.network.nodes if isinstance(node.operation, Step))
    (bounds,) = lowered.accumulators
    return step, bounds.lower.tolist(), bounds.upper.tolist()


def obligation(
    layer: Linear | Conv2d,
    target: Target,
    channel: int = 0,
    *,
    step: Step | None = None,
    pipeline_of: Linear | Conv2d | None = None,
) -> Obligation:
    """Return the obligation of one channel, or one that is false: with another `step`, or for another layer's
    pipeline than the one that was lowered.
    """
    own, lower_ends, upper_ends = staircase_of(layer, target)
    ends = lower_ends[channel], upper_ends[channel]
    return channel_obligation(pipeline_of or layer, channel, SOURCE, target, step or own, *ends)


def bytes_of(layer: Linear | Conv2d, target: Target, accumulators: np.ndarray) -> np.ndarray:
    """Return the bytes that the numpy pipeline of lowering gives to accumulators [n], as [channels, n]."""
    match target.engine:
        case Engine.FBGEMM:
            kernel = fbgemm.kernel(layer, SOURCE, target.isa)
        case Engine.ONEDNN:
            kernel = onednn.kernel(layer, SOURCE, target.isa, (1, 1))
        case Engine.X86:
            kernel = x86.kernel(layer, SOURCE, target.isa, (1, 1))
        case Engine.QNNPACK:
            kernel = qnnpack.kernel(layer, SOURCE)
    return kernel.requantization.bytes_of(np.broadcast_to(accumulators, (len(layer.weight.values), accumulators.size)))


def computed(layer: Linear | Conv2d, target: Target, channel: int, accumulator: int) -> int:
    """Return the byte that the numpy pipeline of lowering gives to one accumulator."""
    return int(bytes_of(layer, target, np.array([accumulator]))[channel, 0])


def proved(obligations: list[Obligation] | Iterator[Obligation], **options: object) -> list[Proof]:
    """Return the answers of bitwuzla."""
    with Store() as store:
        return list(prove(obligations, store, seconds=300, **options))
