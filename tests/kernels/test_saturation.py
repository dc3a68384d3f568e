"""Sums of two products that saturate at 16 bits: where, in which order, and for which targets."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from bvverify.errors import NotExact
from bvverify.kernels.availability import unavailable
from bvverify.kernels.lower import lower
from bvverify.kernels.target import TARGETS, Engine, Isa, Target
from bvverify.model import QuantizedModel

from .agreement import compare
from .conftest import Kernels
from .layers import conv, linear, model


def predicted_and_computed(kernels: Kernels, target: Target, of: QuantizedModel, x: np.ndarray) -> np.ndarray:
    """Return the last layer's bytes, once the kernel has computed what was predicted."""
    name = of.layers[-1].name
    expected = lower(of, target).layer_bytes(x.astype(np.int64))[name]
    if unavailable(of, target) is None:
        assert (kernels.run(target, of, x.astype(np.float32))[name] == expected).all()
    return expected


def saturates(target: Target) -> bool:
    return target.isa in (Isa.AVX512, Isa.AVX2)


def test_two_large_products_saturate_without_vnni(kernels: Kernels, target: Target) -> None:
    dense = model((2,), linear([127, 127], scale=512.0))
    result = predicted_and_computed(kernels, target, dense, np.array([[255, 255], [127, 127], [255, 0]]))
    assert result.tolist() == [[64 if saturates(target) else 127], [63], [63]]


def test_two_large_negative_products_saturate_without_vnni(kernels: Kernels, target: Target) -> None:
    dense = model((2,), linear([-128, -128], scale=512.0, zero_point=200))
    result = predicted_and_computed(kernels, target, dense, np.array([[255, 255]]))
    assert result.tolist() == [[136 if saturates(target) else 72]]


def test_a_last_tap_without_partner_does_not_saturate(kernels: Kernels, target: Target) -> None:
    dense = model((3,), linear([127, 127, 127], scale=512.0))
    result = predicted_and_computed(kernels, target, dense, np.array([[255, 255, 255]]))
    assert result.tolist() == [[127 if saturates(target) else 190]]


def test_the_zero_point_is_taken_off_after_the_saturation(kernels: Kernels, target: Target) -> None:
    dense = model((2,), linear([127, 127], scale=512.0, zero_point=100), zero_point=255)
    x = np.array([[0.0, 0.0]])  # byte 255 on both: nothing in real numbers
    name = dense.layers[-1].name
    expected = lower(dense, target).layer_bytes(np.array([[255, 255]]))[name]
    assert (kernels.run(target, dense, x.astype(np.float32))[name] == expected).all()
    assert expected.tolist() == [[37 if saturates(target) else 100]]


@pytest.mark.parametrize(
    "taps", [1, 2, 3, 7, 30, 31, 64, 129, 257, 258, 259, 260, 261, 511, 513, 642, 765, 768, 769, 770]
)
def test_adjacent_taps_are_paired(kernels: Kernels, target: Target, taps: int) -> None:
    """Each two adjacent taps in turn are large: a kernel that cuts a sum into blocks may pair others after a cut."""
    dense = model((taps,), linear([127] * taps, scale=512.0))
    if str(target) == "onednn/avx2" and taps > 256 and taps % 8:
        with pytest.raises(NotExact, match=f"pairs saturating products of {taps} inputs"):
            lower(dense, target)
        return
    large = np.zeros((max(1, taps - 1), taps), dtype=np.int64)
    rows = np.arange(len(large))
    large[rows, rows] = large[rows, np.minimum(rows + 1, taps - 1)] = 255
    result = predicted_and_computed(kernels, target, dense, large)
    if not saturates(target):
        assert set(np.unique(result)) <= {63, 127}
    elif taps > 2:
        assert 64 in result
        assert 127 in result


@pytest.mark.parametrize(("groups", "kernel"), [(8, 3), (16, 5), (24, 7), (104, 3)])
def test_fbgemm_depthwise_convolutions_saturate_on_every_instruction_set(
    kernels: Kernels, target: Target, groups: int, kernel: int
) -> None:
    if target.engine is Engine.ONEDNN and target.isa is not Isa.AVX512_VNNI:
        pytest.skip("not modelled")
    values = np.full((groups, 1, kernel, kernel), 127)
    scale = 1500.0 * kernel**2 / 9
    depthwise = model((groups, kernel, kernel), conv(values, scale=scale, padding=(kernel // 2,) * 2, groups=groups))
    result = predicted_and_computed(kernels, target, depthwise, np.full((1, groups, kernel, kernel), 255))
    fbgemm = target.engine is Engine.FBGEMM or (target.engine is Engine.X86 and (groups > 100 or saturates(target)))
    assert (result[0, :, kernel // 2, kernel // 2] == 194).all() == (not fbgemm)
    if kernel == 3 and fbgemm:
        assert (result[0, :, 1, 1] == 109).all()


@pytest.mark.parametrize("target", [target for target in TARGETS if target.engine is Engine.FBGEMM], ids=str)
@pytest.mark.parametrize("groups", [8, 9, 12])
@pytest.mark.parametrize("multiplier", [1, 2, 3])
@pytest.mark.parametrize("kernel", [(3, 3), (3, 5), (5, 5), (7, 7), (4, 4), (1, 1)])
def test_which_depthwise_convolutions_saturate(
    kernels: Kernels, target: Target, groups: int, multiplier: int, kernel: tuple[int, int]
) -> None:
    """Each condition of the fast path is broken in turn: the bytes show whether the kernel still takes it."""
    if (reason := target.unavailable()) is not None:
        pytest.skip(reason)
    outcomes: Counter[str] = Counter()
    values = np.full((groups * multiplier, 1, *kernel), 127)
    size = (2 * kernel[0], 2 * kernel[1])
    inputs = np.stack([np.full((groups, *size), level) for level in (252.0, 100.0, -3.0)]).astype(np.float32)
    half = (kernel[0] // 2, kernel[1] // 2)
    for stride, dilation, padding in product(
        ((1, 1), (2, 2), (1, 2), (2, 1), (3, 3)), ((1, 1), (2, 2)), (half, (0, 0))
    ):
        layer = conv(
            values,
            scale=160.0 * kernel[0] * kernel[1],
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
        compare(kernels, target, model((groups, *size), layer, zero_point=3), inputs, outcomes)
    assert outcomes == {"compared": 20}
