"""What is found out about the layers of one model on one target."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.model import QuantizedModel
from bvverify.network import IntArray
from harness.boundary_coverage import CoverageCount


@dataclass(frozen=True)
class Tally:
    """How many bytes were compared, and how many of them differed."""

    compared: int = 0
    different: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.compared + other.compared, self.different + other.different)


@dataclass(frozen=True, eq=False)
class Difference:
    """One byte that the kernel computes otherwise than predicted."""

    layer: str
    alone: bool
    """Whether the layer ran alone, or within the whole script."""
    position: tuple[int, ...]
    """Place in the layer's output, batch left out."""
    predicted: int
    kernel: int
    model: QuantizedModel
    """What ran on the kernel; the layer's result is the last."""
    expected: QuantizedModel
    """What the bytes were predicted from."""
    inputs: npt.NDArray[Any]
    """The input of that byte, (1, *input_shape): float32, or bytes for the first layer to put out."""


@dataclass(frozen=True, eq=False)
class Thresholds:
    """What is drawn of a layer with thresholds: bool [C, T, 2] each, as in `Coverage`."""

    sides: npt.NDArray[np.bool_]
    hit: npt.NDArray[np.bool_]
    unreachable: npt.NDArray[np.bool_]
    reach: IntArray | None = None
    """Least and greatest accumulator of each channel over all inputs, int64 [C, 2]; None for a Quantize layer."""
    executed: IntArray | None = None
    """Least and greatest accumulator of each channel among the executed inputs, int64 [C, 2]."""


@dataclass(frozen=True, eq=False)
class LayerReport:
    """What was found about one layer."""

    name: str
    kind: str
    whole: Tally = Tally()
    alone: Tally = Tally()
    coverage: CoverageCount | None = None
    not_alone: str | None = None
    """Why the layer was not run alone."""
    rejected: str | None = None
    """What the kernel said instead of computing the layer."""
    difference: Difference | None = None
    thresholds: Thresholds | None = None
    produced: IntArray = field(default_factory=lambda: np.zeros(256, dtype=np.int64))
    """How often each output byte, from the least to the greatest, was predicted and met when the layer ran alone."""

    @property
    def conforms(self) -> bool:
        """Whether every byte compared was the predicted one, and the kernel rejected no input."""
        return not (self.whole.different or self.alone.different or self.rejected)
