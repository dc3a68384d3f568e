"""Arithmetic of two tensors: add, add_relu, mul, mul_relu.

Source: ATen `native/quantized/cpu/kernels/QuantizedOpKernels.cpp` (qadd, qmul), `BinaryOps.cpp`; QNNPACK `add.c`,
`q8vadd/sse2.c`.  Confirmed against PyTorch 2.13.0's kernels by the tests.
"""

import math
from dataclasses import dataclass

import numpy as np

from bvverify.errors import NotExact
from bvverify.kernels.conversion import Lane, LeavesInt32, dequantize, quantize
from bvverify.kernels.float32 import Float32, Integers, f32, saturate_int16, saturate_uint8
from bvverify.kernels.lanes import append_elementwise
from bvverify.kernels.target import Engine, Target
from bvverify.kernels.tensor import Tensor
from bvverify.model import Add, Mul, QuantParams
from bvverify.network import Affine, Gather, Lookup, NetworkBuilder, Product, step_of_rule
from bvverify.network.thresholds import Rule

_Bounds = tuple[tuple[int, int], tuple[int, int]]
"""Least and greatest byte of both tensors."""


@dataclass(frozen=True)
class Rounded:
    """A Step by which an addition or a multiplication is rounded, for inspection.

    `value` is the number of its result in the StepNetwork; it stands for what each of `lanes` computes.
    """

    name: str
    value: int
    lanes: tuple[Lane, ...]


def append_add(
    builder: NetworkBuilder, layer: Add, sources: tuple[Tensor, ...], target: Target
) -> tuple[Tensor, tuple[Rounded, ...]]:
    """Append the sum of two tensors."""
    left, right = _same_shape(layer, sources)
    bounds = left.bounds(builder), right.bounds(builder)
    kernel: AtenAdd | QnnpackAdd
    if target.engine is Engine.QNNPACK:
        kernel = QnnpackAdd.of(layer, _params(left), _params(right))
        agree = True
    else:
        kernel = AtenAdd(layer, _params(left), _params(right))
        agree = kernel.lanes_agree(bounds)
    steps = []

    def append(lane: Lane, values: tuple[int, ...]) -> int:
        step = kernel.append(builder, lane, values, bounds)
        steps.append(Rounded(layer.name, step, tuple(Lane) if agree else (lane,)))
        return _reshaped(builder, builder.shape_of(values[0]))

    value, layout = append_elementwise(builder, layer, (left, right), append, lanes_agree=agree)
    return Tensor(value, layout, layer.output, left.channels_last, depends_on_place=not agree), tuple(steps)


def append_mul(builder: NetworkBuilder, layer: Mul, sources: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Rounded, ...]]:
    """Append the product of two tensors: exact int32 products, one float32 multiplication, one rounding."""
    left, right = _same_shape(layer, sources)
    rule = mul_rule(layer, _params(left), _params(right))
    steps = []

    def append(lane: Lane, values: tuple[int, ...]) -> int:
        centered = [
            builder.append(Affine(np.ones((1, 1, 1), dtype=np.int64), np.array([-_params(tensor).zero_point])), value)
            for tensor, value in zip((left, right), values, strict=True)
        ]
        builder.append(Product(), *centered)
        lower, upper = (np.array([end]) for end in (builder.bounds[0].min(), builder.bounds[1].max()))
        greatest = max(abs(int(lower[0])), abs(int(upper[0])))
        if not greatest * float(_multiplier(layer, _params(left), _params(right))) < 2.0**31:
            raise LeavesInt32
        builder.step(step_of_rule(rule, lower=lower, upper=upper, base=0, top=255))
        steps.append(Rounded(layer.name, builder.value, tuple(Lane)))
        return _reshaped(builder, builder.shape_of(values[0]))

    value, layout = append_elementwise(builder, layer, (left, right), append, lanes_agree=True)
    return Tensor(value, layout, layer.output, left.channels_last), tuple(steps)


def mul_rule(layer: Mul, left: QuantParams, right: QuantParams) -> Rule:
    """Return the bytes of exact products of centred bytes."""
    multiplier = _multiplier(layer, left, right)

    def rule(product: Integers) -> Integers:
        rounded = np.rint((product.astype(np.float32) * multiplier).astype(np.float64)).astype(np.int64)
        levels = saturate_uint8(rounded + layer.output.zero_point)
        return np.maximum(levels, layer.output.zero_point) if layer.relu else levels

    return rule


