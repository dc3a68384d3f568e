"""Compare every layer's bytes with the real kernels, on real images: `python -m harness model-bytes --help`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console

from bvverify.errors import NotExact
from bvverify.evidence import kernel_session
from bvverify.exit_codes import reported
from bvverify.kernels.availability import unavailable
from bvverify.kernels.lower import lower
from bvverify.kernels.target import RUNTIME, TARGETS, Target
from bvverify.load import DeployedModel, load_model_for
from bvverify.load.inputs import read_images

_BATCH = 1000
console = Console()


@dataclass(frozen=True)
class Comparison:
    """Our bytes against one target's kernels, for one model."""

    model: str
    target: str
    images: int
    compared: int
    """Number of bytes compared, all layers and images."""
    different: int
    """How many of them differ."""
    first_difference: str
    """Where the first difference lies; empty if there is none."""
    refusal: str
    """Why nothing could be compared; empty if it was."""


def compare(deployed: DeployedModel, target: Target, inputs: npt.NDArray[np.float32]) -> Comparison:
    """Return how many bytes of all layers differ between the lowered network and the kernel.

    `inputs`: real inputs, (n, *input_shape).
    """
    if (reason := unavailable(deployed.model, target)) is not None:
        return Comparison(deployed.name, str(target), 0, 0, 0, "", reason)
    try:
        lowered = lower(deployed.model, target)
    except NotExact as refusal:
        return Comparison(deployed.name, str(target), 0, 0, 0, "", str(refusal))
    compared = different = 0
    first = ""
    with kernel_session(deployed, target) as kernels:
        for start in range(0, len(inputs), _BATCH):
            batch = inputs[start : start + _BATCH]
            real = kernels.run(batch, rows=lowered.rows).layers
            for name, predicted in lowered.layer_bytes(lowered.quantizer.levels(batch)).items():
                wrong = predicted != real[name]
                compared += wrong.size
                different += int(wrong.sum())
                if wrong.any() and not first:
                    first = f"image {start + int(np.argwhere(wrong)[0][0])}, layer {name}"
    return Comparison(deployed.name, str(target), len(inputs), compared, different, first, "")


def corners(count: int, shape: tuple[int, ...], *, seed: int) -> npt.NDArray[np.float32]:
    """Return random images of zeros and ones of varying density.

    They drive hidden layers far beyond what real images do.
    """
    generator = np.random.default_rng(seed)
    density = generator.random((count, *(1,) * len(shape)))
    return (generator.random((count, *shape)) < density).astype(np.float32)


def main(
    *,
    models: Annotated[list[Path], typer.Argument(help="TorchScript files.")],
    inputs: Annotated[Path, typer.Option(help="npz file with `images`.")],
    corner_images: Annotated[int, typer.Option(min=0, help="Random images of zeros and ones to add.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the random images.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Markdown page to write.")] = None,
) -> None:
    """Compare all layers of MODELS on all targets; exit code 1 if any byte differs."""
    with reported():
        images = read_images(inputs)
        results: list[Comparison] = []
        for path in models:
            deployed, shaped = load_model_for(path, images)
            batch = np.concatenate([shaped.real, corners(corner_images, deployed.model.input_shape, seed=seed)])
            for target in TARGETS:
                with console.status(f"{path.name} on {target}"):
                    results.append(compare(deployed, target, batch))
                console.print(_line(results[-1]), markup=False, soft_wrap=True)
        if out is not None:
            out.write_text("".join(f"{line}\n" for line in page(results, corner_images=corner_images)))
        raise typer.Exit(int(any(result.different for result in results)))


def page(results: Sequence[Comparison], *, corner_images: int) -> Iterator[str]:
    """Yield the lines of a Markdown page about comparisons."""
    yield "# Layer bytes against the real kernels"
    yield ""
    yield f"Every layer's output bytes, computed by the lowered network and by the kernels of {RUNTIME}, whose"
    yield f"instruction set was forced by the environment. {corner_images} of the images are random zeros and ones,"
    yield "which drive hidden layers to the ends of their range; the others are those of the inputs file."
    yield "Made by `python -m harness model-bytes`."
    yield ""
    yield "| model | target | images | bytes compared | different |"
    yield "|---|---|---|---|---|"
    for result in results:
        cells = ("", "", f"not compared: {result.refusal}")
        if not result.refusal:
            cells = (f"{result.images:,}", f"{result.compared:,}", f"{result.different:,}")
        yield f"| {result.model} | {result.target} | {' | '.join(cells)} |"
    yield f"| all | | | {sum(r.compared for r in results):,} | {sum(r.different for r in results):,} |"


def _line(result: Comparison) -> str:
    if result.refusal:
        return f"{result.model} {result.target}: not compared, {result.refusal}"
    where = f", first at {result.first_difference}" if result.first_difference else ""
    return f"{result.model} {result.target}: {result.compared:,} bytes, {result.different:,} different{where}"
