"""What lowering refuses, and that the kernels give reason to."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from bvverify.errors import BvverifyError, NotExact
from bvverify.kernels.lower import lower
from bvverify.kernels.target import TARGETS, Engine, Isa, Target
from bvverify.model import QuantizedModel

from .agreement import compare
from .conftest import Kernels
from .layers import conv, linear, max_pool, model, weight

VNNI = [target for target in TARGETS if target.isa is Isa.AVX512_VNNI]
ONEDNN = [target for target in TARGETS if target.engine is Engine.ONEDNN]
QNNPACK = Target.parse("qnnpack/sse2")
FBGEMM = Target.parse("fbgemm/avx512_vnni")
X86 = Target.parse("x86/avx512_vnni")


@pytest.mark.parametrize("target", ONEDNN, ids=str)
def test_onednn_refuses_weights_with_a_zero_point(target: Target) -> None:
    with pytest.raises(NotExact, match="layer fc: oneDNN rejects weights with a zero point"):
        lower(model((2,), linear(weight([[1, 2]], zero_point=1))), target)


def test_onednn_itself_rejects_weights_with_a_zero_point(kernels: Kernels, target: Target) -> None:
    dense = model((2,), linear(weight([[1, 2]], zero_point=1)))
    if target.engine is Engine.ONEDNN:
        with pytest.raises(RuntimeError):
            kernels.run(target, dense, np.zeros((1, 2), dtype=np.float32))
    else:
        kernels.run(target, dense, np.zeros((1, 2), dtype=np.float32))


@pytest.mark.parametrize("target", [target for target in VNNI if target.engine is not Engine.FBGEMM], ids=str)
def test_onednn_grouped_convolutions_with_one_input_channel_each_are_refused(target: Target) -> None:
    grouped = model((3, 4, 4), conv(np.ones((6, 1, 2, 2)), groups=3))
    with pytest.raises(NotExact, match="layer conv: oneDNN's grouped convolution with one input"):
        lower(grouped, target)


@pytest.mark.parametrize("target", VNNI, ids=str)
@pytest.mark.parametrize(("kernel", "stride"), [((5, 4), (1, 4)), ((5, 5), (1, 2)), ((5, 5), (1, 3))])
def test_convolutions_of_one_channel_to_one_column_are_not_predicted_wrongly(
    kernels: Kernels, target: Target, kernel: tuple[int, int], stride: tuple[int, int]
) -> None:
    """oneDNN 3.12 returns garbage for horizontal strides where the output is one pixel wide."""
    if (reason := target.unavailable()) is not None:
        pytest.skip(reason)
    rng = np.random.default_rng(0)
    outcomes: Counter[str] = Counter()
    for height, width in product(range(6, 10), range(kernel[1], kernel[1] + stride[1])):
        layer = conv(
            rng.integers(-128, 128, (17, 1, *kernel)), scale=500.0, zero_point=120, stride=stride, padding=(1, 0)
        )
        x = rng.integers(0, 256, (2, 1, height, width)).astype(np.float32)
        compare(kernels, target, model((1, height, width), layer), x, outcomes)
    assert outcomes["compared"] == outcomes.total() or target.engine is not Engine.FBGEMM


@pytest.mark.parametrize("target", VNNI, ids=str)
@pytest.mark.parametrize(
    ("channels", "image", "kernel", "stride", "padding", "dilation"),
    [
        ((4, 8), (7, 2), (1, 2), (1, 1), (1, 1), (1, 3)),
        ((8, 11), (6, 1), (4, 2), (2, 2), (1, 1), (1, 2)),
        ((10, 5), (4, 1), (4, 2), (2, 2), (2, 1), (2, 2)),
        ((3, 16), (7, 1), (3, 1), (1, 3), (0, 2), (3, 2)),
    ],
)
def test_convolutions_with_a_window_in_the_padding_are_not_predicted_wrongly(
    kernels: Kernels,
    target: Target,
    channels: tuple[int, int],
    image: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> None:
    """oneDNN 3.12 mistakes the zero point, or crashes, where all columns of a window lie outside the image."""
    if (reason := target.unavailable()) is not None:
        pytest.skip(reason)
    rng = np.random.default_rng(0)
    values = rng.integers(-128, 128, (channels[1], channels[0], *kernel))
    layer = conv(values, scale=300.0, zero_point=120, stride=stride, padding=padding, dilation=dilation)
    shape = (channels[0], *image)
    x = (rng.integers(0, 256, (2, *shape)) - 100).astype(np.float32)
    outcomes: Counter[str] = Counter()
    compare(kernels, target, model(shape, layer, zero_point=100), x, outcomes)
    assert outcomes["compared"] or target.engine is not Engine.FBGEMM


@pytest.mark.parametrize("target", VNNI, ids=str)
def test_convolutions_of_one_channel_are_not_refused_altogether(target: Target) -> None:
    for stride in ((1, 1), (2, 2), (1, 2)):
        lower(model((1, 6, 6), conv(np.ones((17, 1, 3, 3)), stride=stride)), target)


@pytest.mark.parametrize("target", [FBGEMM, QNNPACK], ids=str)
def test_other_engines_compute_these_grouped_convolutions(target: Target) -> None:
    lower(model((3, 4, 4), conv(np.ones((6, 1, 2, 2)), groups=3)), target)


def test_x86_leaves_wide_groups_and_weights_with_a_zero_point_to_fbgemm() -> None:
    lower(model((101, 2, 2), conv(np.ones((202, 1, 2, 2)), groups=101)), X86)
    lower(model((3, 4, 4), conv(weight(np.ones((6, 1, 2, 2)), zero_point=1), groups=3)), X86)


@pytest.mark.parametrize("isa", [Isa.AVX512, Isa.AVX2])
def test_onednn_convolutions_without_vnni_are_refused(isa: Isa) -> None:
    plain = model((1, 2, 2), conv(np.ones((1, 1, 2, 2))))
    with pytest.raises(NotExact, match=f"oneDNN's {isa} convolutions .*use another target"):
        lower(plain, Target(Engine.ONEDNN, isa))


def groupwise(channels: int, groups: int, *, stride: int = 1) -> QuantizedModel:
    """Return a 3x3 convolution with as many outputs as channels in each group."""
    layer = conv(np.ones((channels * groups, channels, 3, 3)), stride=(stride,) * 2, padding=(1, 1), groups=groups)
    return model((channels * groups, 1, 1), layer)


@pytest.mark.parametrize(
    ("isa", "channels", "together"),
    [
        (Isa.AVX512_VNNI, 2, 8),
        (Isa.AVX512_VNNI, 4, 4),
        (Isa.AVX512_VNNI, 8, 1),
        (Isa.AVX512_VNNI, 16, 1),
        (Isa.AVX2, 2, 4),
        (Isa.AVX2, 4, 2),
        (Isa.AVX2, 8, 1),
        (Isa.AVX2, 16, 1),
    ],
)
def test_groups_that_fbgemm_cannot_take_evenly_are_refused(isa: Isa, channels: int, together: int) -> None:
    target = Target(Engine.FBGEMM, isa)
    for groups in range(1, 2 * together + 2):
        if groups > together and groups % together:
            with pytest.raises(NotExact, match=f"of {groups} groups of {channels} channels corrupts memory"):
                lower(groupwise(channels, groups), target)
        else:
            lower(groupwise(channels, groups), target)


@pytest.mark.parametrize(("channels", "groups"), [(2, 8), (4, 4), (8, 1), (8, 3), (16, 1)])
def test_fbgemm_s_groupwise_kernel_without_vnni_is_modelled_on_avx2_only(channels: int, groups: int) -> None:
    for stride in (1, 2):
        lower(groupwise(channels, groups, stride=stride), Target.parse("fbgemm/avx2"))
        with pytest.raises(NotExact, match="groupwise convolution on avx512 without VNNI is not modelled"):
            lower(groupwise(channels, groups, stride=stride), Target.parse("fbgemm/avx512"))
    lower(groupwise(channels, groups, stride=3), Target.parse("fbgemm/avx512"))


@pytest.mark.parametrize("isa", [Isa.AVX512, Isa.AVX2])
def test_weights_with_a_zero_point_are_refused_only_where_pairs_can_saturate(isa: Isa) -> None:
    target = Target(Engine.FBGEMM, isa)
    lower(model((2,), linear(weight([[60, 60]], zero_point=1))), target)
    with pytest.raises(NotExact, match="weights with a zero point on a saturating accumulator"):
        lower(model((2,), linear(weight([[127, 127]], zero_point=1))), target)


def test_overflowing_requantization_falls_to_zero_in_the_kernel_and_is_refused(
    kernels: Kernels, target: Target
) -> None:
    dense = model((1,), linear([127], scale=1.2e-5, zero_point=10))
    x = np.array([[0], [1], [50], [200], [255]], dtype=np.float32)
    computed = kernels.run(target, dense, x)["fc"][:, 0].tolist()
    if target.engine is Engine.ONEDNN:
        assert computed == [10, 255, 255, 255, 255]
        assert lower(dense, target).layer_bytes(x.astype(np.int64))["fc"][:, 0].tolist() == computed
    else:
        assert computed == [10, 255, 255, 255, 0]
        with pytest.raises(NotExact, match=r"layer fc on .*: a requantized value may leave int32"):
            lower(dense, target)


def test_requantization_is_accepted_up_to_the_last_float_below_the_overflow(kernels: Kernels, target: Target) -> None:
    outcomes: Counter[str] = Counter()
    x = np.array([[0], [1], [255]], dtype=np.float32)
    for exponent in (-24, -23, -22):
        compare(kernels, target, model((1,), linear([1], scale=255 * 2.0**exponent * 2.0**-8)), x, outcomes)
    assert outcomes["compared"] >= 1
    assert outcomes["compared"] == 3 or target.engine is not Engine.ONEDNN


@pytest.mark.parametrize("target", [*VNNI, QNNPACK], ids=str)
def test_accumulators_beyond_int32_are_refused(target: Target) -> None:
    taps = 2**31 // (255 * 127) + 1
    with pytest.raises(NotExact, match=r"layer fc.* int32"):
        lower(model((taps,), linear([127] * taps, scale=1e9)), target)
    lower(model((taps - 1,), linear([127] * (taps - 1), scale=1e9)), target)


@pytest.mark.parametrize("scale", [0.0, -1.0, 1e-46, 1e-39, 1e37, 1e39, float("inf"), float("nan")])
@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_scales_that_are_no_positive_normal_float32_are_refused(target: Target, scale: float) -> None:
    wrong = [
        model((1,), linear([1]), scale=scale),
        model((1,), linear([1], scale=scale)),
        model((1,), linear(weight([[1]], scale=scale))),
        model((1,), linear(weight([[1], [1]], scale=[1.0, scale]))),
    ]
    for refused in wrong:
        with pytest.raises(NotExact, match="is not a positive normal float32 number"):
            lower(refused, target)


def test_qnnpack_requantization_scales_must_be_normal(kernels: Kernels) -> None:
    dense = model((1,), linear(weight([[1]], scale=1e-20), scale=1.0), scale=1e-20)
    with pytest.raises(NotExact, match="positive normal float32"):
        lower(dense, QNNPACK)
    with pytest.raises(RuntimeError, match="scale"):
        kernels.run(QNNPACK, dense, np.zeros((1, 1), dtype=np.float32))


@pytest.mark.parametrize("bias", [2.0**31, -(2.0**32), 2.0**31 - 128])
def test_qnnpack_biases_that_leave_int32_are_refused(bias: float) -> None:
    with pytest.raises(NotExact, match="the bias, or the accumulator with it, leaves int32"):
        lower(model((1,), linear([1], bias=bias, scale=1e9)), QNNPACK)


@pytest.mark.parametrize("bias", [None, 0.0, 1e38, -1e38, float("inf"), float("nan")])
def test_extreme_numbers_are_refused_or_exact(kernels: Kernels, target: Target, bias: float | None) -> None:
    """Products and quotients of scales that are accepted one by one may still overflow or vanish."""
    x = np.array([[0], [1], [255]])
    for source, weights, scale in product((1e-36, 1e-20, 1e20, 1e36), (1e-20, 1e20), (1e-36, 1e-20, 1.0, 1e20, 1e36)):
        dense = model((1,), linear(weight([[1]], scale=weights), bias=bias, scale=scale), scale=source)
        try:
            predicted = lower(dense, target).layer_bytes(x)["fc"]
        except NotExact:
            continue
        computed = kernels.run(target, dense, (x * source).astype(np.float32))["fc"]
        assert (predicted == computed).all(), (source, weights, scale)


def test_qnnpack_rejects_one_by_one_pooling(kernels: Kernels) -> None:
    pooled = model((1, 2, 2), max_pool((1, 1)))
    with pytest.raises(NotExact, match="layer pool: QNNPACK rejects max_pool2d with a 1x1 window"):
        lower(pooled, QNNPACK)
    with pytest.raises(RuntimeError):
        kernels.run(QNNPACK, pooled, np.zeros((1, 1, 2, 2), dtype=np.float32))


def test_qnnpack_dilated_pooling_with_padding_is_not_predicted_wrongly(kernels: Kernels) -> None:
    """Where a dilated window begins in the padding, QNNPACK takes the edge pixel, which is not in it: 255, not 0."""
    pooled = model((1, 2, 1), max_pool((2, 1), dilation=(2, 1), padding=(1, 0)))
    x = np.array([[[[255], [0]]]], dtype=np.float32)
    assert kernels.run(Target.parse("fbgemm"), pooled, x)["pool"].reshape(-1).tolist() == [0, 255]
    assert kernels.run(QNNPACK, pooled, x)["pool"].reshape(-1).tolist() == [255, 255]
    compare(kernels, QNNPACK, pooled, x, Counter())


def test_a_window_that_sees_only_padding_is_refused() -> None:
    with pytest.raises(BvverifyError, match="a window lies entirely in the padding"):
        lower(model((1, 1, 1), max_pool((2, 2), dilation=(2, 2), padding=(1, 1))), FBGEMM)
