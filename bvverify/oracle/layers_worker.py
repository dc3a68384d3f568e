"""The child process that runs layers, given as records, on PyTorch's quantized operations, without TorchScript
between.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bvverify.child import serve
from bvverify.model import (
    Activation,
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
    QuantizedModel,
    QuantParams,
    Relu,
    Reshape,
    Slice,
    Weight,
)
from bvverify.oracle.messages import LayerBytes, RunLayers, Runtime, RuntimeVersion

ops = torch.ops.quantized


def handle(message: RunLayers | RuntimeVersion) -> list[LayerBytes | str] | Runtime:
    """Answer a request; a case that the kernels reject is answered with what they say."""
    if isinstance(message, RuntimeVersion):
        return Runtime(torch.__version__)
    torch.backends.quantized.engine = message.engine
    results: list[LayerBytes | str] = []
    with torch.inference_mode():
        for model, inputs in message.cases:
            try:
                results.append(run(model, inputs))
            except RuntimeError as error:
                results.append(str(error).strip().splitlines()[0] if str(error).strip() else "RuntimeError")
    return results


def run(model: QuantizedModel, inputs: npt.NDArray[Any]) -> LayerBytes:
    """Return the bytes that each layer puts out for `inputs` as one batch."""
    packed = [_prepared(layer) for layer in model.layers]
    values: list[torch.Tensor] = [torch.from_numpy(inputs)]
    outputs: LayerBytes = {}
    for layer, apply, sources in zip(model.layers, packed, model.sources, strict=True):
        values.append(apply(*(values[source] for source in sources)))
        if values[-1].is_quantized and not isinstance(layer, Reshape):
            outputs[layer.name] = np.array(values[-1].int_repr().contiguous().numpy())
    return outputs


def _prepared(layer: Layer) -> Callable[..., torch.Tensor]:
    """Return the layer as a function of tensors, with its weights packed under the engine that is set."""
    match layer:
        case Quantize():
            return lambda x: _quantized(x, layer.output)
        case Linear():
            packed = ops.linear_prepack(_weight(layer.weight), _tensor(layer.bias))
            return _with_output(ops.linear_relu if layer.relu else ops.linear, layer.output, packed)
        case Conv2d():
            geometry = (list(layer.stride), list(layer.padding), list(layer.dilation), layer.groups)
            packed = ops.conv2d_prepack(_weight(layer.weight), _tensor(layer.bias), *geometry)
            return _with_output(ops.conv2d_relu if layer.relu else ops.conv2d, layer.output, packed)
        case Add():
            return _with_output(ops.add_relu if layer.relu else ops.add, layer.output)
        case Mul():
            return _with_output(ops.mul_relu if layer.relu else ops.mul, layer.output)
        case Cat():
            return lambda *x: ops.cat(list(x), layer.axis + 1, layer.output.scale, layer.output.zero_point)
        case BatchNorm2d():
            arrays = (_tensor(layer.weight), _tensor(layer.bias), _tensor(layer.mean), _tensor(layer.variance))
            normalize = ops.batch_norm2d_relu if layer.relu else ops.batch_norm2d
            return _with_output(normalize, layer.output, *arrays, layer.epsilon)
        case Activation():
            return _activation(layer)
        case _:
            return lambda x: _rearranged(layer, x)


def _with_output(operation: Callable[..., torch.Tensor], output: QuantParams, *between: Any) -> Callable[..., Any]:
    """Return the operation on tensors, with further arguments between them and the output's scale and zero point."""
    return lambda *x: operation(*x, *between, output.scale, output.zero_point)


def _activation(layer: Activation) -> Callable[..., Any]:
    scale, zero_point = layer.output.scale, layer.output.zero_point
    match layer.function:
        case Function.LEAKY_RELU:
            return lambda x: ops.leaky_relu(x, layer.arguments[0], False, scale, zero_point)
        case Function.ELU:
            return lambda x: ops.elu(x, scale, zero_point, layer.arguments[0])
        case Function.HARDSWISH:
            return lambda x: ops.hardswish(x, scale, zero_point)
        case Function.HARDSIGMOID:
            return torch.nn.functional.hardsigmoid
        case Function.SIGMOID:
            return lambda x: ops.sigmoid(x, scale, zero_point)
        case Function.TANH:
            return torch.tanh


def _rearranged(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    """Apply a layer that keeps its input's quantization."""
    match layer:
        case MaxPool2d():
            geometry = (layer.kernel, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)
            return torch.nn.functional.max_pool2d(x, *geometry)
        case AvgPool2d():
            window = (layer.kernel, layer.stride, layer.padding)
            return torch.nn.functional.avg_pool2d(x, *window, layer.ceil_mode, layer.count_include_pad, layer.divisor)
        case AdaptiveAvgPool2d():
            return torch.nn.functional.adaptive_avg_pool2d(x, layer.size)
        case Mean():
            return torch.mean(x, [axis + 1 for axis in layer.axes], layer.keepdim)
        case Relu():
            return torch.relu(x)
        case Hardtanh():
            return torch.nn.functional.hardtanh(x, layer.lower, layer.upper)
        case Slice():
            return x.narrow(layer.axis + 1, layer.start, layer.stop - layer.start).contiguous()
        case Contiguous():
            order = torch.channels_last if layer.channels_last else torch.contiguous_format
            return x.contiguous(memory_format=order)
        case Reshape():
            return x.reshape(len(x), *layer.shape)
        case Dequantize():
            return x.dequantize()
        case _:
            raise TypeError(f"layer {layer.name}: {type(layer).__name__} cannot be run here")


def _quantized(x: torch.Tensor, params: QuantParams) -> torch.Tensor:
    """Quantize floats; take bytes as they are."""
    if x.dtype in (torch.uint8, torch.int8):
        return torch._make_per_tensor_quantized_tensor(x, params.scale, params.zero_point)
    dtype = torch.qint8 if params.signed else torch.quint8
    return torch.quantize_per_tensor(x, params.scale, params.zero_point, dtype)


def _weight(weight: Weight) -> torch.Tensor:
    values = torch.from_numpy(weight.values)
    if not weight.per_channel:
        return torch._make_per_tensor_quantized_tensor(values, float(weight.scales[0]), int(weight.zero_points[0]))
    scales, zero_points = torch.from_numpy(weight.scales), torch.from_numpy(weight.zero_points)
    return torch._make_per_channel_quantized_tensor(values, scales, zero_points, 0)


def _tensor(array: npt.NDArray[np.float32] | None) -> torch.Tensor | None:
    return None if array is None else torch.from_numpy(array)


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve(handle)
