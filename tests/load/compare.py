"""Equality of QuantizedModels, which hold arrays, up to the names of their layers."""

from dataclasses import fields

import numpy as np

from bvverify.model import QuantizedModel, Weight
from bvverify.model.quantized import Layer


def assert_same(first: QuantizedModel, second: QuantizedModel, *, names: bool = True) -> None:
    """Assert that two models have the same shapes, layers and numbers, bit for bit."""
    assert first.input_shape == second.input_shape
    assert [type(layer) for layer in first.layers] == [type(layer) for layer in second.layers]
    for one, other in zip(first.layers, second.layers, strict=True):
        _assert_same_layer(one, other, names=names)


def _assert_same_layer(one: Layer, other: Layer, *, names: bool) -> None:
    for field in fields(one):
        if field.name != "name" or names:
            assert _bits(getattr(one, field.name)) == _bits(getattr(other, field.name)), f"{one.name}.{field.name}"


def _bits(value: object) -> object:
    """Return something that is equal only for equal types, shapes and bits."""
    if isinstance(value, Weight):
        return [_bits(getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    return value
