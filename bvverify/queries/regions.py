"""Regions of real inputs, and their exact images under an engine's input quantization.

A region knows which integer inputs of the network it reaches (`levels`) and, for each of those, a real input that
is mapped to it (`real_input`), so that every witness can be run on the real kernel.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bvverify.errors import InputError, InternalError, UsageError
from bvverify.network import IntArray
from bvverify.queries.levels import LevelBox

Reals = npt.NDArray[np.float32]

PIXEL_REALS: Reals = np.arange(256, dtype=np.float32) / np.float32(255)
"""The real value of each 8-bit pixel p: p / 255 in float32, as torch divides."""


class Quantization(Protocol):
    """The engine's map from real inputs to integer levels; non-decreasing."""

    def levels(self, x: Reals, /) -> IntArray:
        """Return the level of each real input."""


class Region(Protocol):
    """A set of real inputs around a centre."""

    def center(self) -> Reals:
        """Return the unperturbed real input."""

    def levels(self, quantization: Quantization, /) -> LevelBox:
        """Return exactly the integer inputs that the region's real inputs are quantized to."""

    def real_input(self, levels: IntArray, quantization: Quantization, /) -> Reals:
        """Return a real input of the region that is quantized to `levels`, near the centre."""


class PixelRegion(ABC):
    """All images of 8-bit pixels between two ends, element by element; pixel p is the real input p / 255.

    `image`: the unperturbed image, uint8 of the model's input shape, between the ends.
    """

    image: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8:
            raise InputError(f"pixel region: expected uint8 pixels, got {self.image.dtype}; use --region floats")

    @abstractmethod
    def ends(self) -> tuple[IntArray, IntArray]:
        """Return the least and the greatest pixel of each element, int64 in 0 to 255."""

    def center(self) -> Reals:
        return PIXEL_REALS[self.image]

    def levels(self, quantization: Quantization, /) -> LevelBox:
        table = quantization.levels(PIXEL_REALS)
        low, high = self.ends()
        lower, upper = table[low], table[high]
        unreached = np.setdiff1d(np.arange(table[0], table[-1] + 1), table)
        # A level that lies between the ends and is reached by any pixel is reached by a pixel of the region, for
        # `table` is monotone.
        inside = (lower.reshape(-1, 1) < unreached) & (unreached < upper.reshape(-1, 1))
        element, which = np.nonzero(inside)
        return LevelBox(lower, upper, np.stack([element, unreached[which]], axis=1).astype(np.int64))

    def real_input(self, levels: IntArray, quantization: Quantization, /) -> Reals:
        return PIXEL_REALS[self.pixels(levels, quantization)]

    def pixels(self, levels: IntArray, quantization: Quantization, /) -> npt.NDArray[np.uint8]:
        """Return, per element, the pixel nearest to the image's own that is quantized to `levels`."""
        table = quantization.levels(PIXEL_REALS)
        low, high = self.ends()
        first = np.maximum(np.searchsorted(table, levels, side="left"), low)
        last = np.minimum(np.searchsorted(table, levels, side="right") - 1, high)
        if (first > last).any():
            raise InternalError("pixel region: a level without a pixel was asked for")
        return np.clip(self.image, first, last).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class PixelBall(PixelRegion):
    """All images of 8-bit pixels within `radius` grey levels of `image`, element by element.

    `image`: uint8 of the model's input shape; `radius` >= 0, in pixel levels (of 255).
    """

    image: npt.NDArray[np.uint8]
    radius: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.radius < 0:
            raise UsageError(f"pixel region: radius {self.radius} is negative")

    def ends(self) -> tuple[IntArray, IntArray]:
        wide = self.image.astype(np.int64)
        return np.maximum(wide - self.radius, 0), np.minimum(wide + self.radius, 255)


