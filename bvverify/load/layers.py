"""The layers that TorchScript models may hold: what each operation does to the tensors that stand for its inputs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bvverify.errors import InputError, UnsupportedLayer, UsageError
from bvverify.load.abstract import BATCH, Activation, plain, quantized
from bvverify.model import Activation as ActivationLayer
from bvverify.model import (
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm2d,
    Cat,
    Contiguous,
    Conv2d,
    Dequantize,
    Function,
    Hardtanh,
    Layer,
    Linear,
    MaxPool2d,
    Mean,
    Mul,
    Quantize,
    QuantParams,
    Relu,
    Reshape,
    Slice,
    Weight,
)
from bvverify.model.quantized import Shape
from bvverify.network import Window
from bvverify.torchscript.interpreter import Site

Handler = Callable[..., Any]

_DTYPES = {13: False, torch.quint8: False, 12: True, torch.qint8: True}
"""torch.quint8 and torch.qint8, also by the numbers that TorchScript writes for them, and whether they are signed."""
_CHANNELS_LAST = 2
"""The number by which TorchScript writes torch.channels_last."""


def _quantize(site: Site, x: Activation, scale: Any, zero_point: Any, dtype: Any) -> Activation:
    if dtype not in _DTYPES:
        raise UnsupportedLayer(f"layer {site.label}: quantize_per_tensor to {dtype}; activations must be 8 bits wide")
    if x.params is not None:
        raise UnsupportedLayer(f"layer {site.label}: quantize_per_tensor of a quantized tensor")
    params = QuantParams(float(scale), int(zero_point), _DTYPES[dtype])
    return x.after(Quantize(site.label, params), x.shape, params)


def _linear(relu: bool) -> Handler:
    def handle(site: Site, x: Activation, packed: Any, scale: Any, zero_point: Any) -> Activation:
        weight, bias = torch.ops.quantized.linear_unpack(packed)
        if len(x.shape) < 2 or x.shape[-1] != weight.shape[1]:
            raise InputError(
                f"layer {site.label}: takes {weight.shape[1]} features, got a tensor of shape {plain(x.shape)}"
            )
        x.graph.use(site.label, weight, float(scale))
        output = QuantParams(float(scale), int(zero_point), quantized(site, x).signed)
        layer = Linear(site.label, _weight(weight), _bias(bias), relu, output)
        return x.after(layer, (*x.shape[:-1], weight.shape[0]), output)

    return handle


def _conv2d(relu: bool) -> Handler:
    def handle(site: Site, x: Activation, packed: Any, scale: Any, zero_point: Any) -> Activation:
        weight, bias = torch.ops.quantized.conv2d_unpack(packed)
        geometry = {
            key: tuple(getattr(torch.ops.quantized, f"conv2d_{key}")(packed))
            for key in ("stride", "padding", "dilation")
        }
        groups = torch.ops.quantized.conv2d_groups(packed)
        quantized(site, x)
        x.graph.use(site.label, weight, float(scale))
        _check_channels(site, x, weight.shape[1] * groups)
        output = _params(scale, zero_point)
        layer = Conv2d(site.label, _weight(weight), _bias(bias), relu, output, groups=groups, **geometry)
        window = Window((weight.shape[2], weight.shape[3]), layer.stride, layer.padding, layer.dilation)
        return x.after(layer, (x.shape[0], weight.shape[0], *_positions(site, window, x.shape)), output)

    return handle


def _max_pool2d(
    site: Site, x: Activation, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Activation:
    _check_image(site, x)
    window = Window(_pair(kernel), _pair(stride or kernel), _pair(padding), _pair(dilation), ceil_mode)
    layer = MaxPool2d(site.label, window.kernel, window.stride, window.padding, window.dilation, ceil_mode)
    return x.after(layer, (*x.shape[:2], *_positions(site, window, x.shape)), quantized(site, x))


def _avg_pool2d(
    site: Site, x: Activation, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, counted: bool, divisor: Any
) -> Activation:
    _check_image(site, x)
    window = Window(_pair(kernel), _pair(stride or kernel), _pair(padding), (1, 1), ceil_mode)
    layer = AvgPool2d(site.label, window.kernel, window.stride, window.padding, ceil_mode, counted, divisor)
    return x.after(layer, (*x.shape[:2], *_positions(site, window, x.shape)), quantized(site, x))


def _adaptive_avg_pool2d(site: Site, x: Activation, size: Any) -> Activation:
    _check_image(site, x)
    layer = AdaptiveAvgPool2d(site.label, _pair(size))
    return x.after(layer, (*x.shape[:2], *layer.size), quantized(site, x))


def _mean(site: Site, x: Activation, axes: Any, keepdim: bool, dtype: Any) -> Activation:
    rank = len(x.shape)
    places = sorted(axis % rank for axis in (axes if isinstance(axes, list) else [axes]))
    if not places or places[0] == 0 or dtype is not None:
        raise UnsupportedLayer(f"layer {site.label}: mean over a batch, or to another type; name the axes of one image")
    kept = [1 if index in places else extent for index, extent in enumerate(x.shape) if keepdim or index not in places]
    return x.after(Mean(site.label, tuple(axis - 1 for axis in places), keepdim), tuple(kept), quantized(site, x))


def _batch_norm2d(relu: bool) -> Handler:
    def handle(
        site: Site, x: Activation, weight: Any, bias: Any, mean: Any, variance: Any, epsilon: Any, *output: Any
    ) -> Activation:
        if weight is None or bias is None:
            raise UnsupportedLayer(f"layer {site.label}: batch_norm2d without weight and bias is not modelled")
        _check_channels(site, x, len(weight))
        quantized(site, x)
        params = _params(*output)
        affine, moments = (_float32(weight), _float32(bias)), (_float32(mean), _float32(variance))
        layer = BatchNorm2d(site.label, *affine, *moments, float(epsilon), relu, params)
        return x.after(layer, x.shape, params)

    return handle


def _two(kind: type[Add] | type[Mul], relu: bool) -> Handler:
    def handle(site: Site, x: Activation, y: Any, scale: Any, zero_point: Any) -> Activation:
        if not isinstance(y, Activation) or x.shape != y.shape:
            other = plain(y.shape) if isinstance(y, Activation) else type(y).__name__
            raise UnsupportedLayer(
                f"layer {site.label}: {site.kind} of {plain(x.shape)} and {other}; both must be tensors of one shape"
            )
        for operand in (x, y):
            quantized(site, operand)
        output = _params(scale, zero_point)
        return x.after(kind(site.label, relu, output), x.shape, output, others=[y])

    return handle


def _cat(site: Site, tensors: Sequence[Activation], axis: int, *output: Any) -> Activation:
    first, *others = tensors
    params = [quantized(site, tensor) for tensor in tensors]
    place = axis % len(first.shape)
    rest = {tensor.shape[:place] + tensor.shape[place + 1 :] for tensor in tensors}
    if place == 0 or len(rest) != 1:
        shapes = ", ".join(plain(tensor.shape) for tensor in tensors)
        raise UnsupportedLayer(f"layer {site.label}: cat of {shapes} along axis {axis} does not fit or mixes images")
    chosen = _params(*output) if output else params[0]
    extent = sum(tensor.shape[place] for tensor in tensors)
    shape = (*first.shape[:place], extent, *first.shape[place + 1 :])
    return first.after(Cat(site.label, place - 1, chosen), shape, chosen, others=others)


def _activation(function: Function, fixed: QuantParams | None = None) -> Handler:
    """Return the handler of a function of bytes: its kernel chooses the output's quantization, or the caller does."""

    def handle(site: Site, x: Activation, *output: Any) -> Activation:
        return _function(site, x, function, (), _params(*output) if output else fixed)

    return handle


