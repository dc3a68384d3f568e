"""Shrinking of a failing case: smaller models and simpler numbers, as long as the failure stays.

Every reduction is applied alike to all models of a case, so that what they share stays shared.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bvverify.kernels.quantizer import Quantizer
from bvverify.kernels.requantize import window_of
from bvverify.model import Conv2d, Linear, Quantize, QuantizedModel, QuantParams, Weight
from bvverify.model.quantized import Layer

Array: TypeAlias = npt.NDArray[Any]
Fails: TypeAlias = Callable[[tuple[QuantizedModel, ...], Array], bool]
Edit: TypeAlias = Callable[[Layer], Layer]
Change: TypeAlias = Callable[[Array], Array]
Places: TypeAlias = npt.NDArray[np.intp]

_ATTEMPTS = 4000
"""How often a failure is tried, at most; shrinking stops there."""
_MOST_TAPS = 64
"""How many inputs of weight 127 a layer that was built anew may have."""


def shrink(
    models: tuple[QuantizedModel, ...], inputs: Array, fails: Fails, *, attempts: int = _ATTEMPTS
) -> tuple[tuple[QuantizedModel, ...], Array]:
    """Return a smaller case for which `fails` still holds: models and inputs (n, *input_shape).

    `models` is one model, or several of one architecture; `inputs` are float32, or bytes for the first layer to put
    out.  A candidate for which `fails` raises is not taken.
    """
    search = _Search(_Case(models, inputs), fails, attempts)
    while search.pass_over():
        pass
    return search.case.models, search.case.inputs


@dataclass(frozen=True, eq=False)
class _Case:
    models: tuple[QuantizedModel, ...]
    inputs: Array

    @property
    def model(self) -> QuantizedModel:
        return self.models[0]

    @property
    def alone(self) -> Layer | None:
        """The layer of a case that is a Quantize followed by one layer that reads it."""
        chain = self.model.sources == ((0,), (1,))
        return self.model.layers[1] if chain and isinstance(self.model.layers[0], Quantize) else None

    def edited(self, index: int, edit: Edit) -> "_Case":
        """Return the case with one layer of every model changed."""
        models = tuple(
            replace(m, layers=(*m.layers[:index], edit(m.layers[index]), *m.layers[index + 1 :])) for m in self.models
        )
        return _Case(models, self.inputs)

    def with_inputs(self, inputs: Array) -> "_Case":
        """Return the case with other inputs, to whose shape the models are adjusted."""
        return _Case(tuple(replace(m, input_shape=inputs.shape[1:]) for m in self.models), inputs)


class _Search:
    def __init__(self, case: _Case, fails: Fails, attempts: int) -> None:
        self.case, self._fails, self.attempts = case, fails, attempts

    def pass_over(self) -> bool:
        """Try all reductions, each as long as some candidate of it still fails; return whether any was taken."""
        before = self.case
        for reduction in _REDUCTIONS:
            while self._step(reduction):
                pass
        return self.case is not before

    def _step(self, reduction: "Reduction") -> bool:
        for candidate in reduction(self.case):
            if not self.attempts:
                return False
            self.attempts -= 1
            if self._holds(candidate):
                self.case = candidate
                return True
        return False

    def _holds(self, candidate: _Case) -> bool:
        try:
            return self._fails(candidate.models, candidate.inputs)
        except Exception:  # a candidate may be no valid model at all
            return False


Reduction: TypeAlias = Callable[[_Case], Iterator[_Case]]


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


def _fewer_rows(case: _Case) -> Iterator[_Case]:
    for kept in _kept(len(case.inputs)):
        yield _Case(case.models, case.inputs[kept])


def _fewer_outputs(case: _Case) -> Iterator[_Case]:
    layer = case.alone
    if isinstance(layer, Linear) or (isinstance(layer, Conv2d) and layer.groups == 1):
        for kept in _kept(len(layer.weight.values)):
            yield case.edited(1, _outputs(kept))


def _fewer_inputs(case: _Case) -> Iterator[_Case]:
    """Drop features of a linear layer, channels or groups of an image, elements of anything elementwise."""
    layer = case.alone
    if isinstance(layer, Linear):
        for kept in _kept(case.inputs.shape[-1]):
            yield case.with_inputs(case.inputs[..., kept]).edited(1, _taken(kept, 1))
    elif isinstance(layer, Conv2d) and layer.groups == 1:
        for kept in _kept(case.inputs.shape[1]):
            yield case.with_inputs(case.inputs[:, kept]).edited(1, _taken(kept, 1))
    elif isinstance(layer, Conv2d):
        for kept in _kept(layer.groups):
            yield _groups(case, layer, kept)
    elif case.inputs.ndim > 1 and len(case.model.layers) <= 2:
        for kept in _kept(case.inputs.shape[1]):
            yield case.with_inputs(case.inputs[:, kept])


def _groups(case: _Case, layer: Conv2d, kept: Places) -> _Case:
    members = [
        np.arange(size).reshape(layer.groups, -1)[kept].reshape(-1)
        for size in (case.inputs.shape[1], len(layer.weight.values))
    ]

    def edit(own: Layer) -> Layer:
        fewer = _outputs(members[1])(own)
        assert isinstance(fewer, Conv2d)
        return replace(fewer, groups=len(kept))

    return case.with_inputs(case.inputs[:, members[0]]).edited(1, edit)


def _smaller_images(case: _Case) -> Iterator[_Case]:
    if case.inputs.ndim == 4 and len(case.model.layers) <= 2:
        for axis in (2, 3):
            for kept in _kept(case.inputs.shape[axis]):
                yield case.with_inputs(np.take(case.inputs, kept, axis=axis))


def _smaller_kernels(case: _Case) -> Iterator[_Case]:
    layer = case.alone
    if isinstance(layer, Conv2d):
        for axis in (2, 3):
            for kept in _kept(layer.weight.values.shape[axis]):
                yield case.edited(1, _taken(kept, axis))


# One accumulator.


def _one_position(case: _Case) -> Iterator[_Case]:
    """Cut the image to what a convolution reads at one position, padding included, so that there is one output."""
    layer = case.alone
    if not isinstance(layer, Conv2d) or case.inputs.dtype == np.float32:
        return
    window = window_of(layer)
    positions = window.output_size(*case.inputs.shape[2:])
    if positions == (1, 1):
        return
    layout = np.arange(int(np.prod(case.model.input_shape))).reshape(case.model.input_shape)
    flat = case.inputs.reshape(len(case.inputs), -1)
    plain = case.edited(1, _with("padding", (0, 0))).edited(1, _with("stride", (1, 1)))
    plain = plain.edited(1, _with("dilation", (1, 1)))
    for taps in window.taps(layout).reshape(-1, *layout.shape[:1], *window.kernel):
        yield plain.with_inputs(np.where(taps < 0, _output(case.model.layers[0]).zero_point, flat[:, taps]))


def _at_thresholds(case: _Case) -> Iterator[_Case]:
    retuned = _retuned(case)
    if retuned is not None and retuned.inputs[0].size < case.inputs[0].size:
        yield retuned


def _retuned(case: _Case) -> _Case | None:
    """Return a layer with one output, a few weights and inputs that bring its accumulator near every threshold.

    Thresholds are estimated from the scales.  Weights are +-127 and +-1, each beside a zero, so that no two of them
    are added in 16 bits.
    """
    layer = case.alone
    predicting = case.models[-1].layers
    if not isinstance(layer, Linear | Conv2d) or len(layer.weight.values) > 1 or case.inputs.dtype == np.float32:
        return None
    source, own = _output(predicting[0]), predicting[1]
    assert isinstance(own, Linear | Conv2d)
    unit = source.scale * float(own.weight.scales[0])
    bias = 0.0 if own.bias is None else float(own.bias[0])
    levels = np.arange(own.output.least + 1, own.output.greatest + 1)
    middle = ((levels - own.output.zero_point - 0.5) * own.output.scale - bias) / unit
    up = source.zero_point - source.least < 128
    room = source.greatest - source.zero_point if up else source.zero_point - source.least
    near = np.abs(middle) < _MOST_TAPS * 127 * room
    wanted = (np.rint(middle[near])[:, None] + np.arange(-2, 3)).astype(np.int64).reshape(-1)
    wanted = wanted[np.argsort(np.abs(wanted), kind="stable")]
    if not wanted.size:
        return None
    # Per sign: some inputs of weight 127, one of weight 1; inputs count from the zero point, in one direction.
    whole, rest = np.divmod(np.abs(wanted), 127)
    taps = int(-(-whole.max() // room))
    filled = np.clip(whole[:, None] - room * np.arange(taps), 0, room)
    counts = np.concatenate([filled, rest[:, None]], axis=1)
    positive = (wanted > 0)[:, None]
    spent = np.concatenate([np.where(positive, counts, 0), np.where(positive, 0, counts)], axis=1)
    sizes = np.append(np.full(taps, 127), 1) * (1 if up else -1)
    spread = (len(wanted), 2 * spent.shape[1])
    inputs = np.full(spread, source.zero_point)
    inputs[:, ::2] += spent if up else -spent
    weights = np.zeros((1, spread[1]), dtype=np.int8)
    weights[0, ::2] = np.concatenate([sizes, -sizes])
    image = (1, 1) if isinstance(layer, Conv2d) else ()

    def change(weight: Weight) -> Weight:
        return replace(weight, values=weights.reshape(1, -1, *image), zero_points=np.zeros_like(weight.zero_points))

    changed = case.with_inputs(inputs.reshape(*spread, *image).astype(case.inputs.dtype))
    changed = changed.edited(1, lambda layer: _with_weight(layer, change))
    if isinstance(layer, Conv2d):
        for name, value in {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}.items():
            changed = changed.edited(1, _with(name, value))
    return changed


def _requantized(case: _Case) -> _Case | None:
    """Return a Quantize layer alone on single real numbers near every threshold."""
    (layer, *others) = case.models[-1].layers
    if others or not isinstance(layer, Quantize) or case.inputs.dtype != np.float32:
        return None
    levels = np.arange(layer.output.least + 1, layer.output.greatest + 1)
    middle = ((levels - layer.output.zero_point - 0.5) * layer.output.scale).astype(np.float32)
    near = [middle]
    for end in (np.float32(-np.inf), np.float32(np.inf)):
        near.append(np.nextafter(middle, end))
        near.append(np.nextafter(near[-1], end))
    rows = np.concatenate(near)
    rows = rows[np.argsort(np.abs(rows), kind="stable")]
    return case.with_inputs(rows.reshape(-1, *(1,) * (case.inputs.ndim - 1)))


def _and_retuned(changed: _Case) -> Iterator[_Case]:
    """Yield a case whose thresholds were moved, as it is and with inputs at the new thresholds."""
    yield changed
    for retuned in (_retuned(changed), _requantized(changed)):
        if retuned is not None:
            yield retuned


# Simpler geometry.


def _plain_geometry(case: _Case) -> Iterator[_Case]:
    plain = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "ceil_mode": False, "relu": False}
    for index, layer in enumerate(case.model.layers):
        for name, value in plain.items():
            if getattr(layer, name, value) != value:
                yield case.edited(index, _with(name, value))


# Simpler numbers.


def _zero_weights(case: _Case) -> Iterator[_Case]:
    for index, layer in _weighted(case):
        nonzero = np.flatnonzero(layer.weight.values)
        for kept in (np.empty(0, dtype=np.intp), *_kept(len(nonzero))):
            if len(kept) < len(nonzero):
                yield case.edited(index, _weights_at(np.delete(nonzero, kept), 0))


def _simpler_weights(case: _Case) -> Iterator[_Case]:
    for index, layer in _weighted(case):
        flat = layer.weight.values.reshape(-1)
        for place in np.flatnonzero(flat).tolist():
            for value in _smaller(int(flat[place])):
                yield case.edited(index, _weights_at(np.array([place]), value))


def _simpler_bias(case: _Case) -> Iterator[_Case]:
    for index, layer in _weighted(case):
        if layer.bias is None:
            continue
        yield from _and_retuned(case.edited(index, _with("bias", None)))
        for digits in range(1, 5):
            if (_rounded(layer.bias, digits) != layer.bias).any():
                yield from _and_retuned(case.edited(index, _biases(_rounding(digits))))


def _simpler_scales(case: _Case) -> Iterator[_Case]:
    """Simplify each scale of all models, each by itself, then in proportion to the first model's."""
    for change in _number_changes():
        for index, layer in enumerate(case.model.layers):
            for own, scales in _scale_edits(layer):
                simple = change(own)
                if (simple == own).all():
                    continue
                yield from _and_retuned(case.edited(index, scales(change)))
                if len(case.models) > 1:
                    yield from _and_retuned(case.edited(index, scales(_in_proportion(simple / own))))


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
    return lambda own: _with_output(own, lambda output: replace(output, scale=float(change(np.array(output.scale)))))


