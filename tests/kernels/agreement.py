"""Whether a prediction and a real kernel agree, to the byte, and whether a refusal is a documented one."""

import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bvverify.errors import NotExact
from bvverify.kernels.availability import unavailable
from bvverify.kernels.lower import lower
from bvverify.kernels.target import Engine, Isa, Target
from bvverify.model import Conv2d, Linear, MaxPool2d, QuantizedModel

from .conftest import Kernels

Refusable = Linear | Conv2d | MaxPool2d
DESERVED: dict[str, Callable[[Refusable, Target], bool]] = {
    "oneDNN rejects weights with a zero point": lambda layer, target: (
        target.engine is Engine.ONEDNN and bool(layer.weight.zero_points.any())
    ),
    "oneDNN's .* convolutions pair saturating products": lambda layer, target: (
        target.engine is Engine.ONEDNN and isinstance(layer, Conv2d) and target.isa in (Isa.AVX512, Isa.AVX2)
    ),
    "onednn/avx2 pairs saturating products": lambda layer, target: (
        isinstance(layer, Linear) and layer.weight.values.shape[1] > 256
    ),
    "oneDNN's .*convolution.* with one input": lambda layer, target: (
        target.engine in (Engine.ONEDNN, Engine.X86)
        and layer.weight.values.shape[1] == 1
        and len(layer.weight.values) > layer.groups
    ),
    "oneDNN's convolution .* padding": lambda layer, target: (
        target.engine in (Engine.ONEDNN, Engine.X86) and isinstance(layer, Conv2d) and max(layer.padding) > 0
    ),
    "weights with a zero point on a saturating accumulator": lambda layer, target: (
        bool(layer.weight.zero_points.any()) and target.engine in (Engine.FBGEMM, Engine.X86)
    ),
    "QNNPACK.*max_pool2d": lambda layer, target: (
        target.engine is Engine.QNNPACK
        and (layer.kernel == (1, 1) or (layer.dilation != (1, 1) and layer.padding != (0, 0)))
    ),
    "FBGEMM's 3x3 convolution .* corrupts memory": lambda layer, target: (
        target.engine in (Engine.FBGEMM, Engine.X86) and layer.weight.values.shape[1:] in ((2, 3, 3), (4, 3, 3))
    ),
    "FBGEMM's 3x3 groupwise convolution on avx512 without VNNI": lambda layer, target: (
        target.isa is Isa.AVX512 and layer.weight.values.shape[2:] == (3, 3)
    ),
    "a requantized value may leave int32": lambda layer, target: layer.output.scale < 1,
    "the bias, or the accumulator with it, leaves int32": lambda layer, target: target.engine is Engine.QNNPACK,
}
"""The reasons that random layers may be refused for, and what must then be true of the layer and the target."""


def is_deserved(refusal: NotExact, model: QuantizedModel, target: Target) -> bool:
    """Return whether a refusal names a layer, gives a documented reason, and the reason holds for that layer."""
    message = str(refusal)
    named = re.match(r"layer (\w+)\b", message)
    layer = next((layer for layer in model.layers if named and layer.name == named[1]), None)
    reasons = [holds for reason, holds in DESERVED.items() if re.search(reason, message)]
    return layer is not None and len(reasons) == 1 and reasons[0](layer, target)


def compare(
    kernels: Kernels, target: Target, model: QuantizedModel, inputs: npt.NDArray[np.float32], outcomes: Counter[str]
) -> None:
    """Assert that every byte of every layer is as predicted, or the refusal deserved; count what happened."""
    if unavailable(model, target) is not None:
        outcomes["unavailable"] += 1
        return
    try:
        lowered = lower(model, target)
    except NotExact as refusal:
        if not is_deserved(refusal, model, target):
            raise
        outcomes["refused"] += 1
        return
    predicted = lowered.layer_bytes(lowered.quantizer.levels(inputs))
    computed = kernels.run(target, model, inputs)
    assert list(predicted) == list(computed)
    for name, expected in predicted.items():
        differing = np.argwhere(expected != computed[name])
        assert expected.shape == computed[name].shape
        assert not len(differing), f"{target}, layer {name}: {len(differing)} bytes differ, first at {differing[0]}"
    final = computed[model.layers[-1].name].reshape(len(inputs), -1)
    assert (lowered.network.evaluate(lowered.quantizer.levels(inputs)) == final).all()
    outcomes["compared"] += 1