def _leaky_relu(site: Site, x: Activation, slope: Any, in_place: bool = False, *output: Any) -> Activation:
    result = _function(site, x, Function.LEAKY_RELU, (float(slope),), _params(*output) if output else None)
    return x.overwrite(result) if in_place else result


def _elu(site: Site, x: Activation, scale: Any, zero_point: Any, alpha: Any, *scales: Any) -> Activation:
    if any(float(factor) != 1 for factor in scales):
        raise UnsupportedLayer(f"layer {site.label}: elu with scales {scales} is not modelled, only with 1")
    return _function(site, x, Function.ELU, (float(alpha),), _params(scale, zero_point))


def _function(
    site: Site, x: Activation, function: Function, arguments: tuple[float, ...], output: QuantParams | None
) -> Activation:
    params = output or quantized(site, x)
    quantized(site, x)
    return x.after(ActivationLayer(site.label, function, arguments, params), x.shape, params)


def _same(make: Callable[..., Layer]) -> Handler:
    """Return the handler of a layer that keeps shape and quantization; `make` gets its name and its arguments."""

    def handle(site: Site, x: Activation, *arguments: Any) -> Activation:
        return x.after(make(site, *arguments), x.shape, quantized(site, x))

    return handle


def _in_place(handler: Handler) -> Handler:
    return lambda site, x, *arguments: x.overwrite(handler(site, x, *arguments))