def _weight_scales(change: Change) -> Edit:
    return lambda own: _with_weight(own, lambda weight: replace(weight, scales=change(weight.scales)))


def _simpler_zero_points(case: _Case) -> Iterator[_Case]:
    """Move zero points to 0, first alone, then with the bytes that are counted from them."""
    for index, layer in enumerate(case.model.layers):
        output = getattr(layer, "output", None)
        if isinstance(output, QuantParams) and output.zero_point:
            changed = case.edited(index, lambda own: _with_output(own, lambda params: replace(params, zero_point=0)))
            yield from _and_retuned(changed)
            if index == 0 and case.inputs.dtype != np.float32:
                moved = case.inputs.astype(np.int64) - output.zero_point
                yield _Case(changed.models, np.clip(moved, output.least, output.greatest).astype(case.inputs.dtype))
    for index, layer in _weighted(case):
        if layer.weight.zero_points.any():
            yield case.edited(
                index, lambda own: _with_weight(own, lambda w: replace(w, zero_points=np.zeros_like(w.zero_points)))
            )
        if layer.weight.per_channel and len(layer.weight.scales) == 1:
            yield case.edited(index, lambda own: _with_weight(own, lambda w: replace(w, per_channel=False)))


def _bytes_for_floats(case: _Case) -> Iterator[_Case]:
    first = case.model.layers[0]
    if case.inputs.dtype == np.float32 and isinstance(first, Quantize) and len(case.model.layers) > 1:
        levels = Quantizer(first.output).levels(case.inputs)
        yield _Case(case.models, levels.astype(np.int8 if first.output.signed else np.uint8))


