"""Images and labels from npz files."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.errors import InputError, UsageError


@dataclass(frozen=True, eq=False)
class Images:
    """A batch of inputs as a file holds them.

    `images`: uint8 pixels or finite float32 numbers, (n, ...); `labels`: int64 (n,), or None if the file has none.
    `stored`: the shape of one input in the file, if a model made it necessary to give them another.
    """

    name: str
    images: npt.NDArray[Any]
    labels: npt.NDArray[np.int64] | None
    stored: tuple[int, ...] | None = None

    @property
    def real(self) -> npt.NDArray[np.float32]:
        """The inputs as models take them: pixels p become p / 255."""
        if self.images.dtype == np.uint8:
            return self.images.astype(np.float32) / np.float32(255)
        return self.images

    def shaped(self, shape: tuple[int, ...]) -> "Images":
        """Return the same inputs with `shape` each; row-major order."""
        if int(np.prod(shape)) != int(np.prod(self.images.shape[1:])):
            raise InputError(
                f"{self.name}: inputs of shape {self.images.shape[1:]} do not fit a model that takes {shape}"
            )
        return Images(self.name, self.images.reshape(len(self.images), *shape), self.labels, self.picture)

    @property
    def picture(self) -> tuple[int, ...]:
        """The shape of one input in its file, such as (H, W) or (C, H, W)."""
        return self.images.shape[1:] if self.stored is None else self.stored

    def shapes(self) -> list[tuple[int, ...]]:
        """Return the shapes that a model may want one input in: as stored, as one-channel image, flat."""
        stored = self.images.shape[1:]
        return list(dict.fromkeys([stored, (1, *stored), (int(np.prod(stored)),)]))


def read_images(source: str | Path) -> Images:
    """Read `images` and, if present, `labels` from an npz file; raise `InputError` for anything else.  Runs no code
    from the file.
    """
    path = Path(source)
    arrays = _arrays(path, "images")
    images, labels = arrays["images"], arrays.get("labels")
    return Images(
        str(path), _checked_images(images, path), None if labels is None else _checked_labels(labels, images, path)
    )


def read_ends(source: str | Path, images: Images) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Read `lower` and `upper` from an npz file, the ends of a box around each of `images`: of their type, and in their
    shape; raise `InputError` for anything else.  Runs no code from the file.
    """
    path, wanted = Path(source), (len(images.images), *images.picture)
    arrays = _arrays(path, "lower", "upper")
    for name in ("lower", "upper"):
        if arrays[name].shape != wanted:
            raise InputError(f"{path}: '{name}' has shape {arrays[name].shape}, the inputs have {wanted}")
        if arrays[name].dtype.kind != images.images.dtype.kind:
            raise InputError(f"{path}: '{name}' is {arrays[name].dtype}, the inputs are {images.images.dtype}")
    lower, upper = (_checked_images(arrays[name], path, name) for name in ("lower", "upper"))
    return lower.reshape(images.images.shape), upper.reshape(images.images.shape)


def parse_indices(text: str, count: int) -> list[int]:
    """Return the indices that a list such as `0-9,12` names, in its order; each must be below `count`."""
    indices: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise UsageError(f"indices '{text}': expected numbers and ranges such as 0-9,12")
        indices.extend(range(int(first), int(last or first) + 1))
    if outside := [index for index in indices if index >= count]:
        raise UsageError(f"index {outside[0]}: the file holds {count} inputs, 0 to {count - 1}")
    return indices


def _arrays(path: Path, *needed: str) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays `needed` of an npz file, and its `labels` if it has any."""
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            for name in needed:
                if name not in file:
                    raise InputError(
                        f"{path}: no array '{name}' in this file; it holds {', '.join(file.files) or 'nothing'}"
                    )
            return {name: file[name] for name in (*needed, "labels") if name in file}
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'not an npz file'}") from error
    except (ValueError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        raise InputError(f"{path}: not an npz file that numpy can read") from error


def _checked_images(images: npt.NDArray[Any], path: Path, name: str = "images") -> npt.NDArray[Any]:
    if images.ndim < 2 or not images.size:
        raise InputError(f"{path}: {name} must have shape (n, ...) and not be empty, got {images.shape}")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise InputError(f"{path}: {name} must be uint8 pixels or float32, got {images.dtype}")
    if not np.isfinite(images).all():
        which = int(np.argwhere(~np.isfinite(images))[0][0])
        raise InputError(f"{path}: {name.removesuffix('s')} {which} holds NaN or infinity")
    single = images.astype(np.float32)
    if images.dtype != np.float32 and (single != images).any():
        raise InputError(
            f"{path}: {name} of {images.dtype} are not exact in float32, which the model takes; convert them first"
        )
    return single


def _checked_labels(labels: npt.NDArray[Any], images: npt.NDArray[Any], path: Path) -> npt.NDArray[np.int64]:
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise InputError(f"{path}: labels must be {len(images)} integers, got {labels.dtype} of shape {labels.shape}")
    return labels.astype(np.int64)
