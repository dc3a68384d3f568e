"""A child process that runs a QuantizedModel on PyTorch's quantized operations, without TorchScript between."""

import numpy as np
import numpy.typing as npt
import torch

from bvverify.child import serve
from bvverify.model import Conv2d, Dequantize, Layer, Linear, MaxPool2d, Quantize, QuantizedModel, Relu, Reshape, Weight

Request = tuple[QuantizedModel, str, npt.NDArray[np.float32]]
"""A model, the engine to run it under, and float32 inputs (n, *shape)."""


def run(request: Request) -> dict[str, npt.NDArray[np.uint8]]:
    """Return the bytes that each layer puts out, (n, *shape)."""
    model, torch.backends.quantized.engine, inputs = request
    value = torch.from_numpy(inputs)
    outputs: dict[str, npt.NDArray[np.uint8]] = {}
    with torch.inference_mode():
        for layer in model.layers:
            value = _apply(layer, value)
            if value.is_quantized and not isinstance(layer, Reshape):
                outputs[layer.name] = np.array(value.int_repr().contiguous().numpy())
    return outputs


def _apply(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    match layer:
        case Quantize():
            return torch.quantize_per_tensor(x, layer.output.scale, layer.output.zero_point, torch.quint8)
        case Linear():
            packed = torch.ops.quantized.linear_prepack(_weight(layer.weight), _bias(layer.bias))
            operation = torch.ops.quantized.linear_relu if layer.relu else torch.ops.quantized.linear
            return operation(x, packed, layer.output.scale, layer.output.zero_point)
        case Conv2d():
            geometry = (list(layer.stride), list(layer.padding), list(layer.dilation), layer.groups)
            packed = torch.ops.quantized.conv2d_prepack(_weight(layer.weight), _bias(layer.bias), *geometry)
            operation = torch.ops.quantized.conv2d_relu if layer.relu else torch.ops.quantized.conv2d
            return operation(x, packed, layer.output.scale, layer.output.zero_point)
        case MaxPool2d():
            geometry = (layer.kernel, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)
            return torch.nn.functional.max_pool2d(x, *geometry)
        case Relu():
            return torch.relu(x)
        case Reshape():
            return x.reshape(len(x), *layer.shape)
        case Dequantize():
            return x.dequantize()


def _weight(weight: Weight) -> torch.Tensor:
    values = torch.from_numpy(weight.values)
    if not weight.per_channel:
        return torch._make_per_tensor_quantized_tensor(values, float(weight.scales[0]), int(weight.zero_points[0]))
    scales, zero_points = torch.from_numpy(weight.scales), torch.from_numpy(weight.zero_points)
    return torch._make_per_channel_quantized_tensor(values, scales, zero_points, 0)


def _bias(bias: npt.NDArray[np.float32] | None) -> torch.Tensor | None:
    return None if bias is None else torch.from_numpy(bias)


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve(run)
