"""Layers with one output, built anew with a few inputs that bring the accumulator near every threshold.

A failure at one exact accumulator of many inputs goes away with any of them.  Then the layer is not made smaller step
by step, but replaced by a small one whose accumulators are those that matter.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bvverify.kernels.requantize import window_of
from bvverify.model import Conv2d, Linear, Quantize, Weight
from harness.shrink_case import Case, output_of, with_field, with_weight

_MOST_TAPS = 64
"""How many inputs of weight 127 a layer that was built anew may have."""


def one_position(case: Case) -> Iterator[Case]:
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
    plain = case.edited(1, with_field("padding", (0, 0))).edited(1, with_field("stride", (1, 1)))
    plain = plain.edited(1, with_field("dilation", (1, 1)))
    for taps in window.taps(layout).reshape(-1, *layout.shape[:1], *window.kernel):
        yield plain.with_inputs(np.where(taps < 0, output_of(case.model.layers[0]).zero_point, flat[:, taps]))


def at_thresholds(case: Case) -> Iterator[Case]:
    """Build the layer anew with fewer inputs, its scales as they are."""
    retuned = _retuned(case)
    if retuned is not None and retuned.inputs[0].size < case.inputs[0].size:
        yield retuned


def _retuned(case: Case) -> Case | None:
    """Return a layer with one output, a few weights and inputs that bring its accumulator near every threshold.

    Thresholds are estimated from the scales.  Weights are +-127 and +-1, each beside a zero, so that no two of them
    are added in 16 bits.
    """
    layer = case.alone
    predicting = case.models[-1].layers
    if not isinstance(layer, Linear | Conv2d) or len(layer.weight.values) > 1 or case.inputs.dtype == np.float32:
        return None
    source, own = output_of(predicting[0]), predicting[1]
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
    changed = changed.edited(1, lambda layer: with_weight(layer, change))
    if isinstance(layer, Conv2d):
        for name, value in {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}.items():
            changed = changed.edited(1, with_field(name, value))
    return changed


def _requantized(case: Case) -> Case | None:
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


def and_retuned(changed: Case) -> Iterator[Case]:
    """Yield a case whose thresholds were moved, as it is and with inputs at the new thresholds."""
    yield changed
    for retuned in (_retuned(changed), _requantized(changed)):
        if retuned is not None:
            yield retuned
