from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bvverify.errors import InputError, InternalError, UsageError
from bvverify.kernels.quantizer import Quantizer
from bvverify.model import QuantParams
from bvverify.queries import FloatBall

from .quantizers import Ordinals, exact, quantizers, torch_levels

LARGEST = np.finfo(np.float32).max
numbers = (
    st.floats(-(2.0**100), 2.0**100, width=32)
    | st.floats(-2, 2, width=32)
    | st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 0.1])
)
radii = st.fractions(0, 3, max_denominator=255) | st.floats(0, 2.0**100, width=32).map(Fraction) | st.just(Fraction(0))


def one(x: float) -> np.ndarray:
    return np.array([x], dtype=np.float32)


def clips() -> st.SearchStrategy[tuple[Fraction, Fraction]]:
    ends = st.fractions(-3, 3, max_denominator=300)
    return st.tuples(ends, ends).filter(lambda clip: clip[0] <= clip[1])


def step(x: np.float32, toward: float) -> np.float32:
    return np.nextafter(x, np.float32(toward))


def assert_ends(ball: FloatBall, low: Fraction, high: Fraction) -> None:
    """Assert that the ball reaches exactly the float32 numbers in [low, high], which `Ordinals` tells apart."""
    box = ball.levels(Ordinals())
    least = ball.real_input(box.lower, Ordinals())[0]
    greatest = ball.real_input(box.upper, Ordinals())[0]
    assert low <= exact(least) <= exact(greatest) <= high
    with np.errstate(over="ignore"):
        below, above = step(least, -np.inf), step(greatest, np.inf)
    assert not np.isfinite(below) or exact(below) < low
    assert not np.isfinite(above) or exact(above) > high


@given(numbers, radii)
def test_the_ends_are_exact(x: float, radius: Fraction) -> None:
    assert_ends(FloatBall(one(x), radius), Fraction(x32(x)) - radius, Fraction(x32(x)) + radius)


@given(numbers, radii, clips())
def test_clipped_ends_are_exact(x: float, radius: Fraction, clip: tuple[Fraction, Fraction]) -> None:
    assume(clip[0] <= Fraction(x32(x)) <= clip[1])
    low, high = max(Fraction(x32(x)) - radius, clip[0]), min(Fraction(x32(x)) + radius, clip[1])
    assert_ends(FloatBall(one(x), radius, clip), low, high)


@given(st.floats(-2, 2, width=32), st.fractions(0, Fraction(1, 10**6), max_denominator=10**9))
def test_every_float_of_a_small_ball_has_its_own_preimage(x: float, radius: Fraction) -> None:
    ball = FloatBall(one(x), radius)
    box = ball.levels(Ordinals())
    for level in range(int(box.lower[0]), min(int(box.upper[0]), int(box.lower[0]) + 30) + 1):
        real = ball.real_input(np.array([level]), Ordinals())
        assert Ordinals().levels(real) == level
        assert abs(exact(real[0]) - exact(np.float32(x))) <= radius


def x32(x: float) -> float:
    return float(np.float32(x))


