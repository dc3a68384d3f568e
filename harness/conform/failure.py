"""What a failing run leaves behind: a case of a few numbers that the kernel and the prediction disagree on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.kernels.lower import lower
from bvverify.kernels.target import Target
from bvverify.model import QuantizedModel
from bvverify.network import IntArray
from harness.case_file import CaseFile, Expectation, write_case
from harness.conform.kernel import Rejected, kernel_bytes
from harness.conform.records import Difference
from harness.pool import KernelPool
from harness.shrink import shrink

_ATTEMPTS = 3000


@dataclass(frozen=True, eq=False)
class SmallCase:
    """A shrunk case: models are what runs on the kernel and what predicts; one if both are the same."""

    models: tuple[QuantizedModel, ...]
    inputs: npt.NDArray[Any]
    predicted: IntArray
    kernel: IntArray


def write_failure(folder: Path, difference: Difference, target: Target, pool: KernelPool) -> tuple[str, ...]:
    """Write a small case to `folder` and return the names of its files: the kernel's model, and the expected one.

    Where the difference does not occur outside of the whole script, the script's input is written instead.
    """
    case = _small_case(difference, target, pool)
    if case is None:
        return (_write_input(folder, difference.inputs),)
    names = ("case.json", "case-expected.json")[: len(case.models)]
    cause = (
        f"layer {difference.layer} on {target}: predicted {_shown(case.predicted)}, the kernel {_shown(case.kernel)}"
    )
    for name, model in zip(names, case.models, strict=True):
        expected = (Expectation((target,), case.predicted),)
        content = CaseFile(f"conform-{difference.layer}", cause, ("ours",), model, case.inputs, expected)
        draft = folder / f"{name}.part"
        write_case(draft, content)
        draft.replace(folder / name)
    return names


def _small_case(difference: Difference, target: Target, pool: KernelPool) -> SmallCase | None:
    """Return a small case that still differs, or None if the layers outside of the script do not."""
    same = difference.expected is difference.model
    models: tuple[QuantizedModel, ...] = (difference.model,) if same else (difference.model, difference.expected)

    def outcome(candidates: tuple[QuantizedModel, ...], inputs: npt.NDArray[Any]) -> tuple[IntArray, IntArray]:
        lowered = lower(candidates[-1], target)
        predicted = lowered.layer_bytes(lowered.levels(inputs))[candidates[-1].layers[-1].name]
        return predicted, kernel_bytes(pool, target, candidates[0], inputs, rows=lowered.rows).astype(np.int64)

    def fails(candidates: tuple[QuantizedModel, ...], inputs: npt.NDArray[Any]) -> bool:
        try:
            predicted, real = outcome(candidates, inputs)
        except Rejected:
            return False
        return predicted.shape == real.shape and bool((predicted != real).any())

    if not fails(models, difference.inputs):
        return None
    models, inputs = shrink(models, difference.inputs, fails, attempts=_ATTEMPTS)
    return SmallCase(models, inputs, *outcome(models, inputs))


def _write_input(folder: Path, inputs: npt.NDArray[Any]) -> str:
    draft = folder / "input.npz.part"
    with draft.open("wb") as file:
        np.savez(file, allow_pickle=False, images=inputs)
    draft.replace(folder / "input.npz")
    return "input.npz"


def _shown(levels: IntArray) -> str:
    return " ".join(str(level) for level in levels.reshape(-1)[:8].tolist()) + (" ..." if levels.size > 8 else "")
