"""Options that several commands take, and how their texts are read."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bvverify.errors import UsageError
from bvverify.load.factory import read_factory
from bvverify.queries import RegionKind, TieRule

if TYPE_CHECKING:  # torch is imported only by commands that read a model
    from bvverify.load import DeployedModel
    from bvverify.load.inputs import Images


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
ForbiddenOption = Annotated[
    int | None,
    typer.Option(min=0, metavar="CLASS", help="Ask whether no input of the region is classified as this class."),
]
TieOption = Annotated[TieRule, typer.Option(help="What equal largest outputs mean.")]
TargetOption = Annotated[
    str, typer.Option(help="engine/isa, an engine alone, or auto (what this machine runs); see `bvverify targets`.")
]
SolverOption = Annotated[str, typer.Option(help="bitwuzla, cvc5 or z3.")]
StagesOption = Annotated[
    str | None,
    typer.Option(help="Stages to try, with commas: intervals, bounds, attack, branch, ilp, bitvector; default all."),
]
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
