"""What a deployed file says, engine-free: QuantizedModel and its layers."""

from bvverify.model.quantized import (
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

__all__ = [
    "Conv2d",
    "Dequantize",
    "Layer",
    "Linear",
    "MaxPool2d",
    "QuantParams",
    "Quantize",
    "QuantizedModel",
    "Relu",
    "Reshape",
    "Weight",
]
