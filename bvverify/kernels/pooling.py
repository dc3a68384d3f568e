"""Averages on bytes: avg_pool2d, adaptive_avg_pool2d, mean.

Every one is an exact integer sum and a rounded division, which kernels write in different ways; ATen has one for images
that lie channels first in memory and another, with vector and scalar channels, for channels last.

Source: ATen `native/quantized/cpu/AveragePool2d.cpp`, `AdaptiveAveragePooling.cpp`, `ReduceOps.cpp`,
`kernels/QuantizedOpKernels.cpp`; QNNPACK `average-pooling.c`, `q8avgpool/*-sse2.c`.  Confirmed against PyTorch
2.13.0's kernels by the tests.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from bvverify.errors import NotExact
from bvverify.kernels.conversion import Lane, quantize, quantize_fused
from bvverify.kernels.float32 import Integers, f32, from_int32, round_to_int32
from bvverify.kernels.requantize import rounded_to_bytes
from bvverify.kernels.target import Engine, Isa, Target
from bvverify.kernels.tensor import Tensor
from bvverify.model import AdaptiveAvgPool2d, AvgPool2d, Mean, QuantParams
from bvverify.network import Affine, Gather, IntArray, NetworkBuilder, Window, step_of_rule
from bvverify.network.build import image_shape

Division = Callable[[Integers], Integers]
"""Maps sums of centred bytes, int64 [C, n], to bytes; non-decreasing."""
_Layer: TypeAlias = AvgPool2d | AdaptiveAvgPool2d | Mean


@dataclass(frozen=True)
class ChannelsFirst:
    """avg_pool2d of an image that lies channels first: a multiplication, the zero point, one rounding."""

    params: QuantParams
    divisor: int

    def __call__(self, total: Integers) -> Integers:
        multiplier = np.asarray(f32(1.0 / self.divisor))
        scaled = from_int32(total) * multiplier + np.float32(self.params.zero_point)
        return np.clip(np.rint(scaled.astype(np.float64)), 0, 255).astype(np.int64)


@dataclass(frozen=True)
class ChannelsLast:
    """avg_pool2d of an image that lies channels last: whole vectors of `lanes` channels, then scalar ones."""

    params: QuantParams
    divisor: int
    lanes: int

    def __call__(self, total: Integers) -> Integers:
        multiplier = np.float32(1) / np.asarray(np.float32(self.divisor))
        vector = np.clip(round_to_int32(from_int32(total) * multiplier) + self.params.zero_point, 0, 255)
        scale = float(np.float32(1) / multiplier)
        scalar = quantize(from_int32(total), QuantParams(scale, self.params.zero_point), Lane.SCALAR)
        return _vector_channels(self.lanes, vector, scalar)


@dataclass(frozen=True)
class QnnpackAverage:
    """QNNPACK's avg_pool2d: the window's full size divides, whatever the caller asked for."""

    params: QuantParams
    divisor: int

    def __call__(self, total: Integers) -> Integers:
        scale = np.asarray(f32(self.params.scale))
        multiplier = scale / (scale * np.float32(self.divisor))
        return rounded_to_bytes(from_int32(total) * multiplier, self.params.zero_point, relu=False)


@dataclass(frozen=True)
class AdaptiveChannelsFirst:
    """adaptive_avg_pool2d of an image that lies channels first: the raw sum times a reciprocal of the window's size."""

    params: QuantParams
    height: int
    width: int

    def __call__(self, total: Integers) -> Integers:
        raw = total + self.params.zero_point * self.height * self.width
        multiplier = np.float32(1) / np.asarray(np.float32(self.height)) / np.float32(self.width)
        return np.rint((from_int32(raw) * multiplier).astype(np.float64)).astype(np.int64)


@dataclass(frozen=True)
class AdaptiveChannelsLast:
    """adaptive_avg_pool2d of an image that lies channels last: blocks of 8 channels, then scalar ones."""

    params: QuantParams
    height: int
    width: int

    def __call__(self, total: Integers) -> Integers:
        multiplier = np.float32(1) / np.asarray(np.float32(self.height * self.width))
        params = QuantParams(float(np.float32(1) / multiplier), self.params.zero_point)
        value = from_int32(total)
        return _vector_channels(8, quantize_fused(value, params), quantize(value, params, Lane.SCALAR))


@dataclass(frozen=True)
class InnermostMean:
    """mean over the innermost axes of a contiguous tensor: the raw sum divided by the number of elements."""

    params: QuantParams
    size: int

    def __call__(self, total: Integers) -> Integers:
        raw = from_int32(total + self.params.zero_point * self.size)
        return np.rint((raw / np.float32(self.size)).astype(np.float64)).astype(np.int64)


Average: TypeAlias = (
    ChannelsFirst | ChannelsLast | QnnpackAverage | AdaptiveChannelsFirst | AdaptiveChannelsLast | InnermostMean
)
"""The divisions that kernels have."""


