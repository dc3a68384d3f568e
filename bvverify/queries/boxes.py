"""Regions whose ends are given element by element, and what a ball leaves where most elements are fixed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.errors import InputError
from bvverify.network import IntArray
from bvverify.queries.regions import FloatRegion, PixelRegion, Reals


@dataclass(frozen=True, eq=False)
class PixelBox(PixelRegion):
    """All images of 8-bit pixels from `lower` to `upper`, element by element; pixel p is the real input p / 255.

    `image`, `lower`, `upper`: uint8 of the model's input shape, lower <= image <= upper.
    """

    image: npt.NDArray[np.uint8]
    lower: npt.NDArray[np.uint8]
    upper: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_ends(self.image, self.lower, self.upper)

    def ends(self) -> tuple[IntArray, IntArray]:
        return self.lower.astype(np.int64), self.upper.astype(np.int64)


@dataclass(frozen=True, eq=False)
class FloatBox(FloatRegion):
    """All float32 inputs from `lower` to `upper`, element by element.

    `image`, `lower`, `upper`: finite float32 of the model's input shape, lower <= image <= upper.
    """

    image: Reals
    lower: Reals
    upper: Reals

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_ends(self.image, self.lower, self.upper)

    def ends(self) -> tuple[Reals, Reals]:
        return self.lower, self.upper


def only_free(region: PixelRegion | FloatRegion, free: npt.NDArray[np.bool_]) -> PixelBox | FloatBox:
    """Return the inputs of `region` that differ from its centre only where `free`, of its shape, is true."""
    lower, upper = region.ends()
    if isinstance(region, FloatRegion):
        return FloatBox(region.image, np.where(free, lower, region.image), np.where(free, upper, region.image))
    low, high = (np.where(free, end, region.image).astype(np.uint8) for end in (lower, upper))
    return PixelBox(region.image, low, high)


def _check_ends(image: npt.NDArray[Any], lower: npt.NDArray[Any], upper: npt.NDArray[Any]) -> None:
    for name, end in (("lower", lower), ("upper", upper)):
        if end.dtype != image.dtype or end.shape != image.shape:
            raise InputError(
                f"box: '{name}' is {end.dtype} of shape {end.shape}; it must be as the input, {image.dtype} of shape "
                f"{image.shape}"
            )
        if not np.isfinite(end).all():
            raise InputError(f"box: '{name}' holds NaN or infinity; give finite numbers")
    if outside := np.argwhere((image < lower) | (image > upper)).tolist():
        place = tuple(outside[0])
        raise InputError(
            f"box: the input's element {place} is {image[place]}, outside of its ends {lower[place]} and {upper[place]}"
        )
