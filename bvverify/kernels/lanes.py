"""Elementwise kernels whose result depends on the place of an element in memory.

ATen's loops take whole blocks of 64 elements as vectors and the remainder one by one, with other roundings.  What an
element meets therefore depends on its place in the tensor, and on the batch: a lowered model is the model on one
image.  Where both codes agree on all bytes that can occur, the place does not matter and nothing is split.
"""

from collections.abc import Callable

import numpy as np

from bvverify.errors import NotExact
from bvverify.kernels.conversion import Lane
from bvverify.kernels.tensor import Tensor
from bvverify.model import Layer
from bvverify.network import Gather, IntArray, NetworkBuilder

BLOCK = 64
"""Elements in two AVX2 vectors of bytes; these kernels have no AVX512 form of their own."""
_MOST_ELEMENTS = 32768
"""Longer loops are cut among threads, and every piece has a remainder of its own."""

AppendLane = Callable[[Lane, tuple[int, ...]], int]
"""Appends the computation of one lane on values of one shape; returns the number of its result, of that shape."""


def append_elementwise(
    builder: NetworkBuilder, layer: Layer, sources: tuple[Tensor, ...], append: AppendLane, *, lanes_agree: bool
) -> tuple[int, IntArray]:
    """Append an elementwise layer on tensors of one logical shape; return the result's value and logical layout.

    Raises `NotExact` where the lanes matter and the order in memory is not known.
    """
    first = sources[0]
    if lanes_agree:
        aligned = [first.value]
        for other in sources[1:]:
            shapes = {builder.shape_of(first.value), builder.shape_of(other.value)}
            same = len(shapes) == 1 and np.array_equal(other.layout, first.layout)
            aligned.append(other.value if same else _aligned(builder, other, first))
        return append(Lane.SCALAR, tuple(aligned)), first.layout
    order = first.in_memory_order
    _check_order(layer, sources, order.size)
    vectors = order.size // BLOCK * BLOCK
    parts = []
    for lane, part in ((Lane.VECTOR, slice(0, vectors)), (Lane.SCALAR, slice(vectors, order.size))):
        if order[part].size:
            values = tuple(
                builder.append(Gather(source.in_memory_order[part][:, None]), source.value) for source in sources
            )
            parts.append(append(lane, values))
    joined = parts[0] if len(parts) == 1 else builder.append(Gather(np.arange(order.size)[:, None]), *parts)
    layout = np.empty(order.size, dtype=np.int64)
    layout[_logical_order(first)] = np.arange(order.size)
    return joined, layout.reshape(first.layout.shape)


def _aligned(builder: NetworkBuilder, tensor: Tensor, model: Tensor) -> int:
    """Return a value that holds the elements of `tensor` where the value of `model` holds those of `model`."""
    indices = np.empty(model.layout.size, dtype=np.int64)
    indices[model.layout.reshape(-1)] = tensor.layout.reshape(-1)
    return builder.append(Gather(indices.reshape(builder.shape_of(model.value))), tensor.value)


def _logical_order(tensor: Tensor) -> IntArray:
    """Return, for each element in memory order, its place in logical order."""
    places = Tensor(0, np.arange(tensor.layout.size).reshape(tensor.layout.shape), None, tensor.channels_last)
    return places.in_memory_order


def _check_order(layer: Layer, sources: tuple[Tensor, ...], size: int) -> None:
    kind = type(layer).__name__
    if len({source.channels_last for source in sources if source.layout.ndim == 3}) > 1:
        raise NotExact(
            f"layer {layer.name}: {kind} of tensors that lie differently in memory, whose bytes depend on the place; "
            "call .contiguous() on both"
        )
    if size > _MOST_ELEMENTS:
        raise NotExact(
            f"layer {layer.name}: {kind} of {size} elements, whose bytes depend on the number of threads beyond "
            f"{_MOST_ELEMENTS}"
        )
