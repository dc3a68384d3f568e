"""The regions that options name: a radius, a patch of an image, or a box for each input."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bvverify.errors import UsageError
from bvverify.queries import RegionKind, read_clip, read_patch, read_radius, region_around, region_between

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bvverify.load.inputs import Images
    from bvverify.queries import Region

PatchOption = Annotated[
    str | None,
    typer.Option(
        metavar="ROW,COLUMN,HEIGHT,WIDTH",
        help="Only this rectangle of the image may change; with --radius 255 it may be anything.",
    ),
]
BoxOption = Annotated[
    Path | None,
    typer.Option(help="npz file with `lower` and `upper`, as the inputs: their own ends, in place of --radius."),
]
DEFAULT_RADIUS = "1"


def regions_of(
    images: "Images", *, kind: RegionKind, radius: str, clip: str, patch: str | None, box: Path | None
) -> "Callable[[int], list[tuple[str, Region]]]":
    """Return what gives the regions around an input of `images`, each with its radius as text; boxes have none.

    Raises `UsageError` or `InputError` for texts, and for a file of boxes, that name no regions of such inputs.
    """
    from bvverify.load.inputs import read_ends

    if box is not None:
        if radius != DEFAULT_RADIUS or patch is not None:
            raise UsageError("--box gives the ends of every element; leave out --radius and --patch")
        lower, upper = read_ends(box, images)
        return lambda index: [("", region_between(images.images[index], kind, lower[index], upper[index]))]
    ends = read_clip(clip)
    radii = [(text.strip(), read_radius(text, kind)) for text in radius.split(",")]
    free = free_elements(images, patch)

    def around(index: int) -> "list[tuple[str, Region]]":
        image = images.images[index]
        return [(text, region_around(image, kind, size, ends, free=free)) for text, size in radii]

    return around


def free_elements(images: "Images", patch: str | None) -> "npt.NDArray[np.bool_] | None":
    """Return which elements of an input, in the model's shape, a patch lets change; None for all, without a patch."""
    return None if patch is None else read_patch(patch).mask(images.picture).reshape(images.images.shape[1:])


def radius_number(text: str) -> int | float | str | None:
    """Radii are written as numbers where JSON has them: 2, 0.5; a fraction stays as it was given; a box has none."""
    if not text:
        return None
    radius = Fraction(text)
    if radius.denominator == 1:
        return int(radius)
    return float(text) if "/" not in text else text
