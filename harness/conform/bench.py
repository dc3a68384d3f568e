"""One layer alone, on inputs constructed for it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.errors import BvverifyError
from bvverify.kernels.lower import LoweredModel, lower
from bvverify.model import Conv2d, Linear, Quantize, QuantizedModel, QuantParams
from bvverify.network import Clamp, IntArray, Step
from harness.boundary import BoundaryInputs
from harness.boundary_channels import network_of_channels
from harness.boundary_coverage import Coverage, CoverageCount
from harness.conform.alone import layer_alone, values_of
from harness.conform.inputs import Bytes, layer_inputs, quantize_inputs
from harness.conform.kernel import Rejected, kernel_bytes
from harness.conform.records import Difference, LayerReport, Thresholds
from harness.conform.whole import Subject, first_difference, tally
from harness.pool import KernelPool


def compare_alone(
    subject: Subject, index: int, report: LayerReport, pool: KernelPool, *, seed: int, rounds: int
) -> LayerReport:
    """Return the report of layer `index` with what running it alone adds.

    Sides of thresholds that stay open are tried `rounds` times.
    """
    refusals = []
    formats = _formats(subject, index)
    for models in formats:
        try:
            lowered = lower(models[1], subject.target)
        except BvverifyError as refusal:
            refusals.append(str(refusal))
            continue
        bench = _Bench(models, lowered, pool, report)
        try:
            bench.run(seed=seed, rounds=rounds)
        except Rejected as error:
            return replace(bench.report, rejected=str(error))
        report = bench.report
    return replace(report, not_alone=refusals[0]) if len(refusals) == len(formats) else report


def _formats(subject: Subject, index: int) -> list[tuple[QuantizedModel, QuantizedModel]]:
    """Return the layer alone, as deployed and as expected; for images, in both memory orders."""
    own = values_of(subject.model, lower(subject.model, subject.target))
    expected = values_of(subject.expected, subject.lowered)
    sources = [own[number].shape for number in subject.model.sources[index]]
    orders = [False]
    if not isinstance(subject.model.layers[index], Quantize | Linear | Conv2d):
        orders += [True] * any(len(shape) == 3 for shape in sources)
    return [
        (
            layer_alone(subject.model, index, own, channels_last=channels_last),
            layer_alone(subject.expected, index, expected, channels_last=channels_last),
        )
        for channels_last in orders
    ]


class _Bench:
    """Runs batches of one layer and adds what they show to `report`."""

    def __init__(
        self,
        models: tuple[QuantizedModel, QuantizedModel],
        lowered: LoweredModel,
        pool: KernelPool,
        report: LayerReport,
    ) -> None:
        """Prepare: the layer as deployed, the layer as expected, and the latter's program."""
        self._models, self._lowered, self._pool = models, lowered, pool
        self._output = lowered.layers[-1]
        self._layer = models[1].layers[-1]
        self.report = report

    def run(self, *, seed: int, rounds: int) -> None:
        """Run everything that is constructed for the layer."""
        match self._layer:
            case Quantize():
                self._quantize(self._layer)
            case Linear() | Conv2d():
                self._weighted(self._layer, seed=seed, rounds=rounds)
            case _:
                batch = layer_inputs(self._layer, self._source, self._models[0].input_shape, seed=seed)
                self._compared(batch, self._lowered.layer_bytes(batch.astype(np.int64))[self._output.name])

    @property
    def _source(self) -> QuantParams:
        first = self._models[1].layers[0]
        assert isinstance(first, Quantize)
        return first.output

    def _quantize(self, layer: Quantize) -> None:
        """Run the least float32 of every level, and the one below it."""
        sides = np.stack(quantize_inputs(layer.output), axis=1)
        shape = self._models[0].input_shape
        rows = -(-sides.size // int(np.prod(shape)))
        batch = np.resize(sides, (rows, *shape))
        agreed = self._compared(batch, self._lowered.quantizer.levels(batch))
        hit = agreed.reshape(-1)[: sides.size].reshape(1, *sides.shape)
        count = CoverageCount(reachable=hit.size, hit=int(hit.sum()), unreachable=0)
        self.report = replace(
            self.report, coverage=count, thresholds=Thresholds(np.ones_like(hit), hit, np.zeros_like(hit))
        )

    def _weighted(self, layer: Linear | Conv2d, *, seed: int, rounds: int) -> None:
        """Run inputs that meet both sides of every threshold."""
        network = self._lowered.network
        (number,) = (index for index, node in enumerate(network.nodes) if isinstance(node.operation, Step))
        step = network.nodes[number].operation
        assert isinstance(step, Step)
        saturating = any(isinstance(node.operation, Clamp) for node in network.nodes)
        coverage = Coverage(step.thresholds, step.base)
        shape = self._models[0].input_shape
        inputs = BoundaryInputs(layer, self._source, shape, saturating=saturating, seed=seed)
        (facts,) = self._lowered.accumulators
        reach = np.stack([facts.lower, facts.upper], axis=1)
        executed = reach[:, ::-1].copy()
        places = np.empty(self._output.layout.size, dtype=np.int64)
        places[self._output.layout.reshape(-1)] = np.arange(places.size)
        every = np.arange(len(step.thresholds))
        for made_for, batch in _rounds(inputs, coverage, rounds):
            channels = made_for if saturating else every
            part, last = network, number
            if len(channels) < len(every):
                part = network_of_channels(network, number, channels)
                last = len(part.nodes) - 1
            accumulators, levels = part.evaluate_values(batch, (part.nodes[last].inputs[0], last + 1))
            chosen = places.reshape(-1, len(every))[:, channels]
            agreed = self._compared(batch, levels.reshape(len(batch), -1), chosen.reshape(-1))
            coverage.record(channels, accumulators, levels, agreed.reshape(levels.shape))
            executed[channels, 0] = np.minimum(executed[channels, 0], accumulators.min(axis=(0, 1)))
            executed[channels, 1] = np.maximum(executed[channels, 1], accumulators.max(axis=(0, 1)))
        drawn = Thresholds(coverage.sides, coverage.hit, coverage.unreachable, reach, executed)
        self.report = replace(self.report, coverage=coverage.count, thresholds=drawn)

    def _compared(
        self, batch: npt.NDArray[Any], predicted: IntArray, elements: IntArray | None = None
    ) -> npt.NDArray[np.bool_]:
        """Run a batch on the kernel, count, and return which bytes are the predicted ones.

        `predicted` is (n, *shape), or (n, elements) for some elements of the flat output.
        """
        real = kernel_bytes(self._pool, self._lowered.target, self._models[0], batch, rows=self._lowered.rows)
        shape = real.shape[1:]
        if elements is not None:
            real = real.reshape(len(real), -1)[:, elements]
        agreed = np.asarray(predicted == real)
        met = np.bincount((predicted[agreed] - self._least).reshape(-1), minlength=256)
        self.report = replace(
            self.report,
            alone=self.report.alone + tally(predicted, real),
            produced=self.report.produced + met,
            difference=self._alone_difference(predicted, real, batch, elements, shape),
        )
        return agreed

    def _alone_difference(
        self,
        predicted: IntArray,
        real: Bytes,
        batch: npt.NDArray[Any],
        elements: IntArray | None,
        shape: tuple[int, ...],
    ) -> Difference | None:
        known = self.report.difference
        if known is not None and known.alone:
            return known
        found = first_difference(self._output.name, predicted, real, self._models, batch, alone=True)
        if found is not None and elements is not None:
            place = np.unravel_index(elements[found.position[0]], shape)
            found = replace(found, position=tuple(int(index) for index in place))
        return found or known

    @property
    def _least(self) -> int:
        """The least output byte."""
        output = getattr(self._layer, "output", self._source)
        return output.least if isinstance(output, QuantParams) else 0


def _rounds(inputs: BoundaryInputs, coverage: Coverage, rounds: int) -> Iterator[tuple[IntArray, Bytes]]:
    """Yield constructed batches, then extreme and padded ones, then again for sides that are still open."""
    yield from inputs.batches(coverage)
    yield from inputs.further_batches(coverage)
    for _ in range(rounds - 1):
        if coverage.count.missed:
            yield from inputs.batches(coverage)
