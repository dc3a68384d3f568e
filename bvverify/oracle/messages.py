"""What the parent asks of a kernel process and what it answers; free of torch, so that both sides can import it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class LoadModel:
    """Request: read a TorchScript model under `engine`, which freezes the engine into its packed parameters.
    Answer: `Runtime`.
    """

    script: bytes
    engine: str


@dataclass(frozen=True)
class Runtime:
    """The version of torch that runs in the process."""

    version: str


@dataclass(frozen=True, eq=False)
class RunModel:
    """Request: run the loaded model on float32 inputs (n, *shape).  Answer: `Run`."""

    inputs: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Run:
    """What the kernels computed for a batch."""

    output: npt.NDArray[Any]
    """The model's own result, (n, ...): float32, or uint8 if the model ends quantized."""
    layers: dict[str, npt.NDArray[np.uint8]]
    """Bytes that each quantized layer puts out, (n, *shape), by the layer's label."""
