"""What the parent asks of a kernel process and what it answers; free of torch, so that both sides can import it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bvverify.model import QuantizedModel


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
    """Request: run the loaded model on float32 inputs (n, *shape), `rows` at a time.  Answer: `Run`."""

    inputs: npt.NDArray[np.float32]
    rows: int


@dataclass(frozen=True, eq=False)
class Run:
    """What the kernels computed for a batch."""

    output: npt.NDArray[Any]
    """The model's own result, (n, ...): float32, or uint8 if the model ends quantized."""
    layers: dict[str, npt.NDArray[np.uint8]]
    """Bytes that each quantized layer puts out, (n, *shape), by the layer's label."""


Case: TypeAlias = tuple[QuantizedModel, npt.NDArray[Any]]
"""Layers and a batch for them, (n, *input_shape): float32, or bytes that the first layer puts out."""

LayerBytes: TypeAlias = dict[str, npt.NDArray[np.uint8 | np.int8]]
"""Bytes that each layer puts out, (n, *shape), by the layer's name."""


@dataclass(frozen=True)
class RuntimeVersion:
    """Request: which version of torch runs?  Answer: `Runtime`."""


@dataclass(frozen=True, eq=False)
class RunLayers:
    """Request: run each case under `engine`.  Answer: per case, its `LayerBytes` or what the kernels say against it."""

    engine: str
    cases: Sequence[Case]