def _relu6(site: Site, x: Activation, in_place: bool) -> Activation:
    result: Activation = _CLAMP(site, x, 0.0, 6.0)
    return x.overwrite(result) if in_place else result


def _hardtanh(site: Site, lower: Any, upper: Any) -> Hardtanh:
    if lower is None or upper is None:
        raise UnsupportedLayer(f"layer {site.label}: {site.kind} with one end is not modelled; give both")
    return Hardtanh(site.label, float(lower), float(upper))


_CLAMP = _same(_hardtanh)


def _contiguous(site: Site, x: Activation, memory_format: Any) -> Activation:
    if x.params is None:
        return x
    last = memory_format in (_CHANNELS_LAST, torch.channels_last)
    whole = replace(x, strided=False)
    return whole if x.strided and not last else whole.view(Contiguous(site.label, last), x.shape)


def _slice(site: Site, x: Activation, axis: int, start: Any, stop: Any, step: int) -> Activation:
    place = axis % len(x.shape)
    quantized(site, x)
    if place == 0 and start in (0, None) and (stop is None or stop >= BATCH) and step == 1:
        return x  # x[:, ...] is written as a slice of everything first
    if place == 0 or step != 1:
        raise UnsupportedLayer(f"layer {site.label}: a slice of the batch, or with steps, is not modelled")
    first, last, _ = slice(start, stop).indices(x.shape[place])
    shape = (*x.shape[:place], max(0, last - first), *x.shape[place + 1 :])
    return replace(x.view(Slice(site.label, place - 1, first, max(first, last)), shape), strided=True)


def _dequantize(site: Site, x: Activation) -> Activation:
    quantized(site, x)
    return x.after(Dequantize(site.label), x.shape, None)


def _flatten(site: Site, x: Activation, start: int, end: int) -> Activation:
    rank = len(x.shape)
    first, last = start % rank, end % rank
    return _reshape(site, x, [*x.shape[:first], int(np.prod(x.shape[first : last + 1])), *x.shape[last + 1 :]])


