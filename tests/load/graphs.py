"""Models that are graphs: a residual block, a MobileNet block, branches that meet in a concatenation."""

import numpy as np
import torch
from torch import nn
from torch.ao.nn import quantized as nnq

from tests.models import conv2d, linear, quantize, quantized_weight


def _weight(shape: tuple[int, ...], seed: int, scale: float = 0.02) -> torch.Tensor:
    values = np.random.default_rng(seed).integers(-90, 91, shape)
    return quantized_weight(values.tolist(), scale=scale)


class Residual(nn.Module):
    """A convolution, a block that is added to its input, an average and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.quant = quantize(scale=0.05, zero_point=10)
        self.stem = conv2d(_weight((8, 1, 3, 3), 0), padding=1, scale=0.2, zero_point=100)
        self.left = conv2d(_weight((8, 8, 3, 3), 1), padding=1, scale=0.8, zero_point=90)
        self.right = conv2d(_weight((8, 8, 1, 1), 2), scale=0.4, zero_point=110)
        self.join = nnq.QFunctional()
        self.join.scale, self.join.zero_point = 1.6, 120
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.head = linear(_weight((3, 8), 3), scale=0.5, zero_point=128)
        self.dequant = nnq.DeQuantize()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(self.quant(x))
        x = self.join.add_relu(self.left(x), self.right(x))
        return self.dequant(self.head(self.pool(x).flatten(1)))


class Mobile(nn.Module):
    """A MobileNet block: expansion, depthwise convolution, hardswish, squeeze and excitation, projection."""

    def __init__(self) -> None:
        super().__init__()
        self.quant = quantize(scale=0.05, zero_point=0)
        self.expand = conv2d(_weight((16, 2, 1, 1), 0), scale=0.3, zero_point=120)
        self.swish = nnq.Hardswish(0.25, 20)
        self.depthwise = conv2d(_weight((16, 1, 3, 3), 1), padding=1, groups=16, scale=0.5, zero_point=128)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.excite = conv2d(_weight((16, 16, 1, 1), 2), scale=0.3, zero_point=100)
        self.gate = nn.Hardsigmoid()
        self.scale = nnq.QFunctional()
        self.scale.scale, self.scale.zero_point = 0.4, 100
        self.project = conv2d(_weight((4, 16, 1, 1), 3), scale=1.0, zero_point=110)
        self.head = linear(_weight((3, 64), 4), scale=4.0, zero_point=128)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.swish(self.depthwise(self.swish(self.expand(self.quant(x)))))
        x = self.scale.mul(self.gate(self.excite(x)), self.gate(x))
        return self.head(self.project(x).flatten(1)).dequantize()


class Branches(nn.Module):
    """Slices, two activations, a concatenation of different scales."""

    def __init__(self) -> None:
        super().__init__()
        self.quant = quantize(scale=0.1, zero_point=50)
        self.first = linear(_weight((70, 12), 0), scale=0.3, zero_point=100)
        self.leaky = nnq.LeakyReLU(0.2, 30, 0.1)
        self.sigmoid = nnq.Sigmoid(1 / 256, 0)
        self.join = nnq.QFunctional()
        self.join.scale, self.join.zero_point = 0.4, 60
        self.head = linear(_weight((3, 70), 1), scale=2.0, zero_point=128)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(self.quant(x))
        left, right = x[:, :35].contiguous(), x[:, 35:].contiguous()
        return self.head(self.join.cat([self.leaky(left), self.sigmoid(right)], dim=1)).dequantize()


MODELS: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "residual": (Residual, (1, 6, 6)),
    "mobile": (Mobile, (2, 4, 4)),
    "branches": (Branches, (12,)),
}
