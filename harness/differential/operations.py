"""The operations that are compared: for each, random models around it, and inputs that go to their ends."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.kernels.target import Engine, Target
from bvverify.model import Function, Quantize, QuantizedModel, QuantParams
from harness.generate import elementwise, weighted

Rng = np.random.Generator
Inputs = npt.NDArray[Any]


@dataclass(frozen=True)
class Operation:
    """One row of the conformance table."""

    name: str
    make: Callable[[Rng], QuantizedModel]
    inputs: Callable[[Rng, QuantizedModel], list[Inputs]]
    """Batches for one model; where a kernel rounds by place in memory, every batch is one image."""
    engines: frozenset[Engine] = frozenset(Engine)
    """Engines that have the operation."""

    def case(self, seed: int) -> tuple[QuantizedModel, list[Inputs]]:
        """Return the model and the batches of a seed."""
        rng = np.random.default_rng([seed, *self.name.encode()])
        model = self.make(rng)
        return model, self.inputs(rng, model)

    def runs_on(self, target: Target) -> bool:
        """Return whether the target has the operation."""
        return target.engine in self.engines


def _levels(rows: int) -> Callable[[Rng, QuantizedModel], list[Inputs]]:
    """Return batches of `rows` images: random bytes, bytes at the ends of the range, constants."""

    def batches(rng: Rng, model: QuantizedModel) -> list[Inputs]:
        params = model.layers[0].output if isinstance(model.layers[0], Quantize) else QuantParams(1.0, 0)
        bits = rng.integers(0, 256, (rows, *model.input_shape))
        third = rows // 3
        bits[third : 2 * third] = rng.choice([0, 255], bits[third : 2 * third].shape)
        density = rng.random((rows - 2 * third, *(1,) * len(model.input_shape)))
        bits[2 * third :] = np.where(rng.random(bits[2 * third :].shape) < density, 255, 0)
        bits[0], bits[-1] = 0, 255
        return [(bits + params.least).astype(np.int8 if params.signed else np.uint8)]

    return batches


def _single_images(count: int) -> Callable[[Rng, QuantizedModel], list[Inputs]]:
    return lambda rng, model: [elementwise.random_bytes(rng, model, 1) for _ in range(count)]


def _every_byte(rng: Rng, model: QuantizedModel) -> list[Inputs]:
    """Return images in which every byte occurs, in vector lanes and in the remainder."""
    size = int(np.prod(model.input_shape))
    turns = range(0, 256, max(1, size % 64 or size))
    return [((np.arange(size) + turn) % 256).reshape(1, *model.input_shape).astype(np.uint8) for turn in turns]


def _boundaries(rng: Rng, model: QuantizedModel) -> list[Inputs]:
    """Return floats around the middles between bytes, and beyond the ends."""
    first = model.layers[0]
    assert isinstance(first, Quantize)
    params = first.output
    middles = (np.arange(-2, 259) + params.least - 0.5 - params.zero_point) * params.scale
    below, above = [middles.astype(np.float32)], [middles.astype(np.float32)]
    for _ in range(3):
        below.append(np.nextafter(below[-1], np.float32(-np.inf)))
        above.append(np.nextafter(above[-1], np.float32(np.inf)))
    spread = rng.normal(size=500).astype(np.float32) * np.float32(params.scale * 150)
    every = np.concatenate([*below, *above, spread, np.array([0.0, -0.0, 3e38, -3e38], dtype=np.float32)])
    return [every[np.isfinite(every)].reshape(-1, 1)]


def _quantize_model(rng: Rng) -> QuantizedModel:
    params = elementwise.params(rng)
    if rng.random() < 0.3:
        params = QuantParams(params.scale * 10.0 ** rng.uniform(-20, 20), params.zero_point)
    return QuantizedModel((1,), (Quantize("quantize", params),))


_ONEDNN = frozenset({Engine.ONEDNN})
OPERATIONS = (
    Operation("quantize_per_tensor", _quantize_model, _boundaries),
    Operation("linear", weighted.linear_model, _levels(192)),
    Operation("linear, ties", weighted.tie_linear_model, lambda rng, model: [np.arange(256, dtype=np.uint8)[:, None]]),
    Operation("linear, far accumulators", weighted.far_linear_model, _levels(64)),
    Operation("linear, qint8", weighted.signed_model, _levels(192), _ONEDNN),
    Operation("conv2d", weighted.conv_model, _levels(24)),
    Operation(
        "conv2d, ties",
        weighted.tie_conv_model,
        lambda rng, model: [np.repeat(np.arange(256, dtype=np.uint8), 2).reshape(256, 2, 1, 1)],
    ),
    Operation("max_pool2d", weighted.max_pool_model, _levels(24)),
    Operation("add", partial(elementwise.two_input_model, kind="add"), _single_images(6)),
    Operation("add, every pair", partial(elementwise.every_pair_model, kind="add"), elementwise.every_pair),
    Operation("mul", partial(elementwise.two_input_model, kind="mul"), _single_images(6)),
    Operation("mul, every pair", partial(elementwise.every_pair_model, kind="mul"), elementwise.every_pair),
    Operation("cat", partial(elementwise.two_input_model, kind="cat"), _single_images(6)),
    *(
        Operation(str(function), partial(elementwise.activation_model, function=function), _every_byte)
        for function in Function
    ),
    Operation("hardtanh, relu6", elementwise.clamp_model, _every_byte),
    Operation("relu", elementwise.relu_model, _every_byte),
    Operation("avg_pool2d", elementwise.avg_pool_model, _levels(24)),
    Operation("adaptive_avg_pool2d", elementwise.adaptive_avg_pool_model, _levels(24)),
    Operation("mean", elementwise.mean_model, _levels(24)),
    Operation("batch_norm2d", elementwise.batch_norm_model, _levels(12)),
)
"""All of them."""
