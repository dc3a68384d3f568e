"""What mutants are measured against: cases with the bytes that real kernels computed for them, and refusals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.errors import BvverifyError, InternalError
from bvverify.kernels.availability import unavailable
from bvverify.kernels.lower import lower
from bvverify.kernels.target import TARGETS, Engine, Isa, Target
from bvverify.model import QuantizedModel
from bvverify.network import IntArray
from harness.case_file import read_case
from harness.corpus import FOLDER, case_paths, result_bytes
from harness.pool import KernelPool

Named = tuple[str, QuantizedModel, npt.NDArray[Any]]
"""A case's name, model and inputs."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """One case on one target."""

    name: str
    target: Target
    model: QuantizedModel
    inputs: npt.NDArray[Any]
    expected: IntArray | str
    """The kernel's bytes, int64 (n, outputs), or a part of the refusal by lowering."""


def corpus_records(folder: Path = FOLDER) -> Iterator[Recorded]:
    """Yield what the corpus expects, target by target."""
    for path in case_paths(folder):
        case = read_case(path)
        for entry in case.expected:
            expected = str(entry.refused) if entry.bytes is None else entry.bytes.reshape(len(entry.bytes), -1)
            for target in (target for target in entry.targets if not _is_fbgemm(target)):
                yield Recorded(f"corpus {case.name}", target, case.model, case.inputs, expected)


def kernel_records(cases: Sequence[Named], pool: KernelPool) -> Iterator[Recorded]:
    """Yield what real kernels compute for `cases`, and which of them unmutated lowering refuses."""
    for target in TARGETS:
        if _is_fbgemm(target):
            continue
        lowered = []
        for name, model, inputs in cases:
            try:
                lower(model, target)
            except BvverifyError as refusal:
                yield Recorded(name, target, model, inputs, str(refusal))
                continue
            if unavailable(model, target) is None:
                lowered.append((name, model, inputs))
        results = pool.run(target, [(model, inputs) for _, model, inputs in lowered])
        for (name, model, inputs), result in zip(lowered, results, strict=True):
            if isinstance(result, str):
                raise InternalError(f"{name} on {target}: lowered, but the kernel says: {result}")
            expected = result_bytes(model, result).reshape(len(inputs), -1)
            yield Recorded(name, target, model, inputs, np.ascontiguousarray(expected))


def _is_fbgemm(target: Target) -> bool:
    """Return whether a target runs nothing but FBGEMM, which is there under its own name."""
    return target.engine is Engine.X86 and target.isa is not Isa.AVX512_VNNI
