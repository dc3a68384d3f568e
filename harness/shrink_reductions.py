"""Reductions: ways to make a failing case smaller or simpler, each a series of candidates, the boldest first."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from bvverify.kernels.quantizer import Quantizer
from bvverify.model import Conv2d, Linear, Quantize, QuantParams
from bvverify.model.quantized import Layer
from harness.shrink_case import (
    Array,
    Case,
    Change,
    Edit,
    Places,
    biases,
    outputs,
    placed,
    taken,
    weighted_layers,
    weights_at,
    with_field,
    with_output,
    with_weight,
)
from harness.shrink_tuning import and_retuned, at_thresholds, one_position

Reduction: TypeAlias = Callable[[Case], Iterator[Case]]


# Fewer of everything.


def _kept(size: int) -> Iterator[Places]:
    """Yield what is left of 0..size-1 after leaving out half, a quarter, ... a single one; something always is.

    Later ones are left out first.
    """
    part = (size + 1) // 2
    while part and size > 1:
        for start in reversed(range(0, size, part)):
            kept = np.delete(np.arange(size), np.arange(start, min(size, start + part)))
            if kept.size:
                yield kept
        part //= 2


def _fewer_rows(case: Case) -> Iterator[Case]:
    for kept in _kept(len(case.inputs)):
        yield Case(case.models, case.inputs[kept])


def _fewer_outputs(case: Case) -> Iterator[Case]:
    layer = case.alone
    if isinstance(layer, Linear) or (isinstance(layer, Conv2d) and layer.groups == 1):
        for kept in _kept(len(layer.weight.values)):
            yield case.edited(1, outputs(kept))


def _fewer_inputs(case: Case) -> Iterator[Case]:
    """Drop features of a linear layer, channels or groups of an image, elements of anything elementwise."""
    layer = case.alone
    if isinstance(layer, Linear):
        for kept in _kept(case.inputs.shape[-1]):
            yield case.with_inputs(case.inputs[..., kept]).edited(1, taken(kept, 1))
    elif isinstance(layer, Conv2d) and layer.groups == 1:
        for kept in _kept(case.inputs.shape[1]):
            yield case.with_inputs(case.inputs[:, kept]).edited(1, taken(kept, 1))
    elif isinstance(layer, Conv2d):
        for kept in _kept(layer.groups):
            yield _groups(case, layer, kept)
    elif case.inputs.ndim > 1 and len(case.model.layers) <= 2:
        for kept in _kept(case.inputs.shape[1]):
            yield case.with_inputs(case.inputs[:, kept])


def _groups(case: Case, layer: Conv2d, kept: Places) -> Case:
    members = [
        np.arange(size).reshape(layer.groups, -1)[kept].reshape(-1)
        for size in (case.inputs.shape[1], len(layer.weight.values))
    ]

    def edit(own: Layer) -> Layer:
        fewer = outputs(members[1])(own)
        assert isinstance(fewer, Conv2d)
        return replace(fewer, groups=len(kept))

    return case.with_inputs(case.inputs[:, members[0]]).edited(1, edit)


def _smaller_images(case: Case) -> Iterator[Case]:
    if case.inputs.ndim == 4 and len(case.model.layers) <= 2:
        for axis in (2, 3):
            for kept in _kept(case.inputs.shape[axis]):
                yield case.with_inputs(np.take(case.inputs, kept, axis=axis))


def _smaller_kernels(case: Case) -> Iterator[Case]:
    layer = case.alone
    if isinstance(layer, Conv2d):
        for axis in (2, 3):
            for kept in _kept(layer.weight.values.shape[axis]):
                yield case.edited(1, taken(kept, axis))


# Simpler geometry.


def _plain_geometry(case: Case) -> Iterator[Case]:
    plain = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "ceil_mode": False, "relu": False}
    for index, layer in enumerate(case.model.layers):
        for name, value in plain.items():
            if getattr(layer, name, value) != value:
                yield case.edited(index, with_field(name, value))


# Simpler numbers.


def _zero_weights(case: Case) -> Iterator[Case]:
    for index, layer in weighted_layers(case):
        nonzero = np.flatnonzero(layer.weight.values)
        for kept in (np.empty(0, dtype=np.intp), *_kept(len(nonzero))):
            if len(kept) < len(nonzero):
                yield case.edited(index, weights_at(np.delete(nonzero, kept), 0))


def _simpler_weights(case: Case) -> Iterator[Case]:
    for index, layer in weighted_layers(case):
        flat = layer.weight.values.reshape(-1)
        for place in np.flatnonzero(flat).tolist():
            for value in _smaller(int(flat[place])):
                yield case.edited(index, weights_at(np.array([place]), value))


def _simpler_bias(case: Case) -> Iterator[Case]:
    for index, layer in weighted_layers(case):
        if layer.bias is None:
            continue
        yield from and_retuned(case.edited(index, with_field("bias", None)))
        for digits in range(1, 5):
            if (_rounded(layer.bias, digits) != layer.bias).any():
                yield from and_retuned(case.edited(index, biases(_rounding(digits))))


def _simpler_scales(case: Case) -> Iterator[Case]:
    """Simplify each scale of all models, each by itself, then in proportion to the first model's."""
    for change in _number_changes():
        for index, layer in enumerate(case.model.layers):
            for own, scales in _scale_edits(layer):
                simple = change(own)
                if (simple == own).all():
                    continue
                yield from and_retuned(case.edited(index, scales(change)))
                if len(case.models) > 1:
                    yield from and_retuned(case.edited(index, scales(_in_proportion(simple / own))))