def _simpler_inputs(case: _Case) -> Iterator[_Case]:
    flat = case.inputs.reshape(-1)
    nonzero = np.flatnonzero(flat)
    for kept in (np.empty(0, dtype=np.intp), *_kept(len(nonzero))):
        if len(kept) < len(nonzero):
            yield _Case(case.models, _placed(case.inputs, np.delete(nonzero, kept), 0))
    for place in nonzero.tolist():
        for value in _smaller(int(flat[place])) if flat.dtype != np.float32 else _shorter(float(flat[place])):
            yield _Case(case.models, _placed(case.inputs, np.array([place]), value))


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


# Edits of one layer.


def _with(name: str, value: object) -> Edit:
    def edit(layer: Any) -> Layer:
        changed: Layer = replace(layer, **{name: value})
        return changed

    return edit


def _output(layer: Layer) -> QuantParams:
    assert isinstance(layer, Quantize)
    return layer.output


def _with_output(layer: Any, change: Callable[[QuantParams], QuantParams]) -> Layer:
    changed: Layer = replace(layer, output=change(layer.output))
    return changed


def _with_weight(layer: Any, change: Callable[[Weight], Weight]) -> Layer:
    changed: Layer = replace(layer, weight=change(layer.weight))
    return changed


def _taken(kept: Places, axis: int) -> Edit:
    def change(weight: Weight) -> Weight:
        return replace(weight, values=np.ascontiguousarray(np.take(weight.values, kept, axis=axis)))

    return lambda layer: _with_weight(layer, change)


