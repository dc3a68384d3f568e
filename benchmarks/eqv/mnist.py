"""Read the MNIST images and labels from their gzipped idx files."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.training import Examples

_PREFIX = {"train": "train", "test": "t10k"}
_UINT8 = 8


class MnistError(Exception):
    """The MNIST files are missing or broken; the message says which one."""


def read_images(directory: Path, split: Literal["train", "test"]) -> NDArray[np.uint8]:
    """Return the pixels of one split, of shape (N, 28, 28)."""
    return _read_idx(directory / f"{_PREFIX[split]}-images-idx3-ubyte.gz", dimensions=3)


def read_labels(directory: Path, split: Literal["train", "test"]) -> NDArray[np.uint8]:
    """Return the labels of one split, of shape (N,)."""
    return _read_idx(directory / f"{_PREFIX[split]}-labels-idx1-ubyte.gz", dimensions=1)


def read_examples(directory: Path, split: Literal["train", "test"], *, flat: bool) -> Examples:
    """Return one split with pixels divided by 255, images of shape (N, 784) if flat and (N, 1, 28, 28) if not."""
    images = torch.from_numpy(read_images(directory, split)).float().div(255)
    images = images.flatten(1) if flat else images.unsqueeze(1)
    return Examples(images=images, labels=torch.from_numpy(read_labels(directory, split)).long())


def _read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    try:
        data = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise MnistError(f"{path}: no such file; benchmarks/eqv/README.md says where to download MNIST") from None
    except (OSError, EOFError, zlib.error) as error:
        raise MnistError(f"{path}: cannot be read as gzip: {error}") from None
    header = 4 * (1 + dimensions)
    if len(data) < header or data[:4] != bytes([0, 0, _UINT8, dimensions]):
        raise MnistError(f"{path}: not an idx file of unsigned bytes in {dimensions} dimensions")
    shape = tuple(int.from_bytes(data[at : at + 4], "big") for at in range(4, header, 4))
    if len(data) - header != np.prod(shape):
        raise MnistError(f"{path}: the header says {shape}, but {len(data) - header} bytes follow")
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape).copy()