@dataclass(frozen=True)
class AtenAdd:
    """ATen's add: both bytes are dequantized, added in float32 and quantized, differently in either lane.

    Rounding a sum is monotone in the exact sum of the two float32 numbers.  Scaled by a power of two, these are
    integers: two lookups, an integer sum and a staircase are the kernel, exactly.
    """

    layer: Add
    left: QuantParams
    right: QuantParams

    def bytes_of_sum(self, total: Float32, lane: Lane) -> Integers:
        """Return the bytes, int64, of float32 sums."""
        value = np.maximum(total, np.float32(0)) if self.layer.relu else total
        return quantize(value, self.layer.output, lane)

    def bytes_of(self, left: Integers, right: Integers, lane: Lane) -> Integers:
        """Return the result, int64, for bytes of both tensors, broadcast together."""
        total = dequantize(left, self.left, lane) + dequantize(right, self.right, lane)
        return self.bytes_of_sum(total, lane)

    def lanes_agree(self, bounds: _Bounds) -> bool:
        """Return whether vectors and scalars give the same result for all pairs of bytes in the bounds."""
        left, right = (np.arange(least, greatest + 1) for least, greatest in bounds)
        vector, scalar = (self.bytes_of(left[:, None], right[None, :], lane) for lane in Lane)
        return np.array_equal(vector, scalar)

    def append(self, builder: NetworkBuilder, lane: Lane, values: tuple[int, ...], bounds: _Bounds) -> int:
        """Append one lane's computation on two values of one shape; return the number of its Step's result."""
        levels = [np.arange(least, greatest + 1) for least, greatest in bounds]
        reals = [dequantize(own, params, lane) for own, params in zip(levels, (self.left, self.right), strict=True)]
        exponent = _common_exponent(np.concatenate(reals))
        if (np.abs(np.concatenate(reals)) >= math.ldexp(1.0, 58 + exponent)).any():
            raise NotExact(f"layer {self.layer.name}: add of two scales that are too far apart to be modelled")
        tables = [
            np.array([int(math.ldexp(float(number), -exponent)) for number in real], dtype=np.int64) for real in reals
        ]
        looked_up = [
            builder.append(Lookup(least, table[None, :]), value)
            for (least, _), table, value in zip(bounds, tables, values, strict=True)
        ]

        def rule(total: Integers) -> Integers:
            return self.bytes_of_sum(np.ldexp(total.astype(np.float32), exponent), lane)

        return _append_sum(builder, looked_up, (1, 1), 0, rule)


@dataclass(frozen=True)
class QnnpackAdd:
    """QNNPACK's add: both bytes times a 22-bit integer, an arithmetic shift with rounding, saturation."""

    layer: Add
    multipliers: tuple[int, int]
    shift: int
    offset: int

    @classmethod
    def of(cls, layer: Add, left: QuantParams, right: QuantParams) -> "QnnpackAdd":
        """Return the fixed-point form.  Raises `NotExact` for ratios of scales that QNNPACK rejects or gets wrong."""
        ratios = [float(f32(source.scale) / f32(layer.output.scale)) for source in (left, right)]
        if not 2.0**-10 <= max(ratios) < 2.0**8 or min(ratios) < 2.0**-14:
            raise NotExact(
                f"layer {layer.name}: QNNPACK's add is not modelled for ratios {ratios[0]:.3g} and {ratios[1]:.3g} of "
                "input to output scale; use another target"
            )
        if layer.relu and layer.output.zero_point == 255:
            raise NotExact(f"layer {layer.name}: QNNPACK rejects add_relu with zero point 255; use another target")
        shift = 21 - (math.frexp(max(ratios))[1] - 1)
        first, second = (int(np.rint(math.ldexp(ratio, shift))) for ratio in ratios)
        return cls(layer, (first, second), shift, -(first * left.zero_point + second * right.zero_point))

    def bytes_of_sum(self, total: Integers) -> Integers:
        """Return the bytes, int64, of weighted sums of the raw bytes."""
        mask = (1 << self.shift) - 1
        remainder = (total & mask) - (total < 0)
        shifted = (total >> self.shift) + (remainder > (mask >> 1))
        zero_point = self.layer.output.zero_point
        result = saturate_uint8(saturate_int16(saturate_int16(shifted) + zero_point))
        return np.maximum(result, zero_point) if self.layer.relu else result

    def append(self, builder: NetworkBuilder, lane: Lane, values: tuple[int, ...], bounds: _Bounds) -> int:
        """Append the computation on two values of one shape; return the number of its Step's result."""
        return _append_sum(builder, list(values), self.multipliers, self.offset, self.bytes_of_sum)


def _append_sum(builder: NetworkBuilder, values: list[int], weights: tuple[int, int], offset: int, rule: Rule) -> int:
    """Append rule(weights[0] * values[0] + weights[1] * values[1] + offset), elementwise."""
    size = int(np.prod(builder.shape_of(values[0])))
    pairs = builder.append(Gather(np.arange(2 * size).reshape(2, size).T), *values)
    builder.append(Affine(np.array([[weights]]), np.array([offset])), pairs)
    lower, upper = (np.array([end]) for end in (builder.bounds[0].min(), builder.bounds[1].max()))
    builder.step(step_of_rule(rule, lower=lower, upper=upper, base=0, top=255))
    return builder.value


def _reshaped(builder: NetworkBuilder, shape: tuple[int, ...]) -> int:
    """Give the current value another shape; return the number of the result."""
    if builder.shape_of(builder.value) == shape:
        return builder.value
    return builder.append(Gather(np.arange(int(np.prod(shape))).reshape(shape)), builder.value)


def _common_exponent(reals: Float32) -> int:
    """Return the greatest e for which all numbers are integer multiples of 2**e; 0 if all are zero."""
    mantissas, exponents = np.frexp(reals[reals != 0].astype(np.float64))
    whole = np.abs(mantissas * 2.0**24).astype(np.int64)  # float32 has 24 bits
    if not whole.size:
        return 0
    trailing = np.round(np.log2((whole & -whole).astype(np.float64))).astype(np.int64)
    return int((exponents - 24 + trailing).min())


def _multiplier(layer: Mul, left: QuantParams, right: QuantParams) -> Float32:
    return np.asarray(f32(left.scale) * f32(right.scale) * (np.float32(1) / f32(layer.output.scale)))


def _params(tensor: Tensor) -> QuantParams:
    assert tensor.params is not None
    return tensor.params


def _same_shape(layer: Add | Mul, sources: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    left, right = sources
    if left.layout.shape != right.layout.shape:
        raise NotExact(
            f"layer {layer.name}: {type(layer).__name__} of shapes {left.layout.shape} and {right.layout.shape}; "
            "broadcasting is not modelled"
        )
    return left, right
