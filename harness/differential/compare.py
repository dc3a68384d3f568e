"""One operation on one target: our bytes against the kernel's, case by case."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bvverify.errors import NotExact
from bvverify.kernels.availability import unavailable
from bvverify.kernels.lower import LoweredModel, lower
from bvverify.kernels.target import Target
from bvverify.model import Contiguous, Quantize, QuantizedModel, Reshape, Slice
from bvverify.oracle import LayerBytes
from harness.differential.operations import Operation
from harness.pool import KernelPool

_CASES_PER_REQUEST = 64


@dataclass(frozen=True)
class Mismatch:
    """A case that the semantics does not explain."""

    operation: str
    target: str
    seed: int
    what: str


@dataclass
class Tally:
    """What happened to the cases of one operation on one target."""

    compared: int = 0
    """Cases that were run on the kernel."""
    bytes: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Cases that lowering refuses, by reason."""
    unavailable: int = 0
    """Cases that this machine cannot run on the target."""
    mismatches: list[Mismatch] = field(default_factory=list)


def compare(pool: KernelPool, operation: Operation, target: Target, seeds: Iterable[int]) -> Tally:
    """Return the tally of the cases of `seeds`."""
    tally = Tally()
    waiting: list[_Waiting] = []
    for seed in seeds:
        model, batches = operation.case(seed)
        if unavailable(model, target) is not None:
            tally.unavailable += 1
            continue
        try:
            lowered = lower(model, target)
        except NotExact as refusal:
            tally.refused[reason_of(refusal)] += 1
            continue
        tally.compared += 1
        waiting += [_Waiting(seed, model, lowered, batch) for batch in batches]
        if len(waiting) >= _CASES_PER_REQUEST:
            _settle(pool, operation, target, waiting, tally)
    _settle(pool, operation, target, waiting, tally)
    return tally


class _Waiting(NamedTuple):
    """A batch that is still to be run."""

    seed: int
    model: QuantizedModel
    lowered: LoweredModel
    batch: npt.NDArray[Any]


def _settle(pool: KernelPool, operation: Operation, target: Target, waiting: list[_Waiting], tally: Tally) -> None:
    """Run the waiting batches on the kernels, compare, and forget them."""
    results = pool.run(target, [(case.model, case.batch) for case in waiting])
    for case, real in zip(waiting, results, strict=True):
        what = difference(case.lowered, case.batch, real)
        if what is not None:
            tally.mismatches.append(Mismatch(operation.name, str(target), case.seed, what))
        elif not isinstance(real, str):
            tally.bytes += sum(real[name].size for name in computed(case.model, case.batch))
    waiting.clear()


def difference(lowered: LoweredModel, batch: npt.NDArray[Any], real: LayerBytes | str) -> str | None:
    """Return how the kernel's answer differs from our bytes in any layer, or None if it does not."""
    if isinstance(real, str):
        return f"the kernel gave no bytes: {real}"
    for name, predicted in lowered.layer_bytes(lowered.levels(batch)).items():
        if predicted.shape != real[name].shape:
            return f"layer {name}: shape {predicted.shape}, the kernel's is {real[name].shape}"
        wrong = np.argwhere(predicted != real[name])
        if len(wrong):
            place = tuple(wrong[0].tolist())
            values = f"predicted {predicted[place]}, the kernel computed {real[name][place]}"
            return f"layer {name}: {len(wrong)} bytes differ, first at {place}: {values}"
    return None


def computed(model: QuantizedModel, batch: npt.NDArray[Any]) -> list[str]:
    """Return the names of the layers whose bytes a kernel computes: not those that were given, nor copies."""
    given = (Slice, Contiguous, Reshape) if batch.dtype == np.float32 else (Quantize, Slice, Contiguous, Reshape)
    return [layer.name for layer in model.layers if not isinstance(layer, given)]


def reason_of(refusal: NotExact) -> str:
    """Return a refusal without the layer's name."""
    return str(refusal).partition(": ")[2] or str(refusal)
