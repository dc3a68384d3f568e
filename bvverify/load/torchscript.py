"""TorchScript to QuantizedModel, by abstract interpretation: tensors are replaced by their shapes and the layers
behind them.

Reading a TorchScript file runs code that the file brings along.  Load only files that you trust.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from bvverify.errors import InputError, ModelFileError, UnsupportedLayer, UsageError
from bvverify.load.engine import packing_engine
from bvverify.model import (
    Conv2d,
    Dequantize,
    Layer,
    Linear,
    MaxPool2d,
    Quantize,
    QuantizedModel,
    QuantParams,
    Relu,
    Reshape,
    Weight,
)
from bvverify.model.quantized import Shape
from bvverify.network import Window
from bvverify.torchscript.interpreter import Site, call, interpret

_BATCH = 1_000_003
"""Stands for the batch size: a prime, so that a reshape which mixes images cannot go unnoticed."""


def read_torchscript(content: bytes, *, name: str, input_shape: Shape | None) -> QuantizedModel:
    """Return the layers of a TorchScript model, for inputs of `input_shape` (batch left out).

    Without a shape, that of the first layer is taken if it is linear.  Raises `ModelFileError` for content that
    torch cannot read, `UnsupportedLayer` for anything but the supported chain of layers, `InputError` for a shape
    that the layers do not accept.
    """
    with packing_engine():
        try:
            module = torch.jit.load(io.BytesIO(content), map_location="cpu").eval()
        except RuntimeError as error:
            raise ModelFileError(f"{name}: torch cannot read this TorchScript file ({_first_line(error)})") from error
        shape = input_shape or _linear_input(module, name)
        result = interpret(module, [_Activation((_BATCH, *shape))], _abstract)
    if not isinstance(result, _Activation):
        raise UnsupportedLayer(f"{name}: the model must return one tensor, not {type(result).__name__}")
    return QuantizedModel(shape, result.layers)


@dataclass
class _Storage:
    """Memory that several tensors may share; an in-place operation raises the version."""

    version: int = 0


@dataclass(frozen=True)
class _Activation:
    """An intermediate tensor: its shape with the stand-in batch size, and the layers that lead to it."""

    shape: Shape
    layers: tuple[Layer, ...] = ()
    quantized: bool = False
    storage: _Storage = field(default_factory=_Storage)
    version: int = 0

    def after(self, layer: Layer, shape: Shape, *, quantized: bool) -> "_Activation":
        """Return the result of a layer, in memory of its own."""
        return _Activation(shape, (*self.layers, layer), quantized)

    def view(self, layer: Layer, shape: Shape) -> "_Activation":
        """Return the same elements in another shape, possibly in the same memory."""
        return replace(self, shape=shape, layers=(*self.layers, layer))

    @property
    def overwritten(self) -> bool:
        return self.version != self.storage.version


def _abstract(site: Site, arguments: Sequence[Any]) -> Any:
    activations = [argument for argument in arguments if isinstance(argument, _Activation)]
    if not activations:
        if any(
            isinstance(item, _Activation) for argument in arguments if isinstance(argument, list) for item in argument
        ):
            raise _unsupported(site)
        try:
            return call(site, arguments)
        except (RuntimeError, TypeError) as error:
            raise _unsupported(site) from error
    if site.kind not in _LAYERS or activations[0] is not arguments[0] or len(activations) > 1:
        raise _unsupported(site)
    if activations[0].overwritten:
        raise UnsupportedLayer(f"layer {site.label}: reads a tensor that an in-place operation has overwritten")
    return _LAYERS[site.kind](site, *arguments)


def _unsupported(site: Site) -> UnsupportedLayer:
    known = ", ".join(sorted({kind.partition("::")[2] for kind in _LAYERS if kind not in _QUERIES}))
    return UnsupportedLayer(f"layer {site.label}: {site.kind} is not supported here; supported: {known}")


def _quantize(site: Site, x: _Activation, scale: Any, zero_point: Any, dtype: Any) -> _Activation:
    if dtype not in (torch.quint8, _QUINT8):
        raise UnsupportedLayer(f"layer {site.label}: quantize_per_tensor to {dtype}; activations must be quint8")
    if x.quantized:
        raise UnsupportedLayer(f"layer {site.label}: quantize_per_tensor of a quantized tensor")
    return x.after(Quantize(site.label, _params(scale, zero_point)), x.shape, quantized=True)


def _linear(relu: bool) -> "_Handler":
    def handle(site: Site, x: _Activation, packed: Any, scale: Any, zero_point: Any) -> _Activation:
        weight, bias = torch.ops.quantized.linear_unpack(packed)
        if len(x.shape) < 2 or x.shape[-1] != weight.shape[1]:
            raise InputError(
                f"layer {site.label}: takes {weight.shape[1]} features, got a tensor of shape {_plain(x.shape)}"
            )
        layer = Linear(site.label, _weight(weight), _bias(bias), relu, _params(scale, zero_point))
        return _quantized(site, x).after(layer, (*x.shape[:-1], weight.shape[0]), quantized=True)

    return handle


def _conv2d(relu: bool) -> "_Handler":
    def handle(site: Site, x: _Activation, packed: Any, scale: Any, zero_point: Any) -> _Activation:
        weight, bias = torch.ops.quantized.conv2d_unpack(packed)
        geometry = {
            key: tuple(getattr(torch.ops.quantized, f"conv2d_{key}")(packed))
            for key in ("stride", "padding", "dilation")
        }
        groups = torch.ops.quantized.conv2d_groups(packed)
        if len(x.shape) != 4 or x.shape[1] != weight.shape[1] * groups:
            channels = weight.shape[1] * groups
            raise InputError(
                f"layer {site.label}: takes images of shape ({channels}, height, width), "
                f"got a tensor of shape {_plain(x.shape)}"
            )
        layer = Conv2d(
            site.label, _weight(weight), _bias(bias), relu, _params(scale, zero_point), groups=groups, **geometry
        )
        window = Window((weight.shape[2], weight.shape[3]), layer.stride, layer.padding, layer.dilation)
        shape = (x.shape[0], weight.shape[0], *_positions(site, window, x.shape))
        return _quantized(site, x).after(layer, shape, quantized=True)

    return handle


def _max_pool2d(
    site: Site, x: _Activation, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> _Activation:
    if len(x.shape) != 4:
        raise InputError(
            f"layer {site.label}: takes images (channels, height, width), got a tensor of shape {_plain(x.shape)}"
        )
    window = Window(_pair(kernel), _pair(stride or kernel), _pair(padding), _pair(dilation), ceil_mode)
    layer = MaxPool2d(site.label, window.kernel, window.stride, window.padding, window.dilation, ceil_mode)
    shape = (*x.shape[:2], *_positions(site, window, x.shape))
    return _quantized(site, x).after(layer, shape, quantized=True)


def _relu(site: Site, x: _Activation) -> _Activation:
    return _quantized(site, x).after(Relu(site.label), x.shape, quantized=True)


def _relu_in_place(site: Site, x: _Activation) -> _Activation:
    result = _relu(site, x)
    x.storage.version += 1
    return replace(result, storage=x.storage, version=x.storage.version)


def _dequantize(site: Site, x: _Activation) -> _Activation:
    return _quantized(site, x).after(Dequantize(site.label), x.shape, quantized=False)


def _flatten(site: Site, x: _Activation, start: int, end: int) -> _Activation:
    rank = len(x.shape)
    first, last = start % rank, end % rank
    return _reshape(site, x, [*x.shape[:first], int(np.prod(x.shape[first : last + 1])), *x.shape[last + 1 :]])


def _reshape(site: Site, x: _Activation, shape: Sequence[int]) -> _Activation:
    size = int(np.prod(x.shape))
    known = int(np.prod([extent for extent in shape if extent != -1]))
    full = tuple(size // known if extent == -1 else int(extent) for extent in shape) if known else ()
    if int(np.prod(full)) != size or not full or full[0] != _BATCH:
        raise UnsupportedLayer(
            f"layer {site.label}: reshape of {_plain(x.shape)} to {_plain(full or tuple(shape))} mixes images of a "
            "batch or does not fit"
        )
    return x.view(Reshape(site.label, full[1:]), full)


def _dropout(site: Site, x: _Activation, probability: float, train: bool) -> _Activation:
    if train:
        raise UnsupportedLayer(f"layer {site.label}: dropout that is active; call .eval() before scripting")
    return x


def _size(site: Site, x: _Activation, axis: int | None = None) -> list[int] | int:
    return list(x.shape) if axis is None else x.shape[axis]


_Handler = Callable[..., Any]
_QUINT8 = 13
"""The number by which TorchScript writes torch.quint8."""

_QUERIES: dict[str, _Handler] = {
    "aten::size": _size,
    "aten::dim": lambda site, x: len(x.shape),
}
_LAYERS: dict[str, _Handler] = {
    "aten::quantize_per_tensor": _quantize,
    "quantized::linear": _linear(relu=False),
    "quantized::linear_relu": _linear(relu=True),
    "quantized::conv2d": _conv2d(relu=False),
    "quantized::conv2d_relu": _conv2d(relu=True),
    "aten::max_pool2d": _max_pool2d,
    "quantized::max_pool2d": _max_pool2d,
    "aten::relu": _relu,
    "aten::relu_": _relu_in_place,
    "aten::flatten": _flatten,
    "aten::reshape": _reshape,
    "aten::view": _reshape,
    "aten::contiguous": lambda site, x, memory_format: x,
    "aten::dropout": _dropout,
    "aten::dequantize": _dequantize,
    **_QUERIES,
}


def _quantized(site: Site, x: _Activation) -> _Activation:
    if not x.quantized:
        raise UnsupportedLayer(f"layer {site.label}: {site.kind} on a float tensor; only bytes are verified")
    return x


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


def _bias(bias: torch.Tensor | None) -> "np.ndarray[Any, np.dtype[np.float32]] | None":
    return None if bias is None else bias.detach().numpy().astype(np.float32)


def _pair(value: Any) -> tuple[int, int]:
    both = (value, value) if isinstance(value, int) else tuple(value)
    return both if len(both) == 2 else (both[0], both[0])


def _plain(shape: Sequence[int]) -> str:
    return "(" + ", ".join("batch" if extent == _BATCH else str(extent) for extent in shape) + ")"


class _FirstLinear(Exception):
    """Ends a probing run at the first linear layer; carries its number of input features."""


def _linear_input(module: torch.jit.ScriptModule, name: str) -> Shape:
    """Return the input shape of a model whose first weighted layer is linear."""
    probe = object()

    def skip(site: Site, arguments: Sequence[Any]) -> Any:
        if site.kind in ("quantized::linear", "quantized::linear_relu"):
            raise _FirstLinear(torch.ops.quantized.linear_unpack(arguments[1])[0].shape[1])
        if site.kind.startswith("quantized::"):
            raise UnsupportedLayer(site.label)
        return probe

    try:
        interpret(module, [probe], skip)
    except _FirstLinear as found:
        return (int(found.args[0]),)
    except UnsupportedLayer:
        pass
    raise InputError(f"{name}: the shape of one input is needed (for images: channels, height, width)")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