def _reshape(site: Site, x: Activation, shape: Sequence[int]) -> Activation:
    size = int(np.prod(x.shape))
    known = int(np.prod([extent for extent in shape if extent != -1]))
    full = tuple(size // known if extent == -1 else int(extent) for extent in shape) if known else ()
    if int(np.prod(full)) != size or not full or full[0] != BATCH:
        raise UnsupportedLayer(
            f"layer {site.label}: reshape of {plain(x.shape)} to {plain(full or tuple(shape))} mixes images of a "
            "batch or does not fit"
        )
    return x.view(Reshape(site.label, full[1:]), full)


def _dropout(site: Site, x: Activation, probability: float, train: bool) -> Activation:
    if train:
        raise UnsupportedLayer(f"layer {site.label}: dropout that is active; call .eval() before scripting")
    return x


def _size(site: Site, x: Activation, axis: int | None = None) -> list[int] | int:
    return list(x.shape) if axis is None else x.shape[axis]


QUERIES: dict[str, Handler] = {
    "aten::size": _size,
    "aten::dim": lambda site, x: len(x.shape),
}
"""Operations that ask about a tensor."""
LAYERS: dict[str, Handler] = {
    "aten::quantize_per_tensor": _quantize,
    "quantized::linear": _linear(relu=False),
    "quantized::linear_relu": _linear(relu=True),
    "quantized::conv2d": _conv2d(relu=False),
    "quantized::conv2d_relu": _conv2d(relu=True),
    "quantized::add": _two(Add, relu=False),
    "quantized::add_relu": _two(Add, relu=True),
    "quantized::mul": _two(Mul, relu=False),
    "quantized::mul_relu": _two(Mul, relu=True),
    "quantized::cat": _cat,
    "aten::cat": _cat,
    "quantized::batch_norm2d": _batch_norm2d(relu=False),
    "quantized::batch_norm2d_relu": _batch_norm2d(relu=True),
    "aten::max_pool2d": _max_pool2d,
    "quantized::max_pool2d": _max_pool2d,
    "aten::avg_pool2d": _avg_pool2d,
    "aten::adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "aten::mean": _mean,
    "aten::relu": _same(lambda site: Relu(site.label)),
    "aten::relu_": _in_place(_same(lambda site: Relu(site.label))),
    "quantized::relu6": _relu6,
    "aten::hardtanh": _CLAMP,
    "aten::hardtanh_": _in_place(_CLAMP),
    "aten::clamp": _CLAMP,
    "quantized::leaky_relu": _leaky_relu,
    "aten::leaky_relu": _leaky_relu,
    "quantized::elu": _elu,
    "quantized::hardswish": _activation(Function.HARDSWISH),
    "aten::hardsigmoid": _activation(Function.HARDSIGMOID, QuantParams(1 / 256, 0)),
    "aten::sigmoid": _activation(Function.SIGMOID, QuantParams(1 / 256, 0)),
    "quantized::sigmoid": _activation(Function.SIGMOID),
    "aten::tanh": _activation(Function.TANH, QuantParams(2 / 256, 128)),
    "aten::slice": _slice,
    "aten::contiguous": _contiguous,
    "aten::flatten": _flatten,
    "aten::reshape": _reshape,
    "aten::view": _reshape,
    "aten::dropout": _dropout,
    "aten::dequantize": _dequantize,
    **QUERIES,
}
"""What a model may do with a tensor."""


def _check_image(site: Site, x: Activation) -> None:
    if len(x.shape) != 4:
        raise InputError(
            f"layer {site.label}: takes images (channels, height, width), got a tensor of shape {plain(x.shape)}"
        )


def _check_channels(site: Site, x: Activation, channels: int) -> None:
    if len(x.shape) != 4 or x.shape[1] != channels:
        raise InputError(
            f"layer {site.label}: takes images of shape ({channels}, height, width), "
            f"got a tensor of shape {plain(x.shape)}"
        )


def _positions(site: Site, window: Window, shape: Shape) -> tuple[int, int]:
    try:
        return window.output_size(shape[2], shape[3])
    except UsageError as error:
        raise InputError(f"layer {site.label}: {error}") from error


def _params(scale: Any, zero_point: Any) -> QuantParams:
    return QuantParams(float(scale), int(zero_point))


def _weight(weight: torch.Tensor) -> Weight:
    values = weight.int_repr().numpy().astype(np.int8)
    if weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
        scales, zero_points = weight.q_per_channel_scales().double().numpy(), weight.q_per_channel_zero_points().numpy()
        return Weight(values, scales.copy(), zero_points.astype(np.int64), True)
    return Weight(values, np.array([weight.q_scale()]), np.array([weight.q_zero_point()], dtype=np.int64), False)


def _bias(bias: torch.Tensor | None) -> npt.NDArray[np.float32] | None:
    return None if bias is None else _float32(bias)


def _float32(array: torch.Tensor) -> npt.NDArray[np.float32]:
    return array.detach().numpy().astype(np.float32)


def _pair(value: Any) -> tuple[int, int]:
    both = (value, value) if isinstance(value, int) else tuple(value)
    return both if len(both) == 2 else (both[0], both[0])
