"""Inputs of networks as small pictures, whatever their shape."""

import base64
import struct
import zlib
from dataclasses import dataclass
from html import escape
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.report.page import Markup
from bvverify.runs.store import Counterexample

_LEAST_SQUARE = 64
"""Flat inputs of so many values or more are taken for square images, if their number is a square."""
_LONGEST_ROW = 64
"""Flat inputs of more values than this are shown in several rows."""
_FLATTEST = 8
"""No picture is more than so many times as wide as high."""
_ABOVE, _BELOW = (213, 94, 0), (0, 114, 178)
"""Colours of Okabe and Ito for more and for less."""

Reals = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """A counterexample as three pictures."""

    original: Markup
    perturbed: Markup
    difference: Markup
    """Transparent where nothing changed, orange for more, blue for less."""
    largest: str
    """The largest difference, with its unit."""


def counterexample_pictures(shown: Counterexample, *, alt: str) -> Pictures:
    """Return the pictures of a counterexample; `alt` says which it is."""
    original, factor = _values(shown.original)
    perturbed = _values(shown.witness)[0].reshape(original.shape) * factor
    low, high = _range(original, perturbed, factor)
    difference = perturbed - original
    largest = float(np.abs(difference).max(initial=0.0))
    text = f"{largest:.4g}/255" if factor == 255 else f"{largest:.4g}"
    return Pictures(
        original=_image(_grey(original, low, high), f"original input: {alt}"),
        perturbed=_image(_grey(perturbed, low, high), f"perturbed input: {alt}"),
        difference=_image(_signed(difference, largest), f"difference, up to {text}: {alt}"),
        largest=text,
    )


def input_picture(image: npt.NDArray[Any], *, alt: str) -> Markup:
    """Return the picture of one input, uint8 pixels or reals."""
    values, factor = _values(image)
    return _image(_grey(values, *_range(values, values, factor)), alt)


def layout(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (channels, height, width) of the picture of an input of this shape; channels are 1 or 3.

    The picture may have more places than the input has values; those after the last value stay empty.
    """
    sizes = [size for size in shape if size != 1]
    count = int(np.prod(sizes, dtype=np.int64))
    if len(sizes) == 2:
        return 1, sizes[0], sizes[1]
    if len(sizes) == 3 and sizes[0] == 3:
        return 3, sizes[1], sizes[2]
    if len(sizes) == 3:
        return 1, sizes[0] * sizes[1], sizes[2]
    side = isqrt(count)
    if count >= _LEAST_SQUARE and side * side == count:
        return 1, side, side
    width = min(count, _LONGEST_ROW)
    return 1, -(-count // width) if width else 0, width


def _values(array: npt.NDArray[Any]) -> tuple[Reals, int]:
    """Return finite values and the factor that takes reals to them: pixels are in units of 1/255."""
    factor = 255 if array.dtype == np.uint8 else 1
    return np.nan_to_num(array).astype(np.float64), factor


def _range(original: Reals, perturbed: Reals, factor: int) -> tuple[float, float]:
    """Return what is black and what is white: 0 and 1 unless a value lies outside."""
    both = np.concatenate([original.reshape(-1), perturbed.reshape(-1)])
    low, high = float(both.min(initial=0.0)), float(both.max(initial=float(factor)))
    return low, high


def _grey(values: Reals, low: float, high: float) -> Bytes:
    """Return an opaque RGBA image [h, w, 4]."""
    scaled = np.rint((values - low) * (255 / (high - low))).astype(np.uint8)
    channels = _placed(scaled)
    colour = np.broadcast_to(channels, (3, *channels.shape[1:])).transpose(1, 2, 0)
    return np.concatenate([colour, _placed(np.full_like(scaled, 255))[:1].transpose(1, 2, 0)], axis=2)


def _signed(difference: Reals, largest: float) -> Bytes:
    """Return an RGBA image [h, w, 4] whose opacity is the size of the difference, largest over the channels."""
    channels = _placed(difference)
    which = np.abs(channels).argmax(axis=0)[None]
    chosen = np.take_along_axis(channels, which, axis=0)[0]
    colour = np.where(chosen[..., None] > 0, _ABOVE, _BELOW)
    opacity = np.rint(np.abs(chosen) * (255 / (largest or 1.0)))
    return np.concatenate([colour, opacity[..., None]], axis=2).astype(np.uint8)


def _placed(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values as channels [c, h, w], the empty places filled with zeros."""
    channels, height, width = layout(values.shape)
    flat = np.zeros(channels * height * width, dtype=values.dtype)
    flat[: values.size] = values.reshape(-1)
    return flat.reshape(channels, height, width)


def _image(rgba: Bytes, alt: str) -> Markup:
    height, width = rgba.shape[:2]
    if height * width == 0:
        return Markup(f"<span>{escape(alt)}: no values</span>")
    if width > _FLATTEST * height:
        rgba = np.repeat(rgba, -(-width // (_FLATTEST * height)), axis=0)
    elif height > _FLATTEST * width:
        rgba = np.repeat(rgba, -(-height // (_FLATTEST * width)), axis=1)
    content = base64.b64encode(_png(rgba)).decode()
    height, width = rgba.shape[:2]
    return Markup(f'<img src="data:image/png;base64,{content}" width="{width}" height="{height}" alt="{escape(alt)}">')


def _png(rgba: Bytes) -> bytes:
    """Return an image [h, w, 4] as a PNG file."""
    height, width = rgba.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), dtype=np.uint8), rgba.reshape(height, width * 4)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