@given(
    st.lists(st.floats(-2, 2, width=32) | st.floats(-600, 600, width=32), min_size=1, max_size=3),
    st.fractions(0, 1, max_denominator=600) | st.fractions(0, 300, max_denominator=9),
    quantizers(),
    st.data(),
)
def test_levels_are_those_that_torch_gives_to_the_balls_numbers(xs, radius, quantizer: Quantizer, data) -> None:
    image = np.array(xs, dtype=np.float32)
    ball = FloatBall(image, radius)
    box = ball.levels(quantizer)
    assert box.missing.shape == (0, 2)
    for element, (low, high) in enumerate(zip(box.lower.tolist(), box.upper.tolist(), strict=True)):
        for level in {low, high, data.draw(st.integers(low, high)), (low + high) // 2}:
            levels = quantizer.levels(image)
            levels[element] = level
            real = ball.real_input(levels, quantizer)
            assert real.dtype == np.float32
            assert (torch_levels(real, quantizer) == levels).all()
            for chosen, own in zip(real, image, strict=True):
                assert abs(exact(chosen) - exact(own)) <= radius
    outside = [np.float32(data.draw(st.floats(-1, 1))) * np.float32(float(radius)) + x for x in image]
    for x, own, low, high in zip(outside, image, box.lower, box.upper, strict=True):
        if abs(exact(x) - exact(own)) <= radius:
            assert low <= torch_levels(one(x), quantizer)[0] <= high


@given(st.floats(-2, 2, width=32), st.fractions(0, 1, max_denominator=600), quantizers(), st.data())
def test_a_level_becomes_the_number_nearest_to_the_centre_that_has_it(x, radius, quantizer: Quantizer, data) -> None:
    ball = FloatBall(one(x), radius)
    box = ball.levels(quantizer)
    level = np.array([data.draw(st.integers(int(box.lower[0]), int(box.upper[0])))])
    real = ball.real_input(level, quantizer)[0]
    own = torch_levels(one(x), quantizer)
    if level == own:
        assert real == np.float32(x)
    else:
        closer = step(real, x)
        assert torch_levels(one(closer), quantizer) != level


@given(st.floats(0, 1, width=32), st.fractions(0, 1, max_denominator=255), quantizers())
def test_clipped_balls_stay_in_the_clip(x: float, radius: Fraction, quantizer: Quantizer) -> None:
    ball = FloatBall(one(x), radius, (Fraction(0), Fraction(1)))
    box = ball.levels(quantizer)
    for level in (box.lower, box.upper):
        real = ball.real_input(level, quantizer)
        assert 0 <= real[0] <= 1
        assert torch_levels(real, quantizer) == level
    low, high = (one(np.clip(x + sign * float(radius), 0, 1)) for sign in (-1, 1))
    assert box.lower - 1 <= torch_levels(low, quantizer) <= box.lower + 1
    assert box.upper - 1 <= torch_levels(high, quantizer) <= box.upper + 1


@given(st.floats(0, 1, width=32), quantizers())
def test_radius_zero_is_the_centre_alone(x: float, quantizer: Quantizer) -> None:
    ball = FloatBall(one(x), Fraction(0))
    box = ball.levels(quantizer)
    assert box.lower == box.upper == torch_levels(one(x), quantizer)
    assert ball.real_input(box.lower, quantizer).tolist() == one(x).tolist()


def test_shapes_are_kept() -> None:
    image = np.linspace(0, 1, 12, dtype=np.float32).reshape(1, 3, 4)
    ball, quantizer = FloatBall(image, Fraction(1, 100)), Quantizer(QuantParams(1 / 255, 0))
    box = ball.levels(quantizer)
    assert box.lower.shape == box.upper.shape == ball.center().shape == (1, 3, 4)
    assert ball.real_input(box.upper, quantizer).shape == (1, 3, 4)


def test_a_level_outside_the_ball_is_an_internal_error() -> None:
    ball, quantizer = FloatBall(one(0.5), Fraction(1, 100)), Quantizer(QuantParams(1 / 255, 0))
    box = ball.levels(quantizer)
    for level in (box.lower - 1, box.upper + 1):
        with pytest.raises(InternalError, match="without a real input"):
            ball.real_input(level, quantizer)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="finite"):
        FloatBall(np.array([0.5, bad], dtype=np.float32), Fraction(1))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.uint8, np.int64])
def test_inputs_of_another_type_are_refused(dtype: type) -> None:
    with pytest.raises(InputError, match="float32"):
        FloatBall(np.zeros(2, dtype=dtype), Fraction(1))


def test_a_negative_radius_is_refused() -> None:
    with pytest.raises(UsageError, match="negative"):
        FloatBall(one(0), Fraction(-1, 10**9))


@pytest.mark.parametrize("x", [-0.25, 1.25, float(np.nextafter(np.float32(1), np.float32(2)))])
def test_a_centre_outside_the_clip_is_refused(x: float) -> None:
    with pytest.raises(InputError, match="outside"):
        FloatBall(one(x), Fraction(1), (Fraction(0), Fraction(1)))


def test_a_centre_outside_a_clip_that_rounds_to_it_is_refused() -> None:
    assert exact(one(0.1)[0]) > Fraction(1, 10)
    with pytest.raises(InputError, match="outside"):
        FloatBall(one(0.1), Fraction(1), (Fraction(0), Fraction(1, 10)))


def test_a_radius_beyond_the_finite_numbers_is_refused() -> None:
    with pytest.raises(UsageError, match="finite"):
        FloatBall(one(LARGEST), Fraction(1)).levels(Ordinals())
    FloatBall(one(LARGEST), Fraction(0)).levels(Ordinals())
    FloatBall(one(0.5), Fraction(10) ** 60, (Fraction(0), Fraction(1))).levels(Ordinals())
