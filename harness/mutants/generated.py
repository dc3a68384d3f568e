"""Small random cases, the same in every run, that go where kernels and mistakes differ."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np
import numpy.typing as npt

from bvverify.model import Conv2d, Function, Linear, Quantize, QuantizedModel, QuantParams, Weight
from harness.generate import elementwise, weighted
from harness.mutants.recorded import Named

Rng = np.random.Generator


def generated_cases() -> Iterator[Named]:
    """Yield all cases; those with weights first."""
    with_weights: dict[str, tuple[Callable[[Rng], QuantizedModel], int]] = {
        "tie in a linear layer": (weighted.tie_linear_model, 8),
        "tie in a convolution": (weighted.tie_conv_model, 6),
        "convolution": (weighted.conv_model, 24),
        "linear layer": (weighted.linear_model, 6),
        "max pooling": (weighted.max_pool_model, 8),
        "signed bytes": (weighted.signed_model, 6),
    }
    for number, (kind, (make, count)) in enumerate(with_weights.items()):
        for seed in range(count):
            rng = np.random.default_rng([seed, number])
            model = make(rng)
            yield f"{kind} {seed}", model, weighted.inputs_for(rng, model)
    yield from _depthwise()
    yield "accumulator beyond int32", *_long_sum(2**31 // (255 * 127) + 1)
    for seed in range(4):
        yield f"real inputs {seed}", *_real_inputs(np.random.default_rng([seed, 6]))
    yield from _without_weights()


def _without_weights() -> Iterator[Named]:
    """Yield single images: where an element lies in memory can decide its byte."""
    makers: dict[str, tuple[Callable[[Rng], QuantizedModel], int]] = {
        **{function.value: (partial(elementwise.activation_model, function=function), 5) for function in Function},
        "relu": (elementwise.relu_model, 2),
        "clamp": (elementwise.clamp_model, 4),
        "average pooling": (elementwise.avg_pool_model, 16),
        "adaptive average pooling": (elementwise.adaptive_avg_pool_model, 12),
        "mean": (elementwise.mean_model, 5),
        "batch norm": (elementwise.batch_norm_model, 5),
        "add": (partial(elementwise.two_input_model, kind="add"), 14),
        "mul": (partial(elementwise.two_input_model, kind="mul"), 10),
        "cat": (partial(elementwise.two_input_model, kind="cat"), 10),
    }
    for number, (kind, (make, count)) in enumerate(makers.items()):
        for seed in range(count):
            rng = np.random.default_rng([seed, 100 + number])
            model = make(rng)
            yield f"{kind} {seed}", model, elementwise.random_bytes(rng, model, 1)


def _depthwise() -> Iterator[Named]:
    """Yield convolutions that meet, or just miss, the conditions of FBGEMM's depthwise kernel."""
    for groups, multiplier, kernel in product((8, 9), (1, 2, 3), ((3, 3), (5, 5), (7, 7), (3, 5))):
        half = (kernel[0] // 2, kernel[1] // 2)
        plain = [((1, 1), (1, 1), half)]
        more = [((2, 2), (1, 1), half), ((1, 2), (1, 1), half), ((3, 3), (1, 1), half), ((1, 1), (2, 2), half),
                ((1, 1), (1, 1), (0, 0))]  # fmt: skip
        for stride, dilation, padding in plain + more * ((groups, multiplier, kernel) == (8, 1, (3, 3))):
            weight = Weight(
                np.full((groups * multiplier, 1, *kernel), 127, dtype=np.int8), np.array([1.0]), np.array([0]), False
            )
            output = QuantParams(160.0 * kernel[0] * kernel[1], 0)
            conv = Conv2d("conv", weight, None, False, output, stride, padding, dilation, groups)
            size = (kernel[0] + 2, kernel[1] + 2)
            model = QuantizedModel((groups, *size), (Quantize("quantize", QuantParams(1.0, 3)), conv))
            name = f"depthwise {groups}x{multiplier} {kernel[0]}x{kernel[1]} {stride} {dilation} {padding}"
            yield name, model, np.full((1, groups, *size), 255, dtype=np.uint8)


def _long_sum(taps: int) -> tuple[QuantizedModel, npt.NDArray[np.uint8]]:
    """Return a linear layer of one output whose weights are all 127."""
    weight = Weight(np.full((1, taps), 127, dtype=np.int8), np.array([1.0]), np.array([0]), False)
    layers = (Quantize("quantize", QuantParams(1.0, 0)), Linear("fc", weight, None, False, QuantParams(1e9, 0)))
    return QuantizedModel((taps,), layers), np.full((1, taps), 255, dtype=np.uint8)


def _real_inputs(rng: Rng) -> tuple[QuantizedModel, npt.NDArray[np.float32]]:
    """Return a model that only quantizes, and reals at, just below and just above the middle of two bytes."""
    params = elementwise.params(rng)
    middles = ((np.arange(-1, 256) + 0.5 - params.zero_point) * params.scale).astype(np.float32)
    reals = [middles, np.nextafter(middles, np.float32(np.inf)), np.nextafter(middles, np.float32(-np.inf))]
    return QuantizedModel((len(middles),), (Quantize("quantize", params),)), np.stack(reals)
