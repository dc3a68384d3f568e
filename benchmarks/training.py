"""Train small networks reproducibly, quantize them after training, and save them as TorchScript files."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.ao import quantization

CALIBRATION_IMAGES = 2_000
ENGINE = "fbgemm"
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Images with values in [0, 1], one class label per image."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise ValueError(f"{len(self.images)} images, but {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train one network: plain Adam, the learning rate multiplied by `decay` after every epoch."""

    epochs: int
    batch_size: int = 128
    learning_rate: float = 1e-3
    decay: float = 1.0


def make_deterministic(*, seed: int) -> None:
    """Seed the initial weights, and let torch compute on one thread with the fbgemm engine."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    torch.backends.quantized.engine = ENGINE


def dense_network(widths: Sequence[int]) -> nn.Sequential:
    """Return linear layers of the given widths, from the input to the classes, with a ReLU after each hidden one."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(quant=quantization.QuantStub())
    count = len(widths) - 1
    for index in range(1, count + 1):
        layers[f"fc{index}"] = nn.Linear(widths[index - 1], widths[index])
        if index < count:
            layers[f"relu{index}"] = nn.ReLU()
    layers["dequant"] = quantization.DeQuantStub()
    return nn.Sequential(layers)


def convolutional_network(*, channels: int, kernel: int, features: int, classes: int = 10) -> nn.Sequential:
    """Return one strided convolution with batch norm and ReLU, a 2x2 max-pooling, and a linear layer on `features`."""
    return nn.Sequential(
        OrderedDict(
            quant=quantization.QuantStub(),
            conv=nn.Conv2d(1, channels, kernel, stride=2, padding=1),
            bn=nn.BatchNorm2d(channels),
            relu=nn.ReLU(),
            pool=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc=nn.Linear(features, classes),
            dequant=quantization.DeQuantStub(),
        )
    )


def parameter_count(network: nn.Module) -> int:
    """Return how many numbers training changes in the network."""
    return sum(parameter.numel() for parameter in network.parameters())


def train(
    network: nn.Module,
    examples: Examples,
    *,
    recipe: Recipe,
    seed: int,
    after_epoch: Callable[[int, float], None] | None = None,
) -> None:
    """Train the network in place; `after_epoch` is told the epoch and its mean loss."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=recipe.decay)
    network.train()
    torch.use_deterministic_algorithms(True)
    for epoch in range(1, recipe.epochs + 1):
        total = 0.0
        for batch in _batches(len(examples), recipe.batch_size, generator):
            loss = nn.functional.cross_entropy(network(examples.images[batch]), examples.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        schedule.step()
        if after_epoch is not None:
            after_epoch(epoch, total / len(examples))
    torch.use_deterministic_algorithms(False)  # it refuses to allocate the output of a quantized operation
    network.eval()


def quantize(network: nn.Sequential, calibration: Tensor) -> torch.jit.ScriptModule:
    """Return the network after eager-mode static quantization with the default fbgemm configuration, as TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        prepared = quantization.fuse_modules(network.eval(), _fusions(network))
        prepared.qconfig = quantization.get_default_qconfig(ENGINE)
        quantization.prepare(prepared, inplace=True)
        with torch.no_grad():
            for chunk in calibration.split(500):
                prepared(chunk)
        converted = quantization.convert(prepared, inplace=True)
        script: torch.jit.ScriptModule = torch.jit.script(converted.eval())
    return script


def accuracy(network: nn.Module, examples: Examples) -> float:
    """Return the share of correctly classified images in percent."""
    with torch.no_grad():
        predicted = torch.cat([network(chunk).argmax(dim=1) for chunk in examples.images.split(500)])
    return 100.0 * int((predicted == examples.labels).sum()) / len(examples)


def save(script: torch.jit.ScriptModule, path: Path) -> None:
    """Write the TorchScript file without its debug records, which would name paths of the machine that wrote it."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(script, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(buffer) as full, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as slim:
        for record in full.infolist():
            if not record.filename.endswith(".debug_pkl"):
                slim.writestr(zipfile.ZipInfo(record.filename), full.read(record))


def load(path: Path) -> torch.jit.ScriptModule:
    """Read a file that `save` wrote; its layers stay bound to the engine that is set now."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script: torch.jit.ScriptModule = torch.jit.load(path)
    return script


def in_fresh_process(function: Callable[..., Result], *arguments: object) -> Result:
    """Return what the function returns in a new interpreter, so that `save` writes the same bytes every time.

    TorchScript numbers the classes it has compiled in a process, and writes constants in the order of a hash.
    """
    os.environ["PYTHONHASHSEED"] = "0"
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    yield from torch.randperm(count, generator=generator).split(size)


def _fusions(network: nn.Sequential) -> list[list[str]]:
    """Return the groups of layer names that become one quantized operation: linear+relu and conv+bn+relu."""
    names = [name for name, _ in network.named_children()]
    groups = [[name, name.replace("fc", "relu")] for name in names if name.startswith("fc")]
    return [["conv", "bn", "relu"]] if "conv" in names else [group for group in groups if group[1] in names]
