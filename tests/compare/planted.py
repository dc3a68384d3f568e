"""Pairs of small models that differ in a known way, their inputs, and what torch itself computes for them."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bvverify.compare import Comparison, Progress, compare_subjects
from bvverify.evidence import Subject
from bvverify.kernels.target import Target
from bvverify.load import DeployedModel, load_model
from bvverify.load.inputs import Images
from tests.models import converted, linear, quantized_weight

HERE = Target.detect()
"""What torch runs in this process, so that its bytes are known without bvverify."""
DATA = Path(__file__).parents[1] / "data"
COUNT = 120


def dense(
    *, changed: int = 0, hidden_scale: float = 0.04, zero_point: int = 120, outputs: int = 3, bias: float = 0.0
) -> nn.Sequential:
    """Return 6 inputs, 5 hidden neurons, some outputs; `changed` is added to one weight of the last layer, `bias` to
    one bias of the first.
    """
    rng = np.random.default_rng(19)
    weights = rng.integers(-100, 100, (5, 6)), rng.integers(-100, 100, (3, 5))
    biases = rng.normal(size=5), rng.normal(size=3)
    last = np.resize(weights[1], (outputs, 5))
    last[1, 2] += changed
    biases[0][3] += bias
    return converted(
        linear(quantized_weight(weights[0], scale=2.0**-6), biases[0], scale=hidden_scale, relu=True),
        linear(quantized_weight(last, scale=2.0**-6), np.resize(biases[1], outputs), scale=0.2, zero_point=zero_point),
        input_scale=1 / 127,
    )


def inputs(*, labels: bool = False, count: int = COUNT) -> Images:
    """Return random inputs, all different; labels are what the unchanged model predicts."""
    real = np.random.default_rng(1).random((count, 6)).astype(np.float32)
    return Images("inputs.npz", real, layer_bytes(dense(), real)[-1].argmax(axis=1) if labels else None)


def layer_bytes(module: nn.Sequential, real: np.ndarray) -> list[np.ndarray]:
    """Return what torch computes in this process: the bytes of the quantized input, and of every layer."""
    value, found = torch.from_numpy(real), []
    for layer in list(module)[:-1]:
        value = layer(value)
        found.append(value.int_repr().numpy().astype(np.int64))
    return found


def deployed(module: nn.Module, name: str = "model.pt") -> DeployedModel:
    return DeployedModel(name, load_model(module).model, load_model(module).script)


def save(module: nn.Module, path: Path) -> Path:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(module), buffer)
    path.write_bytes(buffer.getvalue())
    return path


def compared(
    first: nn.Module,
    second: nn.Module,
    images: Images,
    *,
    targets: tuple[Target, Target] = (HERE, HERE),
    positions: Sequence[int] | None = None,
    progress: Progress = lambda _: None,
) -> Comparison:
    with (
        Subject(deployed(first, "first.pt"), target=targets[0]) as ours,
        Subject(deployed(second, "second.pt"), target=targets[1]) as theirs,
    ):
        return compare_subjects(ours, theirs, images, positions=positions, progress=progress)
