"""What two subjects compute for the same images, and where they differ."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bvverify.compare.layers import LayerComparison, SkippedLayer, meaning
from bvverify.kernels.target import Target
from bvverify.model import QuantParams
from bvverify.network import IntArray


@dataclass(frozen=True, eq=False)
class Side:
    """What one model on one target computes; arrays have one row per image."""

    model: str
    """Name of the model's file."""
    digest: str
    """SHA-256 of the model's TorchScript content."""
    input_shape: tuple[int, ...]
    target: Target
    unconfirmed: str | None
    """Why this machine cannot run the target; None if the real kernel has confirmed every byte of every layer."""
    params: QuantParams
    """What the output bytes mean."""
    outputs: IntArray
    """Output bytes, int64 (n, classes)."""
    classes: IntArray
    """Class that torch.argmax gives, int64 (n,)."""

    def correct(self, labels: IntArray) -> int:
        """Return for how many images the class is the label; `labels` int64 (n,)."""
        return int(np.count_nonzero(self.classes == labels))


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two sides over the same n images."""

    first: Side
    second: Side
    inputs: str
    """Name of the images' file."""
    positions: IntArray
    """Each image's place in that file, int64 (n,)."""
    labels: IntArray | None
    """int64 (n,), or None if the file has none."""
    layers: tuple[LayerComparison, ...]
    skipped: tuple[SkippedLayer, ...]

    @property
    def incomparable(self) -> str | None:
        """Why output bytes of the two sides cannot be compared, or None."""
        if self.first.params == self.second.params:
            return None
        return (
            f"output bytes mean different numbers ({meaning(self.first.params)}; and {meaning(self.second.params)}), "
            "so that predictions are compared and bytes are not"
        )

    @cached_property
    def distances(self) -> IntArray:
        """Largest difference of each image's output bytes, int64 (n,); all zero where they cannot be compared."""
        if self.incomparable:
            return np.zeros(len(self.positions), dtype=np.int64)
        return np.asarray(np.abs(self.first.outputs - self.second.outputs).max(axis=1))

    @cached_property
    def predictions_differ(self) -> npt.NDArray[np.bool_]:
        """Which images get another class, bool (n,)."""
        return np.asarray(self.first.classes != self.second.classes)

    @property
    def bytes_that_differ(self) -> int:
        """How many output bytes differ, over all images; 0 where they cannot be compared."""
        return 0 if self.incomparable else int(np.count_nonzero(self.first.outputs != self.second.outputs))

    @property
    def differs(self) -> bool:
        """Whether any byte that is compared, of whatever layer, or any prediction differs."""
        hidden = any(layer.images for layer in self.layers)
        return hidden or bool(self.predictions_differ.any()) or bool(self.distances.any())

    @cached_property
    def ranked(self) -> IntArray:
        """Rows of the images whose output bytes or predictions differ, int64 (k,).

        Those with another prediction come first, then the largest difference of a byte, then the most bytes.
        """
        count = np.count_nonzero(self.first.outputs != self.second.outputs, axis=1) * (self.distances > 0)
        order = np.lexsort((-count, -self.distances, ~self.predictions_differ))
        return order[(self.predictions_differ | (self.distances > 0))[order]]