class FloatRegion(ABC):
    """All float32 inputs between two ends, element by element.

    `image`: the unperturbed input, finite float32 of the model's input shape, between the ends.
    """

    image: Reals

    def __post_init__(self) -> None:
        if self.image.dtype != np.float32 or not np.isfinite(self.image).all():
            raise InputError(f"float region: expected finite float32 inputs, got {self.image.dtype}")

    @abstractmethod
    def ends(self) -> tuple[Reals, Reals]:
        """Return the least and the greatest input of each element, finite."""

    def center(self) -> Reals:
        return self.image

    def levels(self, quantization: Quantization, /) -> LevelBox:
        lower, upper = self.ends()
        return LevelBox.of(quantization.levels(lower), quantization.levels(upper))

    def real_input(self, levels: IntArray, quantization: Quantization, /) -> Reals:
        lower, upper = self.ends()
        own = quantization.levels(self.image)
        least = _least_reaching(levels, lower, upper, quantization)
        # The greatest input at level k is the one before the least that reaches k + 1.
        above = _least_reaching(levels + 1, lower, upper, quantization)
        greatest = np.where(quantization.levels(upper) <= levels, upper, np.nextafter(above, np.float32(-np.inf)))
        chosen = np.where(levels > own, least, np.where(levels < own, greatest, self.image)).astype(np.float32)
        if (quantization.levels(chosen) != levels).any() or (chosen < lower).any() or (chosen > upper).any():
            raise InternalError("float region: a level without a real input was asked for")
        return chosen


@dataclass(frozen=True, eq=False)
class FloatBall(FloatRegion):
    """All float32 inputs x with |x - image| <= radius, element by element, in exact arithmetic; cut to [low, high]
    if `clip` is given.

    `image`: finite float32 of the model's input shape; `radius` >= 0, an exact fraction in the unit of the inputs.
    """

    image: Reals
    radius: Fraction
    clip: tuple[Fraction, Fraction] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.radius < 0:
            raise UsageError(f"float region: radius {self.radius} is negative")
        if self.clip is not None:
            low, high = self.clip
            if any(not low <= Fraction(x) <= high for x in self.image.reshape(-1).tolist()):
                raise InputError(f"float region: an input lies outside [{float(low):g}, {float(high):g}]")

    def ends(self) -> tuple[Reals, Reals]:
        """Return the least and the greatest float32 within the radius, exactly."""
        low = [self._cut(Fraction(float(x)) - self.radius) for x in self.image.reshape(-1)]
        high = [self._cut(Fraction(float(x)) + self.radius) for x in self.image.reshape(-1)]
        lower = np.array([_round_to_float32(end, up=True) for end in low], dtype=np.float32)
        upper = np.array([_round_to_float32(end, up=False) for end in high], dtype=np.float32)
        return lower.reshape(self.image.shape), upper.reshape(self.image.shape)

    def _cut(self, end: Fraction) -> Fraction:
        return end if self.clip is None else min(max(end, self.clip[0]), self.clip[1])


def _round_to_float32(value: Fraction, *, up: bool) -> np.float32:
    """Return the least float32 >= value (up) or the greatest <= value."""
    largest = np.finfo(np.float32).max
    if abs(value) > Fraction(float(largest)):
        raise UsageError("float region: the radius leads beyond the finite float32 numbers")
    nearest = np.float32(float(value))
    if not np.isfinite(nearest):
        nearest = np.float32(np.copysign(largest, nearest))
    exact = Fraction(float(nearest))
    if up and exact < value:
        return np.float32(np.nextafter(nearest, np.float32(np.inf)))
    if not up and exact > value:
        return np.float32(np.nextafter(nearest, np.float32(-np.inf)))
    return nearest


def _least_reaching(levels: IntArray, lower: Reals, upper: Reals, quantization: Quantization) -> Reals:
    """Return the least float32 in [lower, upper] whose level is at least `levels`; `upper` where there is none."""
    low, high = _ordinal(lower) - 1, _ordinal(upper)
    while (high - low > 1).any():
        middle = low + (high - low) // 2
        hit = quantization.levels(_from_ordinal(middle)) >= levels
        high, low = np.where(hit, middle, high), np.where(hit, low, middle)
    return _from_ordinal(high)


def _ordinal(x: Reals) -> IntArray:
    """Return the position of finite float32 in ascending order; both zeros are 0."""
    bits = x.view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _from_ordinal(ordinal: IntArray) -> Reals:
    bits: npt.NDArray[Any] = np.where(ordinal < 0, (-ordinal) | 0x80000000, ordinal).astype(np.uint32)
    return bits.view(np.float32)
