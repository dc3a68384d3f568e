"""Boxes hold exactly what lies between their ends; a patch leaves everything around it as it is."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvverify.errors import InputError, UsageError
from bvverify.kernels.quantizer import Quantizer
from bvverify.queries import (
    FloatBall,
    FloatBox,
    Patch,
    PixelBall,
    PixelBox,
    RegionKind,
    only_free,
    read_patch,
    region_around,
    region_between,
)
from tests.networks import levels_of

from .quantizers import Ordinals, quantizers, torch_levels


def pixels(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8)


def reals(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


@st.composite
def pixel_boxes(draw: st.DrawFn) -> PixelBox:
    one = st.integers(0, 255) | st.sampled_from([0, 1, 254, 255])
    columns = [sorted(draw(st.tuples(one, one, one))) for _ in range(draw(st.integers(1, 4)))]
    return PixelBox(*(pixels(*(column[place] for column in columns)) for place in (1, 0, 2)))


@given(pixel_boxes(), quantizers(), st.data())
def test_a_pixel_box_holds_the_levels_of_its_pixels_and_no_others(
    box: PixelBox, quantizer: Quantizer, data: st.DataObject
) -> None:
    allowed = [range(low, high + 1) for low, high in zip(box.lower.tolist(), box.upper.tolist(), strict=True)]
    table = torch_levels(np.arange(256, dtype=np.float32) / np.float32(255), quantizer).tolist()
    levels = levels_of(box.levels(quantizer))
    assert levels == [sorted({table[p] for p in column}) for column in allowed]
    choice = np.array([data.draw(st.sampled_from(column)) for column in levels])
    found = box.pixels(choice, quantizer).tolist()
    for pixel, level, column, own in zip(found, choice.tolist(), allowed, box.image.tolist(), strict=True):
        near = [p for p in column if table[p] == level]
        assert pixel in near
        assert abs(pixel - own) == min(abs(p - own) for p in near)


@given(st.lists(st.tuples(*[st.floats(-4, 4, width=32)] * 3).map(sorted), min_size=1, max_size=3))
def test_a_float_box_reaches_its_ends_and_nothing_beyond(columns: list[list[float]]) -> None:
    box = FloatBox(*(reals(*(column[place] for column in columns)) for place in (1, 0, 2)))
    levels = box.levels(Ordinals())
    assert (box.real_input(levels.lower, Ordinals()) == box.lower).all()
    assert (box.real_input(levels.upper, Ordinals()) == box.upper).all()


@given(quantizers(), st.integers(0, 255), st.lists(st.booleans(), min_size=4, max_size=4))
def test_what_is_not_free_stays(quantizer: Quantizer, radius: int, chosen: list[bool]) -> None:
    image, free = pixels(3, 100, 250, 20), np.array(chosen)
    ball, fixed = (PixelBall(image, size).levels(quantizer) for size in (radius, 0))
    box = only_free(PixelBall(image, radius), free).levels(quantizer)
    whole, still = levels_of(ball), levels_of(fixed)
    assert levels_of(box) == [whole[place] if chosen[place] else still[place] for place in range(4)]


def test_a_patch_of_floats_has_the_balls_ends_inside() -> None:
    image, clip = reals(0.1, 0.5, 0.9), (Fraction(0), Fraction(1))
    ball = FloatBall(image, Fraction(1, 3), clip)
    free = np.array([True, False, True])
    box = region_around(image, RegionKind.FLOATS, Fraction(1, 3), clip, free=free)
    assert isinstance(box, FloatBox)
    assert (box.lower == [ball.ends()[0][0], image[1], ball.ends()[0][2]]).all()
    assert (box.upper == [ball.ends()[1][0], image[1], 1]).all()


def test_pixels_become_floats_where_floats_are_asked_for() -> None:
    box = region_between(pixels(10), RegionKind.FLOATS, pixels(0), pixels(255))
    assert isinstance(box, FloatBox)
    assert (float(box.lower[0]), float(box.upper[0])) == (0.0, 1.0)
    assert isinstance(region_between(pixels(10), RegionKind.PIXELS, pixels(0), pixels(255)), PixelBox)


@pytest.mark.parametrize("shape", [(4, 5), (1, 4, 5), (3, 4, 5)])
def test_a_patch_is_a_rectangle_of_every_channel(shape: tuple[int, ...]) -> None:
    free = read_patch("1, 2,3,1").mask(shape)
    assert free.shape == shape
    places = {(row, column) for *_, row, column in np.argwhere(free).tolist()}
    assert places == {(1, 2), (2, 2), (3, 2)}
    assert free.sum() == 3 * (shape[0] if len(shape) == 3 else 1)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,1,1,1", "-1,0,1,1", "0,0,0,1", "0,0,1,0"])
def test_what_is_no_patch_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="patch"):
        read_patch(text)


@pytest.mark.parametrize("shape", [(20,), (1, 1, 4, 5), (3, 5), (4, 2)])
def test_a_patch_must_lie_in_an_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"no images|leaves the image"):
        Patch(1, 2, 3, 1).mask(shape)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PixelBox(pixels(5), pixels(6), pixels(9)), "outside of its ends 6 and 9"),
        (lambda: PixelBox(pixels(5, 5), pixels(5, 5), pixels(9, 4)), r"element \(1,\)"),
        (lambda: PixelBox(pixels(5), reals(5), pixels(9)), "'lower' is float32"),
        (lambda: PixelBox(pixels(5), pixels(5), pixels(9, 9)), "'upper' is uint8 of shape"),
        (lambda: PixelBox(reals(5), reals(5), reals(5)), "expected uint8"),
        (lambda: FloatBox(reals(0.5), reals(-np.inf), reals(1)), "NaN or infinity"),
        (lambda: FloatBox(reals(0.5), reals(0), reals(np.nan)), "NaN or infinity"),
        (lambda: FloatBox(reals(0.5), reals(0), reals(0.25)), "outside"),
    ],
)
def test_ends_that_make_no_box_are_refused(make, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()
