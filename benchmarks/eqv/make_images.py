"""Write the first 100 MNIST test images and their labels to images.npz.

Run from the root of the checkout: `python -m benchmarks.eqv.make_images --mnist DIRECTORY`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.eqv import mnist

DEFAULT_OUT = Path(__file__).parent / "images.npz"


def main(
    *,
    mnist_path: Annotated[Path, typer.Option("--mnist", help="Directory with the gzipped idx files.")],
    out: Annotated[Path, typer.Option(help="File to write.")] = DEFAULT_OUT,
    count: Annotated[int, typer.Option(help="How many images, from the first one on.")] = 100,
) -> None:
    """Write `images` (uint8, N x 28 x 28) and `labels` (int64, N)."""
    try:
        images = mnist.read_images(mnist_path, "test")[:count]
        labels = mnist.read_labels(mnist_path, "test")[:count].astype(np.int64)
    except mnist.MnistError as error:
        raise typer.BadParameter(str(error)) from None
    np.savez_compressed(out, images=images, labels=labels)


if __name__ == "__main__":
    typer.run(main)
