"""Train and quantize the seven MNIST networks of the EQV paper (AAAI 2024).

Run from the root of the checkout: `python -m benchmarks.eqv.train --mnist DIRECTORY`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated

import torch
import typer
from rich.console import Console
from torch import nn

from benchmarks import training
from benchmarks.eqv import mnist
from benchmarks.training import Recipe

DEFAULT_OUT = Path(__file__).parent / "models"
console = Console()


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network of the paper: its shape, how it is trained, and the accuracy in percent that the paper reports."""

    build: Callable[[], nn.Sequential]
    recipe: Recipe
    paper_accuracy: float
    flat: bool
    """Whether the input has shape (N, 784) instead of (N, 1, 28, 28)."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What `accuracy.json` says of one network; accuracies are in percent of the 10,000 test images."""

    float_accuracy: float
    quantized_accuracy: float
    paper_accuracy: float
    parameters: int
    sha256: str
    torch: str
    seed: int


DENSE = Recipe(epochs=15, decay=0.9)
CONVOLUTIONAL = Recipe(epochs=40, batch_size=256, learning_rate=1e-2, decay=0.9)


def _dense(layers: int, width: int, accuracy: float) -> Network:
    widths = [784, *[width] * layers, 10]
    return Network(build=lambda: training.dense_network(widths), recipe=DENSE, paper_accuracy=accuracy, flat=True)


def _convolutional(channels: int, accuracy: float) -> Network:
    def build() -> nn.Sequential:
        return training.convolutional_network(channels=channels, kernel=4, features=49 * channels)

    return Network(build=build, recipe=CONVOLUTIONAL, paper_accuracy=accuracy, flat=False)


NETWORKS = {
    "FC1-100": _dense(1, 100, 97.72),
    "FC2-100": _dense(2, 100, 97.96),
    "FC2-256": _dense(2, 256, 98.22),
    "FC2-512": _dense(2, 512, 98.33),
    "FC3-100": _dense(3, 100, 97.89),
    "CNN1": _convolutional(4, 95.36),
    "CNN2": _convolutional(2, 97.16),
}


def main(
    *,
    mnist_path: Annotated[Path, typer.Option("--mnist", help="Directory with the four gzipped idx files.")],
    out: Annotated[Path, typer.Option(help="Directory for the models and accuracy.json.")] = DEFAULT_OUT,
    only: Annotated[str, typer.Option(help="Names of networks, separated by commas.")] = ",".join(NETWORKS),
    seed: Annotated[int, typer.Option(help="Seed of initial weights and shuffling.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Train networks again whose file exists.")] = False,
) -> None:
    """Train, quantize and save the networks that have no file yet."""
    names = only.split(",")
    unknown = [name for name in names if name not in NETWORKS]
    if unknown:
        raise typer.BadParameter(f"unknown network {unknown[0]!r}; choose from {', '.join(NETWORKS)}")
    for name in names:
        path = out / f"{name}.pt"
        if path.exists() and not force:
            console.print(f"{name}: {path} exists, skipped")
            continue
        start = perf_counter()
        try:
            record = training.in_fresh_process(make, name, mnist_path, path, seed)
        except mnist.MnistError as error:
            raise typer.BadParameter(str(error)) from None
        _remember(out / "accuracy.json", name, record)
        console.print(
            f"[bold]{name}[/]: float {record.float_accuracy:.2f} %, quantized {record.quantized_accuracy:.2f} % "
            f"(paper {record.paper_accuracy:.2f} %), {perf_counter() - start:.0f} s"
        )


def make(name: str, mnist_path: Path, path: Path, seed: int) -> Record:
    """Train, quantize and save one network, and return what is known of it."""
    training.make_deterministic(seed=seed)
    spec = NETWORKS[name]
    train_set = mnist.read_examples(mnist_path, "train", flat=spec.flat)
    test_set = mnist.read_examples(mnist_path, "test", flat=spec.flat)
    network = spec.build()
    parameters = training.parameter_count(network)
    with console.status(name) as status:

        def show(epoch: int, loss: float) -> None:
            status.update(f"{name}: epoch {epoch}/{spec.recipe.epochs}, loss {loss:.4f}")

        training.train(network, train_set, recipe=spec.recipe, seed=seed, after_epoch=show)
    float_accuracy = training.accuracy(network, test_set)
    training.save(training.quantize(network, train_set.images[: training.CALIBRATION_IMAGES]), path)
    return Record(
        float_accuracy=float_accuracy,
        quantized_accuracy=training.accuracy(training.load(path), test_set),
        paper_accuracy=spec.paper_accuracy,
        parameters=parameters,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        torch=torch.__version__.partition("+")[0],
        seed=seed,
    )


def _remember(path: Path, name: str, record: Record) -> None:
    records = json.loads(path.read_text()) if path.exists() else {}
    records[name] = asdict(record)
    ordered = {known: records[known] for known in NETWORKS if known in records}
    path.write_text(json.dumps(ordered, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
