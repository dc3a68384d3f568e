"""The deployed script as a whole: every layer's bytes, predicted and computed by the kernels."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bvverify.errors import UsageError
from bvverify.evidence import kernel_session
from bvverify.kernels.lower import LoweredModel, lower
from bvverify.kernels.target import Target
from bvverify.load import DeployedModel
from bvverify.model import Dequantize, QuantizedModel, Reshape
from bvverify.network import IntArray
from harness.conform.records import Difference, LayerReport, Tally

_BATCH_ELEMENTS = 2**22
"""Batches are cut so that no layer has many more bytes than this."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What is examined: a deployed script on a target, and what its bytes are predicted from."""

    deployed: DeployedModel
    expected: QuantizedModel
    lowered: LoweredModel
    """The expected model on the target."""

    @property
    def target(self) -> Target:
        """What computes the bytes."""
        return self.lowered.target

    @property
    def model(self) -> QuantizedModel:
        """What the deployed file says."""
        return self.deployed.model

    def blank_reports(self) -> dict[int, LayerReport]:
        """Return empty reports of the layers that put out bytes of their own, by the layers' numbers."""
        reports = {}
        for index, layer in enumerate(self.model.layers):
            if not isinstance(layer, Reshape | Dequantize):
                fused = " + ReLU" if getattr(layer, "relu", False) else ""
                reports[index] = LayerReport(layer.name, type(layer).__name__ + fused)
        return reports


def subject_of(deployed: DeployedModel, expected: QuantizedModel, target: Target) -> Subject:
    """Return the subject.

    Raises `NotExact` if the target is not modelled for it, `UsageError` if the two models do not have the same
    layers, wiring and shapes.
    """
    lowered = lower(expected, target)
    if expected is not deployed.model:
        _check_same_structure(deployed.model, expected)
        shapes = [[output.layout.shape for output in own.layers] for own in (lower(deployed.model, target), lowered)]
        if shapes[0] != shapes[1]:
            raise UsageError("the expected model's layers put out other shapes; it must be the same architecture")
    return Subject(deployed, expected, lowered)


def compare_whole(
    subject: Subject, inputs: npt.NDArray[np.float32], advance: Callable[[int], None]
) -> dict[int, LayerReport]:
    """Return a report per layer on real inputs (n, *input_shape), run by the whole script.

    `advance` is told how many inputs were done.  A difference is kept for the first layer that has one, because later
    layers only pass it on.
    """
    reports = subject.blank_reports()
    if not len(inputs):
        return reports
    largest = max(output.layout.size for output in subject.lowered.layers)
    rows = max(1, _BATCH_ELEMENTS // largest)
    with kernel_session(subject.deployed, subject.target) as kernels:
        for start in range(0, len(inputs), rows):
            batch = inputs[start : start + rows]
            real = kernels.run(batch, rows=subject.lowered.rows).layers
            predicted = subject.lowered.layer_bytes(subject.lowered.quantizer.levels(batch))
            for index, report in reports.items():
                own = real[report.name]
                expected = predicted[subject.expected.layers[index].name]
                reports[index] = replace(report, whole=report.whole + tally(expected, own))
                if not any(other.difference for other in reports.values()):
                    difference = first_difference(
                        report.name, expected, own, (up_to(subject.model, index), up_to(subject.expected, index)), batch
                    )
                    reports[index] = replace(reports[index], difference=difference)
            advance(len(batch))
    return reports


def tally(predicted: IntArray, real: npt.NDArray[np.uint8 | np.int8]) -> Tally:
    """Count the bytes, and those that differ."""
    return Tally(predicted.size, int((predicted != real).sum()))


def first_difference(
    layer: str,
    predicted: IntArray,
    real: npt.NDArray[np.uint8 | np.int8],
    models: tuple[QuantizedModel, QuantizedModel],
    inputs: npt.NDArray[np.generic],
    *,
    alone: bool = False,
) -> Difference | None:
    """Return the first byte that differs between (n, *shape) bytes for inputs (n, *input_shape), or None."""
    wrong = np.argwhere(predicted != real)
    if not wrong.size:
        return None
    row, *position = wrong[0].tolist()
    place = (row, *position)
    return Difference(
        layer, alone, tuple(position), int(predicted[place]), int(real[place]), *models, inputs[row : row + 1]
    )


def up_to(model: QuantizedModel, index: int) -> QuantizedModel:
    """Return the model that ends with layer `index`."""
    return QuantizedModel(model.input_shape, model.layers[: index + 1], model.sources[: index + 1])


def _check_same_structure(model: QuantizedModel, expected: QuantizedModel) -> None:
    kinds = [[_kind(layer) for layer in own.layers] for own in (model, expected)]
    for index, (own, other) in enumerate(zip(*kinds, strict=False)):
        if own != other:
            raise UsageError(f"the expected model is another network: layer {index} is {other}, not {own}")
    if len(kinds[0]) != len(kinds[1]) or model.sources != expected.sources:
        raise UsageError(
            f"the expected model is another network: {len(kinds[1])} layers, not {len(kinds[0])}, or wired otherwise"
        )


def _kind(layer: object) -> str:
    weight = getattr(layer, "weight", None)
    values = getattr(weight, "values", None)
    return type(layer).__name__ + (f" {list(values.shape)}" if isinstance(values, np.ndarray) else "")
