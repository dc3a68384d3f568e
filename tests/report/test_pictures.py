"""Pictures of inputs of any shape."""

import base64
import io
import re

import numpy as np
import pytest
from matplotlib import image as reader

from bvverify.report.pictures import counterexample_pictures, input_picture, layout
from bvverify.runs.store import Counterexample

OUTPUTS = np.arange(10)


def decoded(markup: str) -> np.ndarray:
    found = re.search(r"base64,([^\"]*)", markup)
    assert found is not None
    pixels = reader.imread(io.BytesIO(base64.b64decode(found[1])), format="png")
    return np.rint(pixels * 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((784,), (1, 28, 28)),
        ((1, 28, 28), (1, 28, 28)),
        ((28, 28), (1, 28, 28)),
        ((5, 9), (1, 5, 9)),
        ((3, 8, 6), (3, 8, 6)),
        ((2, 8, 6), (1, 16, 6)),
        ((4,), (1, 1, 4)),
        ((100, 1), (1, 10, 10)),
        ((130,), (1, 3, 64)),
        ((1,), (1, 1, 1)),
        ((), (1, 1, 1)),
        ((0,), (1, 0, 0)),
        ((2, 3, 4, 5), (1, 2, 64)),
    ],
)
def test_layouts(shape: tuple[int, ...], expected: tuple[int, int, int]) -> None:
    assert layout(shape) == expected


@pytest.mark.parametrize(
    "shape",
    [(), (0,), (3, 0, 2), (1,), (4,), (1, 30), (30, 1), (63,), (65,), (2, 200), (3, 5, 7), (4, 3, 2), (2, 2, 2, 2)],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_any_shape_has_a_picture(shape: tuple[int, ...], dtype: type) -> None:
    original = np.full(shape, 3, dtype=dtype)
    pictures = counterexample_pictures(
        Counterexample(original, np.full(shape, 0.5, dtype=np.float32), OUTPUTS), alt='<&"'
    )
    for markup in (pictures.original, pictures.perturbed, pictures.difference, input_picture(original, alt='<&"')):
        assert "&lt;&amp;&quot;" in markup
        if original.size:
            height, width = decoded(markup).shape[:2]
            assert f'width="{width}" height="{height}"' in markup
            assert max(height, width) <= 9 * min(height, width)
        else:
            assert "no values" in markup


def test_pixels_and_witness_are_compared_in_units_of_pixels() -> None:
    original = np.array([[0, 100], [200, 255]], dtype=np.uint8)
    near = original.astype(np.int64) + np.array([[5, 0], [-1, 0]])
    pictures = counterexample_pictures(Counterexample(original, np.float32(near / 255), OUTPUTS), alt="x")
    assert pictures.largest == "5/255"
    assert decoded(pictures.original)[..., 0].tolist() == original.tolist()
    assert decoded(pictures.perturbed)[..., 0].tolist() == near.tolist()
    difference = decoded(pictures.difference)
    assert difference[..., 3].tolist() == [[255, 0], [51, 0]]
    more, less = difference[0, 0], difference[1, 0]
    assert more[0] > more[2]
    assert less[2] > less[0]


def test_a_float_beyond_0_and_1_and_the_unit_of_its_difference() -> None:
    original = np.array([[-1.0, 0.0], [1.0, 3.0]], dtype=np.float32)
    pictures = counterexample_pictures(Counterexample(original, original + np.float32(0.25), OUTPUTS), alt="x")
    assert pictures.largest == "0.25"
    grey = decoded(pictures.original)[..., 0]
    assert grey[0, 0] == 0
    assert grey[0, 0] < grey[0, 1] < grey[1, 0] < grey[1, 1] < 255
    assert decoded(pictures.perturbed)[1, 1, 0] == 255


def test_colours_are_kept_and_odd_values_do_no_harm() -> None:
    colour = np.zeros((3, 2, 2), dtype=np.uint8)
    colour[0], colour[2, 1] = 255, 7
    assert decoded(input_picture(colour, alt="x"))[1, 0, :3].tolist() == [255, 0, 7]
    odd = np.array([[np.nan, np.inf], [-np.inf, 0]], dtype=np.float32)
    counterexample_pictures(Counterexample(odd, odd, OUTPUTS), alt="x")


def test_empty_places_are_transparent() -> None:
    alpha = decoded(input_picture(np.zeros(70, dtype=np.uint8), alt="x"))[..., 3].reshape(-1)
    assert (np.unique(alpha).tolist(), int((alpha == 255).sum()) % 70) == ([0, 255], 0)
