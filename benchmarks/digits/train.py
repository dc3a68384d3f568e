"""Train and quantize the two tiny networks on scikit-learn's 8x8 digits that the tests and the demo use.

Run from the root of the checkout: `python -m benchmarks.digits.train`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from sklearn.datasets import load_digits
from torch import nn

from benchmarks import training
from benchmarks.training import Examples, Recipe


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network: its layers, and the shape of one input image."""

    build: Callable[[], nn.Sequential]
    input_shape: tuple[int, ...]


TEST_IMAGES = 200
RECIPE = Recipe(epochs=150, batch_size=32, learning_rate=3e-3, decay=0.98)
NETWORKS = {
    "digits": Network(build=lambda: training.dense_network([64, 32, 10]), input_shape=(64,)),
    "digits_conv": Network(
        build=lambda: training.convolutional_network(channels=3, kernel=3, features=12), input_shape=(1, 8, 8)
    ),
}
DEFAULT_OUT = Path("tests/data")
console = Console()


def main(
    *,
    out: Annotated[Path, typer.Option(help="Directory for digits.pt, digits_conv.pt and digits.npz.")] = DEFAULT_OUT,
    seed: Annotated[int, typer.Option(help="Seed of the split, initial weights and shuffling.")] = 0,
) -> None:
    """Write the dense and the convolutional network, and the test images that neither was trained on."""
    for name in NETWORKS:
        console.print(training.in_fresh_process(make, name, out / f"{name}.pt", seed))
    images, labels = _digits(seed=seed)
    np.savez_compressed(out / "digits.npz", images=images[:TEST_IMAGES].numpy(), labels=labels[:TEST_IMAGES].numpy())


def make(name: str, path: Path, seed: int) -> str:
    """Train, quantize and save one network, and return one line about its accuracy."""
    images, labels = _digits(seed=seed)
    inputs = images.reshape(-1, *NETWORKS[name].input_shape)
    train_set = Examples(images=inputs[TEST_IMAGES:], labels=labels[TEST_IMAGES:])
    test_set = Examples(images=inputs[:TEST_IMAGES], labels=labels[:TEST_IMAGES])
    network = NETWORKS[name].build()
    training.train(network, train_set, recipe=RECIPE, seed=seed)
    float_accuracy = training.accuracy(network, test_set)
    training.save(training.quantize(network, train_set.images), path)
    quantized = training.accuracy(training.load(path), test_set)
    return f"{name}: float {float_accuracy:.1f} %, quantized {quantized:.1f} % of {TEST_IMAGES} images"


def _digits(*, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all images as pixels divided by 16, of shape (N, 64), and their labels, shuffled."""
    training.make_deterministic(seed=seed)
    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels))
    return torch.from_numpy(pixels).float().div(16)[order], torch.from_numpy(labels).long()[order]


if __name__ == "__main__":
    typer.run(main)
