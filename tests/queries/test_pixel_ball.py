import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bvverify.errors import InputError, InternalError, UsageError
from bvverify.kernels.quantizer import Quantizer
from bvverify.model import QuantParams
from bvverify.queries import PIXEL_REALS, PixelBall
from tests.networks import levels_of

from .quantizers import SCALES, quantizers, torch_levels

shapes = st.sampled_from([(3,), (1,), (2, 2), (1, 2, 2)])


@st.composite
def balls(draw: st.DrawFn) -> PixelBall:
    pixels = st.integers(0, 255) | st.sampled_from([0, 1, 127, 128, 254, 255])
    image = draw(arrays(np.uint8, draw(shapes), elements=pixels, fill=st.nothing()))
    return PixelBall(image, draw(st.sampled_from([0, 1, 2, 300]) | st.integers(0, 260)))


def pixels_of(ball: PixelBall) -> list[list[int]]:
    """Return, per element, the pixels of the ball."""
    return [[p for p in range(256) if abs(p - own) <= ball.radius] for own in ball.image.reshape(-1).tolist()]


def test_pixel_reals_are_what_torch_divides() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    for reals in (pixels.float() / 255, pixels.float().div(255), pixels / 255, pixels.repeat(9).float().div(255)[:256]):
        assert reals.dtype == torch.float32
        assert PIXEL_REALS.tobytes() == reals.numpy().tobytes()


@given(quantizers())
def test_the_quantizer_is_torchs_on_pixels(quantizer: Quantizer) -> None:
    assert (quantizer.levels(PIXEL_REALS) == torch_levels(PIXEL_REALS, quantizer)).all()


@given(balls(), quantizers())
def test_the_box_holds_the_levels_of_the_balls_pixels_and_no_others(ball: PixelBall, quantizer: Quantizer) -> None:
    table = torch_levels(PIXEL_REALS, quantizer).tolist()
    box = ball.levels(quantizer)
    assert box.lower.shape == box.upper.shape == ball.image.shape
    assert levels_of(box) == [sorted({table[p] for p in pixels}) for pixels in pixels_of(ball)]


@given(balls(), quantizers())
def test_missing_levels_lie_strictly_inside_and_are_named_once(ball: PixelBall, quantizer: Quantizer) -> None:
    box = ball.levels(quantizer)
    assert box.missing.shape == (len(box.missing), 2)
    assert len({tuple(row) for row in box.missing.tolist()}) == len(box.missing)
    for element, level in box.missing.tolist():
        assert box.lower.flat[element] < level < box.upper.flat[element]


@given(balls(), quantizers(), st.data())
def test_a_level_becomes_the_nearest_pixel_of_the_ball_that_has_it(
    ball: PixelBall, quantizer: Quantizer, data: st.DataObject
) -> None:
    table = torch_levels(PIXEL_REALS, quantizer).tolist()
    box = ball.levels(quantizer)
    choice = [data.draw(st.sampled_from(levels)) for levels in levels_of(box)]
    levels = np.array(choice, dtype=np.int64).reshape(box.lower.shape)
    pixels = ball.pixels(levels, quantizer)
    assert pixels.dtype == np.uint8
    assert pixels.shape == ball.image.shape
    for pixel, level, allowed, own in zip(
        pixels.reshape(-1).tolist(), choice, pixels_of(ball), ball.image.reshape(-1).tolist(), strict=True
    ):
        candidates = [p for p in allowed if table[p] == level]
        assert pixel in candidates
        assert abs(pixel - own) == min(abs(p - own) for p in candidates)
    real = ball.real_input(levels, quantizer)
    assert real.dtype == np.float32
    assert (real == (pixels.astype(np.float32) / np.float32(255))).all()
    assert (torch_levels(real, quantizer) == levels).all()


@given(balls(), quantizers())
def test_the_centres_own_levels_become_the_centre(ball: PixelBall, quantizer: Quantizer) -> None:
    center = ball.center()
    assert center.dtype == np.float32
    assert (center == torch.from_numpy(ball.image).float().div(255).numpy()).all()
    assert (ball.pixels(quantizer.levels(center), quantizer) == ball.image).all()


def test_a_skipped_level_is_an_internal_error() -> None:
    ball, quantizer = PixelBall(np.array([20], dtype=np.uint8), 3), Quantizer(QuantParams(1 / 510, 0))
    box = ball.levels(quantizer)
    assert len(box.missing)
    for _, level in box.missing.tolist():
        with pytest.raises(InternalError, match="without a pixel"):
            ball.real_input(np.array([level]), quantizer)


def test_a_level_outside_the_ball_is_an_internal_error() -> None:
    ball, quantizer = PixelBall(np.array([20], dtype=np.uint8), 3), Quantizer(QuantParams(1 / 255, 0))
    for level in (16, 24, 255):
        with pytest.raises(InternalError, match="without a pixel"):
            ball.pixels(np.array([level]), quantizer)


@pytest.mark.parametrize("scale", SCALES)
def test_whole_images_of_every_scale(scale: float) -> None:
    image = np.arange(256, dtype=np.uint8)
    for zero_point in (0, 3, 128, 255):
        quantizer = Quantizer(QuantParams(scale, zero_point))
        table = torch_levels(PIXEL_REALS, quantizer).tolist()
        for radius in (0, 1, 5, 255):
            ball = PixelBall(image, radius)
            wanted = [sorted({table[p] for p in pixels}) for pixels in pixels_of(ball)]
            assert levels_of(ball.levels(quantizer)) == wanted


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float32, np.bool_])
def test_pixels_of_another_type_are_refused(dtype: type) -> None:
    with pytest.raises(InputError, match="uint8"):
        PixelBall(np.zeros(3, dtype=dtype), 1)


def test_a_negative_radius_is_refused() -> None:
    with pytest.raises(UsageError, match="negative"):
        PixelBall(np.zeros(3, dtype=np.uint8), -1)
