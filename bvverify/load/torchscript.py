"""TorchScript to QuantizedModel, by abstract interpretation: tensors are replaced by their shapes and the layers
behind them.

Reading a TorchScript file runs code that the file brings along.  Load only files that you trust.
"""

import inspect
import io
from collections.abc import Sequence
from typing import Any

import torch

from bvverify.errors import InputError, ModelFileError, UnsupportedLayer
from bvverify.load.abstract import Activation, Graph
from bvverify.load.engine import packing_engine
from bvverify.load.layers import LAYERS, QUERIES
from bvverify.model import QuantizedModel
from bvverify.model.quantized import Shape
from bvverify.torchscript.interpreter import Site, call, interpret


def read_torchscript(content: bytes, *, name: str, input_shape: Shape | None) -> QuantizedModel:
    """Return the layers of a TorchScript model, for inputs of `input_shape` (batch left out).

    Without a shape, that of the first layer is taken if it is linear.  Raises `ModelFileError` for content that
    torch cannot read, `UnsupportedLayer` for layers that are not supported, `InputError` for a shape that the layers
    do not accept.
    """
    with packing_engine():
        try:
            module = torch.jit.load(io.BytesIO(content), map_location="cpu").eval()
        except RuntimeError as error:
            raise ModelFileError(f"{name}: torch cannot read this TorchScript file ({_first_line(error)})") from error
        graph = Graph(input_shape or _linear_input(module, name))
        result = interpret(module, [graph.input()], _abstract)
    if isinstance(result, torch.Tensor):
        raise UnsupportedLayer(f"{name}: the model's result does not depend on its input")
    if not isinstance(result, Activation):
        raise UnsupportedLayer(f"{name}: the model must return one tensor, not {type(result).__name__}")
    return graph.model(result.number)


def _abstract(site: Site, arguments: Sequence[Any]) -> Any:
    listed = [item for argument in arguments if isinstance(argument, list) for item in argument]
    activations = [item for item in (*arguments, *listed) if isinstance(item, Activation)]
    if not activations:
        try:
            return call(site, arguments)
        except (RuntimeError, TypeError) as error:
            raise _unsupported(site) from error
    first = arguments[0]
    reads_list = isinstance(first, list) and all(isinstance(item, Activation) for item in first)
    if site.kind not in LAYERS or not (isinstance(first, Activation) or (reads_list and site.kind.endswith("::cat"))):
        raise _unsupported(site)
    if any(activation.overwritten for activation in activations):
        raise UnsupportedLayer(f"layer {site.label}: reads a tensor that an in-place operation has overwritten")
    handler = LAYERS[site.kind]
    try:
        inspect.signature(handler).bind(site, *arguments)
    except TypeError as error:  # a form of the operation with other arguments
        raise _unsupported(site) from error
    return handler(site, *arguments)


def _unsupported(site: Site) -> UnsupportedLayer:
    known = ", ".join(sorted({kind.partition("::")[2] for kind in LAYERS if kind not in QUERIES}))
    return UnsupportedLayer(f"layer {site.label}: {site.kind} is not supported here; supported: {known}")


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