def _weights_at(places: Places, value: int) -> Edit:
    def change(weight: Weight) -> Weight:
        return replace(weight, values=_placed(weight.values, places, value))

    return lambda layer: _with_weight(layer, change)


def _outputs(kept: Places) -> Edit:
    def change(weight: Weight) -> Weight:
        scales, zero_points = weight.scales, weight.zero_points
        if weight.per_channel:
            scales, zero_points = scales[kept], zero_points[kept]
        return replace(weight, values=weight.values[kept], scales=scales, zero_points=zero_points)

    def edit(layer: Layer) -> Layer:
        return _biases(lambda bias: bias[kept])(_with_weight(layer, change))

    return edit


def _biases(change: Change) -> Edit:
    def edit(layer: Layer) -> Layer:
        assert isinstance(layer, Linear | Conv2d)
        return layer if layer.bias is None else replace(layer, bias=change(layer.bias).astype(np.float32))

    return edit


def _placed(values: Array, places: Places, value: float) -> Array:
    changed = values.copy()
    changed.reshape(-1)[places] = value
    return changed


def _weighted(case: _Case) -> list[tuple[int, Linear | Conv2d]]:
    return [(i, layer) for i, layer in enumerate(case.model.layers) if isinstance(layer, Linear | Conv2d)]


_REDUCTIONS: tuple[Reduction, ...] = (
    _fewer_rows,
    _bytes_for_floats,
    _fewer_outputs,
    _one_position,
    _at_thresholds,
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