@dataclass(frozen=True)
class Averaged:
    """A Step by which an average is rounded, for inspection.

    `value` is the number of its result in the StepNetwork; each of `divisions`, which agree, maps its sums to bytes.
    """

    name: str
    value: int
    divisions: tuple[Average, ...]


def append_avg_pool(
    builder: NetworkBuilder, layer: AvgPool2d, source: Tensor, target: Target
) -> tuple[Tensor, tuple[Averaged, ...]]:
    """Append avg_pool2d.  Raises `NotExact` for what an engine rejects or gets wrong."""
    params = _unsigned(layer, source)
    window = Window(layer.kernel, layer.stride, layer.padding, (1, 1), layer.ceil_mode)
    if target.engine is Engine.QNNPACK:
        _refuse_qnnpack(layer)
        return _append_qnnpack(builder, layer, source, window)
    channels, *extent = image_shape(source.layout, "avg_pool2d")
    rows, columns = window.output_size(*extent)
    taps = window.taps(source.layout).reshape(rows * columns, channels, -1)
    divisors = _divisors(layer, window, (extent[0], extent[1]), taps)
    lanes = 8 if target.isa is Isa.AVX2 else 16

    def divide(divisor: int, channels_last: bool) -> Average:
        return ChannelsLast(params, divisor, lanes) if channels_last else ChannelsFirst(params, divisor)

    groups = [(np.flatnonzero(divisors == divisor), int(divisor)) for divisor in np.unique(divisors)]
    parts = [(positions, taps[positions], _possible(source, divide, divisor)) for positions, divisor in groups]
    return _append_averages(builder, layer, source, parts, (rows, columns))


def append_adaptive_avg_pool(
    builder: NetworkBuilder, layer: AdaptiveAvgPool2d, source: Tensor, target: Target
) -> tuple[Tensor, tuple[Averaged, ...]]:
    """Append adaptive_avg_pool2d, whose windows may overlap and differ in size.

    QNNPACK's own form runs where the windows divide the image evenly, and ATen's elsewhere.
    """
    params = _unsigned(layer, source)
    channels, height, width = image_shape(source.layout, "adaptive_avg_pool2d")
    if (height, width) == (1, 1) and layer.size != (1, 1) and channels > 1:
        raise NotExact(
            f"layer {layer.name}: adaptive_avg_pool2d of an image of one pixel to {layer.size} is known to be wrong"
        )
    rows, columns = _adaptive_ranges(height, layer.size[0]), _adaptive_ranges(width, layer.size[1])
    if target.engine is Engine.QNNPACK and height % layer.size[0] == 0 and width % layer.size[1] == 0:
        kernel = height // layer.size[0], width // layer.size[1]
        return _append_qnnpack(builder, layer, source, Window(kernel, kernel))
    kinds: dict[tuple[int, int], list[tuple[int, IntArray]]] = {}
    for index, (row, column) in enumerate((row, column) for row in rows for column in columns):
        patch = source.layout[:, row[0] : row[1], column[0] : column[1]].reshape(channels, -1)
        kinds.setdefault((row[1] - row[0], column[1] - column[0]), []).append((index, patch))

    def divide(size: tuple[int, int], channels_last: bool) -> Average:
        return AdaptiveChannelsLast(params, *size) if channels_last else AdaptiveChannelsFirst(params, *size)

    parts = [
        (
            np.array([index for index, _ in windows]),
            np.stack([patch for _, patch in windows]),
            _possible(source, divide, size),
        )
        for size, windows in kinds.items()
    ]
    return _append_averages(builder, layer, source, parts, (len(rows), len(columns)))


def append_mean(
    builder: NetworkBuilder, layer: Mean, source: Tensor, target: Target
) -> tuple[Tensor, tuple[Averaged, ...]]:
    """Append a mean over innermost axes.  Raises `NotExact` for others, which go through floats."""
    params = _unsigned(layer, source)
    rank = source.layout.ndim
    axes = sorted(axis % rank for axis in layer.axes)
    if target.engine is Engine.QNNPACK and rank == 3 and axes == [1, 2]:
        pooled, steps = _append_qnnpack(builder, layer, source, Window(source.layout.shape[1:]))
        shape = (len(source.layout), 1, 1) if layer.keepdim else (len(source.layout),)
        return replace(pooled, layout=pooled.layout.reshape(shape)), steps
    if axes != list(range(rank - len(axes), rank)) or not axes or source.channels_last or not source.format_is_certain:
        raise NotExact(
            f"layer {layer.name}: this mean goes through floats, whose order of summation is not modelled; average "
            "over the last axes of a contiguous tensor, or use adaptive_avg_pool2d"
        )
    kept = source.layout.shape[: rank - len(axes)]
    taps = source.layout.reshape(1, int(np.prod(kept)), -1)
    part = (np.array([0]), taps, (InnermostMean(params, taps.shape[2]),))
    averaged, steps = _append_averages(builder, layer, source, [part], (1, 1))
    shape = (*kept, *(1,) * len(axes)) if layer.keepdim else kept
    return Tensor(averaged.value, averaged.layout.reshape(shape), params), steps


