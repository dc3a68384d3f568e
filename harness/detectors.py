"""Engine detectors: small networks whose prediction tells which engine, or which instruction set, computed it.

A verifier that ignores the target answers some of them wrongly.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bvverify.kernels.target import Engine, Isa, Target
from bvverify.model import Add, Conv2d, Linear, Quantize, QuantizedModel, QuantParams, Reshape, Weight


@dataclass(frozen=True, eq=False)
class Detector:
    """A network, a region of its bytes, and the class that each target gives to everything in the region."""

    name: str
    cause: str
    model: QuantizedModel
    lower: npt.NDArray[np.int64]
    """Least bytes of the region, of the model's input shape."""
    upper: npt.NDArray[np.int64]
    """Greatest bytes of the region."""
    usual: int
    """Class on most targets."""
    other: int
    """Class on the targets that the cause concerns."""
    concerned: frozenset[Target]

    def expected(self, target: Target) -> int:
        """Return the class on a target."""
        return self.other if target in self.concerned else self.usual


def _targets(*texts: str) -> frozenset[Target]:
    return frozenset(Target(Engine(text.split("/")[0]), Isa(text.split("/")[1])) for text in texts)


def _weight(values: npt.ArrayLike) -> Weight:
    return Weight(np.array(values, dtype=np.int8), np.ones(1), np.zeros(1, dtype=np.int64), False)


def _dense(weight: npt.ArrayLike, bias: npt.ArrayLike | None, output: QuantParams) -> QuantizedModel:
    values = _weight(weight)
    given = None if bias is None else np.array(bias, dtype=np.float32)
    layers = (Quantize("quantize", QuantParams(1.0, 0)), Linear("fc", values, given, False, output))
    return QuantizedModel(values.values.shape[1:], layers)


def _depthwise() -> QuantizedModel:
    """Return a depthwise 3x3 convolution of 8 channels, of which one is large and one has a bias."""
    values = np.zeros((8, 1, 3, 3), dtype=np.int8)
    values[0] = 127
    values[1] = np.array([127, 1, 127, 1, 127, 1, 127, 1, 127]).reshape(1, 3, 3)
    bias = np.array([0, 20000, 0, 0, 0, 0, 0, 0], dtype=np.float32)
    conv = Conv2d("conv", _weight(values), bias, False, QuantParams(1200.0, 0), (1, 1), (1, 1), (1, 1), 8)
    layers = (Quantize("quantize", QuantParams(1.0, 0)), conv, Reshape("flatten", (72,)))
    return QuantizedModel((8, 3, 3), layers)


def _tie_add() -> QuantizedModel:
    layers = (Quantize("quantize", QuantParams(0.1, 128)), Add("add", False, QuantParams(0.4, 127)))
    return QuantizedModel((2,), layers, ((0,), (1, 1)))


DETECTORS = (
    Detector(
        "saturating pair",
        "without VNNI, FBGEMM and oneDNN add two products in 16 bits",
        _dense([[127, 127], [127, 0]], [0, 10000], QuantParams(512.0, 0)),
        np.array([252, 252]),
        np.array([255, 255]),
        0,
        1,
        _targets("fbgemm/avx512", "fbgemm/avx2", "x86/avx512", "x86/avx2", "onednn/avx512", "onednn/avx2"),
    ),
    Detector(
        "depthwise kernel",
        "FBGEMM's depthwise kernel adds two products in 16 bits on every CPU",
        _depthwise(),
        np.full((8, 3, 3), 255),
        np.full((8, 3, 3), 255),
        4,
        13,
        _targets("fbgemm/avx512_vnni", "fbgemm/avx512", "fbgemm/avx2", "x86/avx512", "x86/avx2"),
    ),
    Detector(
        "bias rounding",
        "QNNPACK rounds the bias to an integer of the accumulator, the others add it as a real number",
        _dense([[1, 0], [0, 1]], [0.4, 0.1], QuantParams(2.0, 0)),
        np.array([1, 2]),
        np.array([1, 2]),
        0,
        1,
        _targets("qnnpack/sse2"),
    ),
    Detector(
        "tie parity",
        "oneDNN rounds half to even after it has added the zero point, the others before",
        _dense([[1, 0], [0, 2]], None, QuantParams(2.0, 1)),
        np.array([1, 1]),
        np.array([1, 1]),
        1,
        0,
        _targets("onednn/avx512_vnni", "onednn/avx512", "onednn/avx2"),
    ),
    Detector(
        "add tie",
        "ATen adds dequantized floats, QNNPACK integer multiples",
        _tie_add(),
        np.array([1, 3]),
        np.array([1, 3]),
        0,
        1,
        _targets("qnnpack/sse2"),
    ),
)
"""All of them."""
