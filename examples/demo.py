"""Verify real MNIST images on a real quantized network, then show one file computing two different things.

Run it with `make demo`, or with `python examples/demo.py` once bvverify is installed.
"""

import os

os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table

import bvverify as bv
from bvverify.evidence import Replayer
from bvverify.load.inputs import read_images
from bvverify.model import Linear
from bvverify.report.tables import verdict_table

EQV = Path(__file__).parents[1] / "benchmarks" / "eqv"
IMAGES = 10
RADII = (1, 2)
SECONDS = 5.0
console = Console()


def main() -> None:
    """Run both parts."""
    verify_images(bv.Target.parse("fbgemm"))
    compare_targets(*_two_targets())


def verify_images(target: bv.Target) -> None:
    """Decide, for the first test images, whether every image within the radius keeps its class."""
    model = bv.load_model(EQV / "models" / "FC1-100.pt")
    data = read_images(EQV / "images.npz").shaped(model.model.input_shape)
    assert data.labels is not None
    console.rule(f"[bold]Robustness of {model.name} on {target}")
    console.print(f"Every 8-bit image within {' or '.join(map(str, RADII))} grey levels; {SECONDS:g} s per query.\n")
    rows = []
    with bv.Verifier(model, target=target, seconds=SECONDS) as verifier:
        verifier.predictions(data.real[:IMAGES])  # the kernel confirms our bytes for the images themselves
        questions = [(index, radius) for index in range(IMAGES) for radius in RADII]
        for index, radius in track(questions, "verifying", console=console, transient=True):
            query = bv.Query(bv.PixelBall(data.images[index], radius), bv.Robustness(int(data.labels[index]), 10))
            rows.append((index, str(radius), verifier.verify(query)))
    console.print(verdict_table(rows, title=f"{len(rows)} queries"))


def compare_targets(first: bv.Target, second: bv.Target) -> None:
    """Find an input for which one file gives different bytes on two targets, and replay it on both kernels."""
    model = bv.load_model(EQV / "models" / "FC2-100.pt")
    console.rule(f"[bold]One file, {model.name}, on {first} and {second}")
    lowered = [bv.lower(model.model, target) for target in (first, second)]
    real = _differing_input(model, lowered[0], lowered[1])
    table = Table(title="output bytes of the same input")
    for heading in ("target", "predicted", "replayed on the kernel", "class"):
        table.add_column(heading)
    for program in lowered:
        predicted = program.network.evaluate(program.quantizer.levels(real[None]))[0]
        with Replayer(model, program, reproducers=Path()) as replayer:
            if replayer.refusal is None:
                kernel = list(replayer.confirm(real[None]).layers.values())[-1][0]
                replay = " ".join(map(str, kernel))
            else:
                replay = f"not made: {replayer.refusal}"
        table.add_row(str(program.target), " ".join(map(str, predicted)), replay, str(predicted.argmax()))
    console.print(table)
    console.print("Bytes that a verifier predicts without naming a target are the bytes of some other machine.")


def _two_targets() -> tuple[bv.Target, bv.Target]:
    """Return two targets that this machine can run, saturating and exact accumulators if it has both."""
    vnni, avx2 = bv.Target.parse("fbgemm/avx512_vnni"), bv.Target.parse("fbgemm/avx2")
    return (vnni, avx2) if vnni.unavailable() is None else (avx2, bv.Target.parse("qnnpack"))


def _differing_input(
    model: bv.DeployedModel, first: bv.LoweredModel, second: bv.LoweredModel
) -> npt.NDArray[np.float32]:
    """Return an image of zeros and ones whose output bytes differ, and whose class differs if there is such an image.

    Each candidate drives a random set of first-layer neurons as high as it can: there 16-bit pair sums saturate.
    """
    layer = next(layer for layer in model.model.layers if isinstance(layer, Linear))
    generator = np.random.default_rng(0)
    neurons = generator.random((2000, len(layer.weight.values))) < generator.random((2000, 1))
    images = (neurons @ layer.weight.centered > 0).astype(np.float32)
    outputs = [program.network.evaluate(program.quantizer.levels(images)) for program in (first, second)]
    byte_differs = (outputs[0] != outputs[1]).any(axis=1)
    class_differs = outputs[0].argmax(axis=1) != outputs[1].argmax(axis=1)
    console.print(
        f"{int(byte_differs.sum())} of {len(images)} images of zeros and ones give different bytes, "
        f"{int(class_differs.sum())} another class.\n"
    )
    chosen = int(np.argmax(class_differs if class_differs.any() else byte_differs))
    return np.asarray(images[chosen])


if __name__ == "__main__":
    main()
