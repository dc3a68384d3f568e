from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bvverify.kernels.float32 import INT32_MAX, INT32_MIN, f32, fma, from_int32, round_to_int32

from .rounding import nearest_float32

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
SMALLEST = 2.0**-149
LARGEST = float(np.finfo(np.float32).max)


@st.composite
def short_floats(draw: st.DrawFn) -> float:
    """Float32 numbers of few bits, whose products and sums lie on ties more often than chance would have it."""
    return draw(st.integers(-(2**12), 2**12)) * 2.0 ** draw(st.integers(-40, 40))


@st.composite
def cancelling(draw: st.DrawFn) -> tuple[float, float, float]:
    """Two factors, and an addend within a few units in the last place of minus their product."""
    a, b = draw(st.floats(2**-20, 2**20, width=32)), draw(st.floats(2**-20, 2**20, width=32))
    c = -np.float32(a * b)
    for _ in range(draw(st.integers(0, 3))):
        c = np.nextafter(c, np.float32(draw(st.sampled_from([np.inf, -np.inf]))))
    return a, b, float(c)


@st.composite
def just_beside_ties(draw: st.DrawFn) -> tuple[float, float, float]:
    """Two factors whose product is an odd number of 25 bits, a tie, and an addend too small for float64 to see."""
    a = draw(st.integers(2**11, 2**12 - 1)) * 2 + 1
    b = draw(st.integers(2**23 // a, 2**24 // a)) * 2 + 1
    return float(a), float(b), draw(st.sampled_from([-1, 1])) * 2.0 ** -draw(st.integers(20, 100))


def fused(a: float, b: float, c: float) -> np.float32:
    return np.float32(fma(*(np.array([number], dtype=np.float32) for number in (a, b, c)))[0])


@given(
    st.one_of(
        st.tuples(FLOATS, FLOATS, FLOATS),
        st.tuples(short_floats(), short_floats(), short_floats()),
        cancelling(),
        just_beside_ties(),
    )
)
@example((1 + 2.0**-23, 1 + 2.0**-23, 2.0**-24))
@example((257.0, 97.0 * 673.0, 2.0**-40))  # just beside a tie: rounding to float64 first goes wrong
@example((257.0, 97.0 * 673.0, -(2.0**-40)))
@example((1.0, 2.0**-24, 1.0))
@example((1 + 2.0**-23, 2.0**-24, 1.0))
@example((SMALLEST, 0.5, 0.0))
@example((SMALLEST, SMALLEST, SMALLEST))
@example((2.0**-100, 2.0**-49 * 1.5, SMALLEST))
@example((LARGEST, LARGEST, -LARGEST))
@example((LARGEST, 1.0, 2.0**103))  # the tie beyond which the result is infinite
@example((LARGEST, 1.0, 2.0**102))
@settings(max_examples=1000)
def test_fma_rounds_the_exact_result_once(numbers: tuple[float, float, float]) -> None:
    a, b, c = map(Fraction, numbers)
    assert fused(*numbers) == nearest_float32(a * b + c)


def test_fma_differs_from_a_rounded_product_plus_an_addend() -> None:
    a, c = np.float32(1 + 2.0**-12), np.float32(-1 - 2.0**-11)
    assert a * a + c == 0
    assert fused(float(a), float(a), float(c)) == 2.0**-24


def test_fma_broadcasts_factors_per_channel_over_accumulators() -> None:
    bias, reciprocal = np.ones((3, 1), dtype=np.float32), np.full((3, 1), 0.5, dtype=np.float32)
    result = fma(bias, reciprocal, np.arange(12, dtype=np.float32).reshape(3, 4))
    assert (result == np.arange(12).reshape(3, 4) + 0.5).all()
    assert result.dtype == np.float32


@given(st.floats(allow_nan=False, min_value=-LARGEST, max_value=LARGEST))
@example(1 + 2.0**-24)
@example(1 + 2.0**-24 + 2.0**-40)
@example(SMALLEST / 2)
def test_f32_rounds_to_nearest_even(value: float) -> None:
    assert f32(value) == nearest_float32(Fraction(value))


@given(st.integers(INT32_MIN, INT32_MAX))
@example(2**24 + 1)
@example(2**24 + 3)
@example(INT32_MAX)
def test_from_int32_rounds_to_nearest_even(accumulator: int) -> None:
    assert from_int32(np.array([accumulator]))[0] == nearest_float32(Fraction(accumulator))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, 0),
        (1.5, 2),
        (2.5, 2),
        (-0.5, 0),
        (-1.5, -2),
        (-2.5, -2),
        (0.49999997, 0),
        (0.50000006, 1),
        (8388607.5, 8388608),
        (2147483520.0, 2147483520),
        (2147483648.0, INT32_MIN),
        (-2147483648.0, INT32_MIN),
        (-2147483904.0, INT32_MIN),
        (1e30, INT32_MIN),
        (-1e30, INT32_MIN),
        (float("inf"), INT32_MIN),
        (float("nan"), INT32_MIN),
    ],
)
def test_round_to_int32(value: float, expected: int) -> None:
    assert round_to_int32(np.array([value], dtype=np.float32)).tolist() == [expected]
