"""Patch: the rectangle of an image that may change."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bvverify.errors import UsageError


@dataclass(frozen=True)
class Patch:
    """The elements of an image in `height` rows from `row` and `width` columns from `column`, counted from 0."""

    row: int
    column: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if min(self.row, self.column) < 0 or min(self.height, self.width) < 1:
            raise UsageError(f"patch '{self}': rows and columns count from 0, height and width from 1")

    def __str__(self) -> str:
        return f"{self.row},{self.column},{self.height},{self.width}"

    def mask(self, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """Return the truth of lying in the patch for images of `shape`, (H, W) or (C, H, W), in all channels; raise
        `UsageError` if the patch does not lie in them.
        """
        if len(shape) not in (2, 3):
            raise UsageError(f"patch '{self}': inputs of shape {shape} are no images of shape (H, W) or (C, H, W)")
        height, width = shape[-2:]
        if self.row + self.height > height or self.column + self.width > width:
            raise UsageError(f"patch '{self}': leaves the image, which has {height} rows and {width} columns")
        free = np.zeros(shape, dtype=np.bool_)
        free[..., self.row : self.row + self.height, self.column : self.column + self.width] = True
        return free


def read_patch(text: str) -> Patch:
    """Return the patch written as ROW,COLUMN,HEIGHT,WIDTH."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(part.isdecimal() for part in parts):
        raise UsageError(f"patch '{text}': expected ROW,COLUMN,HEIGHT,WIDTH, such as 4,4,5,5")
    return Patch(*map(int, parts))
