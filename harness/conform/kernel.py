"""Bytes of a model given as records, from the real kernels."""

from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.kernels.target import Target
from bvverify.model import QuantizedModel
from harness.conform.inputs import Bytes
from harness.pool import KernelPool


class Rejected(Exception):
    """The kernel gave no bytes; the message is what it said."""


def kernel_bytes(
    pool: KernelPool, target: Target, model: QuantizedModel, inputs: npt.NDArray[Any], *, rows: int | None
) -> Bytes:
    """Return the bytes of the last layer, (n, *shape), for inputs in batches of `rows`, all at once if None.

    Raises `Rejected` if the kernel gives none.
    """
    step = rows or len(inputs)
    results = pool.run(target, [(model, inputs[start : start + step]) for start in range(0, len(inputs), step)])
    parts = []
    for result in results:
        if isinstance(result, str):
            raise Rejected(result)
        parts.append(result[model.layers[-1].name])
    return np.concatenate(parts)
