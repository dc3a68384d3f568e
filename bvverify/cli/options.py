"""Options that several commands take, and how their texts are read."""

import importlib
from collections.abc import Callable
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bvverify.errors import InputError, UsageError
from bvverify.queries import FloatBall, PixelBall, Region, TieRule

if TYPE_CHECKING:  # torch is imported only by commands that read a model
    from bvverify.load import DeployedModel
    from bvverify.load.inputs import Images


class RegionKind(StrEnum):
    """What may be perturbed."""

    PIXELS = "pixels"
    FLOATS = "floats"


ModelArgument = Annotated[
    Path,
    typer.Argument(
        help="TorchScript file of a quantized model. Reading it runs code it brings along: use only files you trust."
    ),
]
FactoryOption = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FUNCTION", help="Read MODEL as a state_dict (data only) into the module this function returns."
    ),
]
InputsOption = Annotated[
    Path, typer.Option(help="npz file with `images` (uint8 pixels or float32, (n, ...)) and, optionally, `labels`.")
]
RegionOption = Annotated[
    RegionKind,
    typer.Option(
        help="pixels: every 8-bit image near the input, real value p/255. floats: every float32 input near it."
    ),
]
RadiusOption = Annotated[
    str,
    typer.Option(
        help="L-infinity radius, several with commas: pixel levels (2), or for floats a number or fraction (2/255)."
    ),
]
ClipOption = Annotated[str, typer.Option(help="For floats: lowest and highest allowed input, LOW,HIGH, or `none`.")]
TieOption = Annotated[TieRule, typer.Option(help="What equal largest outputs mean.")]
TargetOption = Annotated[
    str, typer.Option(help="engine/isa, an engine alone, or auto (what this machine runs); see `bvverify targets`.")
]
SolverOption = Annotated[str, typer.Option(help="bitwuzla, cvc5 or z3.")]
InputShapeOption = Annotated[
    str | None,
    typer.Option(
        metavar="C,H,W", help="Shape of one input; not needed if the first layer is linear, or with --inputs."
    ),
]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write the result to this file as well.")]


def images_and_model(inputs: Path, model: Path, factory: str | None) -> "tuple[Images, DeployedModel]":
    """Return the inputs, in the model's shape, and the model; raises what `load_model` raises."""
    from bvverify.load import load_model_for
    from bvverify.load.inputs import read_images

    deployed, images = load_model_for(model, read_images(inputs), factory=read_factory(factory))
    return images, deployed


def read_factory(text: str | None) -> Callable[[], Any] | None:
    """Return the function that MODULE:FUNCTION names, or None without a text."""
    if text is None:
        return None
    module, _, name = text.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"factory '{text}': expected MODULE:FUNCTION that can be imported ({error})") from error
    if not callable(function):
        raise UsageError(f"factory '{text}': {name} is not a function")
    return function  # type: ignore[no-any-return]  # its result is checked when a state_dict is loaded into it


def read_indices(text: str, images: "Images") -> list[int]:
    """Return the indices that a text such as 0-9,12 names; all without a text."""
    from bvverify.load.inputs import parse_indices

    return parse_indices(text, len(images.images)) if text else list(range(len(images.images)))


def read_shape(text: str) -> tuple[int, ...]:
    """Return a shape written as 1,28,28."""
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"input shape '{text}': expected positive numbers with commas, such as 1,28,28")
    return tuple(int(part) for part in parts)


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


def read_region(images: "Images", index: int, radius: Fraction, region: RegionKind, clip: str) -> Region:
    """Return the region around one input."""
    if region is RegionKind.FLOATS:
        return FloatBall(images.real[index], radius, read_clip(clip))
    if images.images.dtype.name != "uint8":
        raise InputError(
            f"{images.name}: pixel regions need uint8 images, these are {images.images.dtype}; use --region floats"
        )
    return PixelBall(images.images[index], int(radius))


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