def _number_changes() -> Iterator[Change]:
    """Yield changes of positive numbers, simplest results first: 1, powers of two, one to six hexadecimal digits."""
    yield np.ones_like
    yield lambda numbers: np.asarray(2.0 ** np.round(np.log2(numbers)))
    yield from (_rounding(digits) for digits in range(1, 7))


def _in_proportion(factor: Array) -> Change:
    return lambda numbers: numbers * factor


def _rounding(digits: int) -> Change:
    return lambda numbers: _rounded(numbers, digits)


def _rounded(numbers: Array, digits: int) -> Array:
    """Return numbers with so many hexadecimal digits after the leading one."""
    mantissa, exponent = np.frexp(numbers)
    unit = 2.0 ** (4 * digits + 1)
    return np.asarray(np.ldexp(np.round(mantissa * unit) / unit, exponent))


def _scale_edits(layer: Layer) -> Iterator[tuple[Array, Callable[[Change], Edit]]]:
    """Yield the scales of a layer, and how to change them."""
    if isinstance(params := getattr(layer, "output", None), QuantParams):
        yield np.array(params.scale), _output_scale
    if isinstance(layer, Linear | Conv2d):
        yield layer.weight.scales, _weight_scales


def _output_scale(change: Change) -> Edit:
    return lambda own: with_output(own, lambda output: replace(output, scale=float(change(np.array(output.scale)))))


def _weight_scales(change: Change) -> Edit:
    return lambda own: with_weight(own, lambda weight: replace(weight, scales=change(weight.scales)))


def _simpler_zero_points(case: Case) -> Iterator[Case]:
    """Move zero points to 0, first alone, then with the bytes that are counted from them."""
    for index, layer in enumerate(case.model.layers):
        output = getattr(layer, "output", None)
        if isinstance(output, QuantParams) and output.zero_point:
            changed = case.edited(index, lambda own: with_output(own, lambda params: replace(params, zero_point=0)))
            yield from and_retuned(changed)
            if index == 0 and case.inputs.dtype != np.float32:
                moved = case.inputs.astype(np.int64) - output.zero_point
                yield Case(changed.models, np.clip(moved, output.least, output.greatest).astype(case.inputs.dtype))
    for index, layer in weighted_layers(case):
        if layer.weight.zero_points.any():
            yield case.edited(
                index, lambda own: with_weight(own, lambda w: replace(w, zero_points=np.zeros_like(w.zero_points)))
            )
        if layer.weight.per_channel and len(layer.weight.scales) == 1:
            yield case.edited(index, lambda own: with_weight(own, lambda w: replace(w, per_channel=False)))


def _bytes_for_floats(case: Case) -> Iterator[Case]:
    first = case.model.layers[0]
    if case.inputs.dtype == np.float32 and isinstance(first, Quantize) and len(case.model.layers) > 1:
        levels = Quantizer(first.output).levels(case.inputs)
        yield Case(case.models, levels.astype(np.int8 if first.output.signed else np.uint8))


def _simpler_inputs(case: Case) -> Iterator[Case]:
    flat = case.inputs.reshape(-1)
    nonzero = np.flatnonzero(flat)
    for kept in (np.empty(0, dtype=np.intp), *_kept(len(nonzero))):
        if len(kept) < len(nonzero):
            yield Case(case.models, placed(case.inputs, np.delete(nonzero, kept), 0))
    for place in nonzero.tolist():
        for value in _smaller(int(flat[place])) if flat.dtype != np.float32 else _shorter(float(flat[place])):
            yield Case(case.models, placed(case.inputs, np.array([place]), value))


def _smaller(value: int) -> Iterator[int]:
    """Yield 1, and numbers of lesser magnitude and the same sign."""
    for candidate in dict.fromkeys(
        (1, int(math.copysign(1, value)), int(value / 2), value - int(math.copysign(1, value)))
    ):
        if 0 < abs(candidate) < abs(value):
            yield candidate


def _shorter(value: float) -> Iterator[float]:
    """Yield nearby numbers with fewer hexadecimal digits."""
    for digits in range(6):
        if (rounded := float(_rounded(np.array(value), digits))) != value:
            yield rounded


REDUCTIONS: tuple[Reduction, ...] = (
    _fewer_rows,
    _bytes_for_floats,
    _fewer_outputs,
    one_position,
    at_thresholds,
    _fewer_inputs,
    _smaller_images,
    _smaller_kernels,
    _plain_geometry,
    _zero_weights,
    _simpler_bias,
    _simpler_scales,
    _simpler_zero_points,
    _simpler_inputs,
    _simpler_weights,
)
