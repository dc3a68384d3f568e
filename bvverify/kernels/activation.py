"""Functions of one byte that go through float32: leaky_relu, elu, hardswish, hardsigmoid, sigmoid, tanh.

Source: ATen `native/quantized/cpu/kernels/QuantizedOpKernels.cpp`; QNNPACK's lookup tables (`init.c`, `hardswish.c`).
The exponential functions come from SLEEF in vectors and from the C library in scalars.  Both are known to within a few
units in the last place only, so a table is made if that decides every byte, and refused if not.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bvverify.errors import NotExact
from bvverify.kernels.conversion import Lane, dequantize, quantize
from bvverify.kernels.float32 import Float32, Integers, f32
from bvverify.kernels.lanes import append_elementwise
from bvverify.kernels.target import Engine, Target
from bvverify.kernels.tensor import Tensor
from bvverify.model import Activation, Function, QuantParams
from bvverify.network import Lookup, NetworkBuilder

_LIBRARY_ERROR = 2.0**-20
"""Bound on the relative error of exp, tanh and the float32 arithmetic around them: 8 units in the last place."""
_FIXED_OUTPUT = {
    Function.HARDSIGMOID: QuantParams(1 / 256, 0),
    Function.TANH: QuantParams(2 / 256, 128),
}
"""Quantization of results that the kernel chooses by itself."""
_QNNPACK_SIGMOID = QuantParams(1 / 256, 0)
"""The only quantization of a sigmoid that QNNPACK accepts."""


def append_activation(builder: NetworkBuilder, layer: Activation, source: Tensor, target: Target) -> Tensor:
    """Append the lookup of each byte's result.  Raises `NotExact` where a byte's result is not certain."""
    assert source.params is not None
    least, greatest = source.bounds(builder)
    levels = np.arange(least, greatest + 1)
    tables = {lane: byte_table(layer, source.params, levels, lane, target) for lane in Lane}

    def append(lane: Lane, values: tuple[int, ...]) -> int:
        return builder.append(Lookup(least, tables[lane][None, :]), *values)

    agree = np.array_equal(tables[Lane.VECTOR], tables[Lane.SCALAR])
    if layer.function is Function.ELU and source.channels_last and source.layout.ndim == 3 and not agree:
        raise NotExact(
            f"layer {layer.name}: elu of an image that lies channels last rounds some byte differently in vectors and "
            "scalars, which is not modelled; call .contiguous() before it"
        )
    value, layout = append_elementwise(builder, layer, (source,), append, lanes_agree=agree)
    last = source.channels_last and layer.function is not Function.ELU
    return Tensor(value, layout, layer.output, last, depends_on_place=not agree)


def byte_table(layer: Activation, source: QuantParams, levels: Integers, lane: Lane, target: Target) -> Integers:
    """Return the result of each byte in `levels`, int64 of the same shape, in one lane of the kernel."""
    expected = _FIXED_OUTPUT.get(layer.function, layer.output)
    if target.engine is Engine.QNNPACK and layer.function is Function.SIGMOID:
        expected = _QNNPACK_SIGMOID
    if layer.output != expected:
        raise NotExact(
            f"layer {layer.name}: {layer.function} puts out scale {expected.scale} and zero point "
            f"{expected.zero_point}, the model says {layer.output.scale} and {layer.output.zero_point}"
        )
    if target.engine is Engine.QNNPACK and layer.function is Function.HARDSWISH:
        return _qnnpack_hardswish(dequantize(levels, source, Lane.SCALAR), layer.output)
    value = dequantize(levels, source, lane)
    match layer.function:
        case Function.LEAKY_RELU:
            return quantize(_leaky(value, np.float32(layer.arguments[0])), layer.output, lane)
        case Function.HARDSWISH:
            reciprocal = np.asarray(f32(1.0 / layer.output.scale)) if lane is Lane.VECTOR else None
            return quantize(value * _relu6(value) / np.float32(6), layer.output, lane, reciprocal=reciprocal)
        case Function.HARDSIGMOID:
            return quantize(_relu6(value) / np.float32(6), layer.output, lane)
        case Function.ELU:
            return _certain(layer, value, _elu(layer.arguments[0]), lane)
        case Function.SIGMOID:
            return _certain(layer, value, lambda x: 1 / (1 + np.exp(-x)), lane)
        case Function.TANH:
            return _certain(layer, value, np.tanh, lane)


_Real = npt.NDArray[np.float64]


def _leaky(value: Float32, slope: np.float32) -> Float32:
    return np.where(value > 0, value, value * slope)


def _relu6(value: Float32) -> Float32:
    return np.asarray(np.clip(value + np.float32(3), np.float32(0), np.float32(6)))


def _elu(alpha: float) -> Callable[[_Real], _Real]:
    return lambda x: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


@dataclass(frozen=True)
class _Enclosure:
    """Float32 numbers between which a library's result lies."""

    lower: Float32
    upper: Float32


def _enclosure(layer: Activation, value: Float32, function: Callable[[_Real], _Real]) -> _Enclosure:
    exact = function(value.astype(np.float64))
    error = np.abs(exact) * _LIBRARY_ERROR
    if layer.function is Function.ELU:  # computed as exp(x) - 1, whose error does not shrink with the result
        error = np.where(value > 0, 0.0, error + abs(layer.arguments[0]) * _LIBRARY_ERROR)
    error = np.where(value == 0, 0.0, error)
    return _Enclosure((exact - error).astype(np.float32), (exact + error).astype(np.float32))


def _certain(layer: Activation, value: Float32, function: Callable[[_Real], _Real], lane: Lane) -> Integers:
    enclosure = _enclosure(layer, value, function)
    lower, upper = (quantize(end, layer.output, lane) for end in (enclosure.lower, enclosure.upper))
    if (lower != upper).any():
        raise NotExact(
            f"layer {layer.name}: the result of {layer.function} at {float(value[lower != upper][0])!r} lies too close "
            "to the middle of two bytes for the accuracy of the math library"
        )
    return lower


def _qnnpack_hardswish(value: Float32, output: QuantParams) -> Integers:
    real = value * _relu6(value) / np.float32(6)
    inverse = np.float32(1) / f32(output.scale)
    scaled = inverse * real + np.float32(output.zero_point)
    return np.rint(np.clip(scaled, np.float32(0), np.float32(255))).astype(np.int64)
