"""Inputs that are not constructed for a threshold: random and extreme ones, and all bytes for simple layers."""

from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.kernels.quantizer import Quantizer
from bvverify.model import Add, Mul, QuantParams
from bvverify.model.quantized import Layer, Shape

Bytes = npt.NDArray[np.uint8 | np.int8]
_EXTRA_ROWS = 32
_MOST_ROWS = 8192


def as_bytes(levels: npt.NDArray[Any], params: QuantParams) -> Bytes:
    """Return levels in the numpy type of a tensor's bytes."""
    return levels.astype(np.int8) if params.signed else levels.astype(np.uint8)


def whole_inputs(params: QuantParams, shape: Shape, count: int, *, seed: int) -> npt.NDArray[np.float32]:
    """Return real inputs (count, *shape): half of them random over the range of bytes and a little beyond, half of
    them extreme, elements at either end in varying proportion.
    """
    generator = np.random.default_rng(seed)
    low, high = ((end - params.zero_point) * params.scale for end in (params.least, params.greatest))
    margin = (high - low) / 20
    random = generator.uniform(low - margin, high + margin, size=(count - count // 2, *shape))
    share = generator.random((count // 2, *(1,) * len(shape)))
    corners = np.where(generator.random((count // 2, *shape)) < share, high, low)
    return np.concatenate([random, corners]).astype(np.float32)


def layer_inputs(layer: Layer, params: QuantParams, shape: Shape, *, seed: int) -> Bytes:
    """Return bytes (n, *shape) for a layer without weights: every byte at every element, random and extreme ones.

    For two joined sources of an elementwise layer, all pairs of bytes occur where the layer's size allows.
    """
    generator = np.random.default_rng(seed)
    size = int(np.prod(shape))
    if isinstance(layer, Add | Mul):
        half = size // 2
        rows = min(_MOST_ROWS, -(-(2**16) // half))
        pairs = (np.arange(rows * half) % 2**16).reshape(rows, half)
        every = np.concatenate([pairs // 256, pairs % 256], axis=1)
    else:
        every = (np.arange(256)[:, None] + generator.integers(0, 256, size=size)) % 256
    random = generator.integers(0, 256, size=(_EXTRA_ROWS, size))
    corners = np.where(generator.random((_EXTRA_ROWS, size)) < generator.random((_EXTRA_ROWS, 1)), 255, 0)
    levels = np.concatenate([every, random, corners]) + params.least
    return as_bytes(levels.reshape(-1, *shape), params)


def quantize_inputs(params: QuantParams) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return, for levels least + 1 to greatest, the least float32 that is quantized to at least that level, and the
    float32 just below: (255,) each.
    """
    quantizer = Quantizer(params)
    levels = np.arange(params.least + 1, params.greatest + 1)
    below = np.full(len(levels), _place(np.float32(-3e38)))
    reached = np.full(len(levels), _place(np.float32(3e38)))
    while (reached - below > 1).any():
        middle = below + (reached - below) // 2
        hit = quantizer.levels(_at(middle)) >= levels
        reached, below = np.where(hit, middle, reached), np.where(hit, below, middle)
    return _at(reached), _at(below)


def _place(value: np.float32) -> int:
    """Return the place of a float32 in the order of all float32 numbers; 0 is at 0."""
    bits = int(np.abs(value).view(np.int32))
    return -bits if value < 0 else bits


def _at(places: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    sizes: npt.NDArray[np.float32] = np.abs(places).astype(np.int32).view(np.float32)
    return np.where(places < 0, -sizes, sizes)
