from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bvverify.kernels.quantizer import Quantizer
from bvverify.kernels.target import Engine
from bvverify.model import QuantParams

SCALES = st.one_of(
    st.integers(-20, 10).map(lambda exponent: 2.0**exponent),
    st.floats(1e-6, 1e3),
    st.floats(2.0**-126, 1e35),
    st.sampled_from([1 / 127, 1 / 255, 0.1, 0.02, 1e-12, 3.14]),
)


@pytest.fixture(params=list(Engine))
def engine(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set each engine in turn in this process, whose quantize_per_tensor is then compared."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = request.param.value
    yield
    torch.backends.quantized.engine = before


def kernel_bytes(x: npt.NDArray[np.float32], params: QuantParams) -> npt.NDArray[np.uint8]:
    result = torch.quantize_per_tensor(torch.from_numpy(x), params.scale, params.zero_point, torch.quint8)
    return np.array(result.int_repr().numpy())


@st.composite
def quantizations(draw: st.DrawFn) -> tuple[QuantParams, npt.NDArray[np.float32]]:
    """Parameters, and 1 to 70 numbers in and out of range, on ties and a few units in the last place beside them."""
    params = QuantParams(draw(SCALES), draw(st.integers(0, 255)))
    count = draw(st.integers(1, 70))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    halves = rng.integers(-300, 900, count) / 2 - params.zero_point
    x = (halves * params.scale).astype(np.float32)
    match draw(st.sampled_from(["ties", "beside ties", "anywhere", "huge"])):
        case "beside ties":
            for _ in range(3):
                x = np.nextafter(x, rng.choice([-np.inf, np.inf], count).astype(np.float32))
        case "anywhere":
            x = (rng.uniform(-300, 600, count) * params.scale).astype(np.float32)
        case "huge":
            x = (rng.choice([-1, 1], count) * 10.0 ** rng.uniform(0, 38, count)).astype(np.float32)
    return params, np.clip(x, -3e38, 3e38).astype(np.float32)


@given(quantizations())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_levels_are_the_bytes_of_the_kernel(
    engine: None, quantization: tuple[QuantParams, npt.NDArray[np.float32]]
) -> None:
    params, x = quantization
    assert Quantizer(params).levels(x).tolist() == kernel_bytes(x, params).tolist()


@pytest.mark.parametrize("count", range(1, 71))
def test_the_position_in_the_vector_does_not_matter(count: int) -> None:
    params = QuantParams(0.1, 3)
    ties = ((np.arange(-20, 520) / 2 - 3) * 0.1).astype(np.float32)
    for start in range(0, len(ties) - count, count):
        x = ties[start : start + count].copy()
        assert Quantizer(params).levels(x).tolist() == kernel_bytes(x, params).tolist()


def test_the_zero_point_is_added_before_rounding() -> None:
    x = np.array([2.5], dtype=np.float32)
    assert Quantizer(QuantParams(1.0, 1)).levels(x).tolist() == [4]
    assert Quantizer(QuantParams(1.0, 0)).levels(x).tolist() == [2]
    assert kernel_bytes(x, QuantParams(1.0, 1)).tolist() == [4]


def test_huge_numbers_go_to_the_ends_without_a_warning() -> None:
    x = np.array([-3e38, -1e30, -3e9, 3e9, 1e30, 3e38], dtype=np.float32)
    for params in (QuantParams(1.0, 7), QuantParams(1e-6, 7), QuantParams(1e-30, 7)):
        assert Quantizer(params).levels(x).tolist() == [0, 0, 0, 255, 255, 255]
        assert kernel_bytes(x, params).tolist() == [0, 0, 0, 255, 255, 255]


@given(quantizations())
def test_levels_do_not_decrease(quantization: tuple[QuantParams, npt.NDArray[np.float32]]) -> None:
    params, x = quantization
    levels = Quantizer(params).levels(np.sort(x))
    assert (np.diff(levels) >= 0).all()
    assert levels.min() >= 0
    assert levels.max() <= 255
