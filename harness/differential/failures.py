"""What a differing case leaves behind: a small case file."""

from pathlib import Path
from typing import Any

import numpy.typing as npt

from bvverify.kernels.lower import lower
from bvverify.kernels.target import Target
from bvverify.model import QuantizedModel
from harness.case_file import write_case
from harness.corpus import recorded_case
from harness.differential.compare import difference
from harness.differential.operations import Operation
from harness.pool import KernelPool
from harness.shrink import shrink


def write_failure(pool: KernelPool, operation: Operation, target: Target, seed: int, folder: Path) -> Path | None:
    """Shrink the case of a seed and write it to `folder`, with the bytes that the kernels compute for it.

    Returns the file's path, or None if the case does not differ when it is run again.
    """
    model, batches = operation.case(seed)

    def differs(models: tuple[QuantizedModel, ...], inputs: npt.NDArray[Any]) -> bool:
        lowered = lower(models[0], target)
        (real,) = pool.run(target, [(models[0], inputs)])
        return difference(lowered, inputs, real) is not None

    for batch in batches:
        if differs((model,), batch):
            (small,), inputs = shrink((model,), batch, differs)
            kind = operation.name.replace(", ", "-").replace(" ", "-")
            name = f"{kind}-{str(target).replace('/', '-')}-{seed}"
            case = recorded_case(name, f"differs from the prediction on {target}", ["ours"], small, inputs, pool)
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{name}.json"
            write_case(path, case)
            return path
    return None
