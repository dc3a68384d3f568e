"""Regions as texts name them: kinds, radii, clips."""

from enum import StrEnum
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.errors import UsageError
from bvverify.queries.boxes import FloatBox, PixelBox, only_free
from bvverify.queries.regions import PIXEL_REALS, FloatBall, PixelBall, Region


class RegionKind(StrEnum):
    """What may be perturbed."""

    PIXELS = "pixels"
    FLOATS = "floats"


def read_fraction(text: str, what: str) -> Fraction:
    """Return a number written as 2, 0.5 or 2/255; `what` names it in errors."""
    try:
        return Fraction(text.strip())
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"{what} '{text.strip()}': expected a number or a fraction such as 2/255") from error


def read_radius(text: str, region: RegionKind) -> Fraction:
    """Return a radius that is not negative, and whole for pixel regions."""
    radius = read_fraction(text, "radius")
    if radius < 0:
        raise UsageError(f"radius '{text.strip()}': must not be negative")
    if region is RegionKind.PIXELS and radius.denominator != 1:
        raise UsageError(
            f"radius '{text.strip()}': pixel regions take whole grey levels; use --region floats for other radii"
        )
    return radius


def region_around(
    image: npt.NDArray[Any],
    kind: RegionKind,
    radius: Fraction,
    clip: tuple[Fraction, Fraction] | None,
    *,
    free: npt.NDArray[np.bool_] | None = None,
) -> Region:
    """Return the region around one input, uint8 pixels or float32; `clip` holds for floats only.  With `free`, of the
    input's shape, only elements where it is true may differ from the input.
    """
    ball: PixelBall | FloatBall
    ball = FloatBall(_reals(image), radius, clip) if kind is RegionKind.FLOATS else PixelBall(image, int(radius))
    return ball if free is None else only_free(ball, free)


def region_between(
    image: npt.NDArray[Any], kind: RegionKind, lower: npt.NDArray[Any], upper: npt.NDArray[Any]
) -> Region:
    """Return the region of one input between two ends that are given like it, uint8 pixels or float32."""
    if kind is RegionKind.FLOATS:
        return FloatBox(_reals(image), _reals(lower), _reals(upper))
    return PixelBox(image, lower, upper)


def _reals(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return PIXEL_REALS[image] if image.dtype == np.uint8 else image


def read_clip(text: str) -> tuple[Fraction, Fraction] | None:
    """Return the ends written as LOW,HIGH, or None for `none`."""
    if text.strip().lower() == "none":
        return None
    low, comma, high = text.partition(",")
    if not comma:
        raise UsageError(f"clip '{text}': expected LOW,HIGH or none")
    ends = read_fraction(low, "clip"), read_fraction(high, "clip")
    if ends[0] > ends[1]:
        raise UsageError(f"clip '{text}': the lower end is above the upper end")
    return ends