def _append_qnnpack(
    builder: NetworkBuilder, layer: _Layer, source: Tensor, window: Window
) -> tuple[Tensor, tuple[Averaged, ...]]:
    channels, *extent = image_shape(source.layout, "average pooling")
    assert source.params is not None
    size = window.output_size(*extent)
    taps = window.taps(source.layout).reshape(size[0] * size[1], channels, -1)
    division = QnnpackAverage(source.params, taps.shape[2])
    return _append_averages(builder, layer, source, [(np.arange(len(taps)), taps, (division,))], size)


_Part = tuple[IntArray, IntArray, tuple[Average, ...]]
"""Window positions [p], the elements under their windows [p, C, K] (-1 is padding), and how sums become bytes, in
each way that is possible.
"""


def _append_averages(
    builder: NetworkBuilder, layer: _Layer, source: Tensor, parts: list[_Part], size: tuple[int, int]
) -> tuple[Tensor, tuple[Averaged, ...]]:
    params = source.params
    assert params is not None
    values, positions = [], []
    for places, taps, divisions in parts:
        channels, count = taps.shape[1:]
        builder.resume(source.value, source.layout)
        ones = Affine(np.ones((channels, 1, count), dtype=np.int64), np.full(channels, -params.zero_point * count))
        builder.accumulate(taps, ones, padding=params.zero_point)
        lower, upper = (bound.reshape(-1, channels) for bound in builder.bounds)
        ends = lower.min(axis=0), upper.max(axis=0)
        rule = _agreed(layer, divisions)
        builder.step(step_of_rule(rule, lower=ends[0], upper=ends[1], base=0, top=255))
        values.append(builder.value)
        positions.append(places)
    channels = parts[0][1].shape[1]
    value = values[0] if len(values) == 1 else builder.append(Gather(_in_order(positions, channels)), *values)
    builder.resume(value, np.arange(size[0] * size[1] * channels))
    builder.as_image(size)
    steps = tuple(Averaged(layer.name, step, part[2]) for step, part in zip(values, parts, strict=True))
    return Tensor(value, builder.layout, params, source.channels_last), steps


def _in_order(positions: list[IntArray], channels: int) -> IntArray:
    """Return, for values of rows of channels laid end to end, where each window position's row is: [P, C]."""
    places = np.argsort(np.concatenate(positions))
    return np.asarray(places[:, None] * channels + np.arange(channels))


def _possible(source: Tensor, divide: Callable[..., Average], key: object) -> tuple[Average, ...]:
    """Return the division for the image's order in memory; both where that is not certain."""
    if source.format_is_certain:
        return (divide(key, source.channels_last),)
    return divide(key, False), divide(key, True)


def _agreed(layer: _Layer, divisions: tuple[Average, ...]) -> Division:
    """Return what the divisions compute, which must be the same."""

    def rule(total: Integers) -> Integers:
        first, *others = (division(total) for division in divisions)
        if not all(np.array_equal(first, other) for other in others):
            raise NotExact(f"layer {layer.name}: its order in memory is not certain, and the result depends on it")
        return first

    return rule


def _vector_channels(lanes: int, vector: Integers, scalar: Integers) -> Integers:
    """Return `vector` for the channels that fill whole vectors, `scalar` for the others; both [C, n]."""
    channels = np.arange(len(vector))[:, None]
    return np.where(channels < len(vector) // lanes * lanes, vector, scalar)


def _divisors(layer: AvgPool2d, window: Window, size: tuple[int, int], taps: IntArray) -> IntArray:
    """Return what each window's sum is divided by, int64 [P]."""
    if layer.divisor is not None:
        return np.full(len(taps), layer.divisor)
    if not layer.count_include_pad:
        return np.asarray((taps[:, 0, :] >= 0).sum(axis=1))
    spans = []
    for axis, positions in enumerate(window.output_size(*size)):
        start = np.arange(positions) * window.stride[axis] - window.padding[axis]
        spans.append(np.minimum(start + window.kernel[axis], size[axis] + window.padding[axis]) - start)
    return np.asarray((spans[0][:, None] * spans[1][None, :]).reshape(-1))


def _adaptive_ranges(size: int, count: int) -> list[tuple[int, int]]:
    return [(index * size // count, -(-(index + 1) * size // count)) for index in range(count)]


def _unsigned(layer: _Layer, source: Tensor) -> QuantParams:
    assert source.params is not None
    if source.params.signed:
        raise NotExact(f"layer {layer.name}: {type(layer).__name__} of qint8 is not modelled")
    return source.params


def _refuse_qnnpack(layer: AvgPool2d) -> None:
    if layer.kernel == (1, 1):
        raise NotExact(f"layer {layer.name}: QNNPACK rejects avg_pool2d with a 1x1 window; use another target")
    if layer.ceil_mode:
        raise NotExact(f"layer {layer.name}: QNNPACK's avg_pool2d with ceil_mode is not modelled; use another target")
