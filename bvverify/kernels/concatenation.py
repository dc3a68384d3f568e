"""cat: every input is requantized to the output's scale, and copied where nothing changes.

Source: ATen `native/quantized/cpu/TensorShape.cpp`, `kernels/QuantizedOpKernels.cpp` (qcat_nhwc).  Confirmed against
PyTorch 2.13.0's kernels by the tests.
"""

import numpy as np

from bvverify.errors import NotExact
from bvverify.kernels.conversion import Lane, dequantize, quantize, quantize_fused
from bvverify.kernels.float32 import Integers
from bvverify.kernels.tensor import Tensor
from bvverify.model import Cat, QuantParams
from bvverify.network import Gather, Lookup, NetworkBuilder


def append_cat(builder: NetworkBuilder, layer: Cat, sources: tuple[Tensor, ...]) -> Tensor:
    """Append the requantized inputs, joined along the layer's axis."""
    shapes = {source.layout.shape[: layer.axis] + source.layout.shape[layer.axis + 1 :] for source in sources}
    if len(shapes) != 1:
        raise NotExact(f"layer {layer.name}: Cat of tensors whose shapes differ beside axis {layer.axis}")
    values, layouts, start = [], [], 0
    for source in sources:
        values.append(_requantized(builder, layer, source))
        layouts.append(source.layout + start)
        start += source.layout.size
    builder.append(Gather(np.concatenate(layouts, axis=layer.axis)), *values)
    return Tensor(builder.value, builder.layout, layer.output, sources[0].channels_last)


def _requantized(builder: NetworkBuilder, layer: Cat, source: Tensor) -> int:
    assert source.params is not None
    if source.params == layer.output:
        return source.value
    least, greatest = source.bounds(builder)
    levels = np.arange(least, greatest + 1)
    by_channel = source.channels_last or not source.format_is_certain
    table = cat_table(layer, source.params, levels, channels_last=by_channel)
    return builder.append(Lookup(least, table[None, :]), source.value)


def cat_table(layer: Cat, source: QuantParams, levels: Integers, *, channels_last: bool) -> Integers:
    """Return the result of each byte in `levels`.  Raises `NotExact` where the kernels' lanes differ."""
    table = quantize_fused(dequantize(levels, source, Lane.SCALAR), layer.output)
    lanes = [quantize(dequantize(levels, source, lane), layer.output, lane) for lane in Lane]
    if channels_last and any(not np.array_equal(table, other) for other in lanes):
        raise NotExact(
            f"layer {layer.name}: Cat of images that lie channels last rounds some byte differently in vectors and "
            "scalars, which is not modelled; call .contiguous() before it"
        )
    return table
