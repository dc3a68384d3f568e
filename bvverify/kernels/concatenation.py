"""cat: every input is requantized to the output's scale, and copied where nothing changes.

Source: ATen `native/quantized/cpu/TensorShape.cpp`, `kernels/QuantizedOpKernels.cpp` (qcat_nhwc).  Confirmed against
PyTorch 2.13.0's kernels by the tests.
"""

import numpy as np

from bvverify.errors import NotExact
from bvverify.kernels.conversion import Lane, dequantize, quantize, quantize_fused
from bvverify.kernels.float32 import Integers, f32
from bvverify.kernels.tensor import Tensor
from bvverify.model import Cat, QuantParams
from bvverify.network import Gather, Lookup, NetworkBuilder

_CHANNELS = 8
"""Channels that the kernel for channels-last images takes at a time; those of each input that remain are scalar."""


def append_cat(builder: NetworkBuilder, layer: Cat, sources: tuple[Tensor, ...]) -> Tensor:
    """Append the requantized inputs, joined along the layer's axis."""
    shapes = {source.layout.shape[: layer.axis] + source.layout.shape[layer.axis + 1 :] for source in sources}
    if len(shapes) != 1:
        raise NotExact(f"layer {layer.name}: Cat of tensors whose shapes differ beside axis {layer.axis}")
    by_channel = layer.axis == 0 and all(_lies_channels_last(source) for source in sources)
    values, layouts, start = [], [], 0
    for source in sources:
        value, layout = _requantized(builder, layer, source, by_channel=by_channel)
        values.append(value)
        layouts.append(layout + start)
        start += layout.size
    builder.append(Gather(np.concatenate(layouts, axis=layer.axis)), *values)
    return Tensor(builder.value, builder.layout, layer.output, sources[0].channels_last)


def _lies_channels_last(source: Tensor) -> bool:
    """Return whether the image is contiguous as channels last, which one channel or one pixel always is."""
    shape = source.layout.shape
    return len(shape) == 3 and (source.channels_last or shape[0] == 1 or shape[1:] == (1, 1))


def _requantized(builder: NetworkBuilder, layer: Cat, source: Tensor, *, by_channel: bool) -> tuple[int, "Integers"]:
    """Return the value of the requantized input and its logical layout."""
    assert source.params is not None
    if source.params == layer.output:
        return source.value, source.layout
    levels = np.arange(source.params.least, source.params.greatest + 1)
    if not by_channel:
        table = quantize_fused(dequantize(levels, source.params, Lane.SCALAR), layer.output)
        return builder.append(Lookup(source.params.least, table[None, :]), source.value), source.layout
    channels, height, width = source.layout.shape
    tables = {lane: channels_last_table(levels, source.params, layer.output, lane) for lane in Lane}
    vectors = channels // _CHANNELS * _CHANNELS
    rows = [tables[Lane.VECTOR if channel < vectors else Lane.SCALAR] for channel in range(channels)]
    pixels = builder.append(Gather(source.layout.transpose(1, 2, 0).reshape(-1, channels)), source.value)
    builder.append(Lookup(source.params.least, np.stack(rows)), pixels)
    builder.as_image((height, width))
    return builder.value, builder.layout


def channels_last_table(levels: Integers, source: QuantParams, output: QuantParams, lane: Lane) -> Integers:
    """Return the result of each byte in `levels` in one lane of the kernel for channels-last images."""
    reciprocal = np.asarray(f32(1.0 / output.scale)) if lane is Lane.VECTOR else None
    return quantize(dequantize(levels, source, lane), output, lane, reciprocal=reciprocal)
