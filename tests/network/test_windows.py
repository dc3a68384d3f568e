"""Windows lie where torch's lie: float64 convolutions and poolings of small integers are exact."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.nn import functional

from bvverify.errors import UsageError
from bvverify.network import IntArray, NetworkBuilder, Window

small = st.integers(0, 2**32).map(np.random.default_rng)


def pairs(least: int, greatest: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(least, greatest), st.integers(least, greatest))


def builder_for(shape: tuple[int, ...]) -> NetworkBuilder:
    return NetworkBuilder(lower=np.full(shape, -9), upper=np.full(shape, 9))


def images(random: np.random.Generator, shape: tuple[int, ...]) -> IntArray:
    return random.integers(-9, 10, size=(3, *shape))


def as_floats(array: IntArray) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.float64))


@given(
    random=small,
    shape=st.tuples(st.integers(1, 3), st.integers(1, 8), st.integers(1, 8)),
    kernel=pairs(1, 4),
    stride=pairs(1, 4),
    dilation=pairs(1, 3),
    ceil_mode=st.booleans(),
    data=st.data(),
)
def test_max_pool2d_is_torchs(random, shape, kernel, stride, dilation, ceil_mode, data: st.DataObject) -> None:
    padding = data.draw(st.tuples(*(st.integers(0, k // 2) for k in kernel)))
    window = Window(kernel, stride, padding, dilation, ceil_mode)
    batch = images(random, shape)
    # With ceil_mode, torch also takes a window that is larger than the padded image; the builder does not.
    assume(all(d * (k - 1) < n + 2 * p for d, k, n, p in zip(dilation, kernel, shape[1:], padding, strict=True)))
    try:
        expected = functional.max_pool2d(as_floats(batch), kernel, stride, padding, dilation, ceil_mode)
    except RuntimeError:
        with pytest.raises(UsageError):
            builder_for(shape).max_pool2d(window)
        return
    assert window.output_size(*shape[1:]) == tuple(expected.shape[2:])
    assume(expected.isfinite().all())
    builder = builder_for(shape)
    builder.max_pool2d(window)
    assert builder.layout.shape == tuple(expected.shape[1:])
    assert builder.build().evaluate(batch).tolist() == expected.reshape(3, -1).long().tolist()


@given(
    random=small,
    groups=st.integers(1, 3),
    per_group=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    size=pairs(1, 7),
    kernel=pairs(1, 3),
    stride=pairs(1, 3),
    padding=pairs(0, 3),
    dilation=pairs(1, 3),
    padding_value=st.integers(-5, 5),
)
def test_conv2d_is_torchs(random, groups, per_group, size, kernel, stride, padding, dilation, padding_value) -> None:
    shape = (groups * per_group[0], *size)
    weight = random.integers(-9, 10, size=(groups * per_group[1], per_group[0], *kernel))
    offset = random.integers(-9, 10, size=len(weight))
    batch = images(random, shape)
    window = Window(kernel, stride, padding, dilation)
    wide = functional.pad(as_floats(batch), (padding[1], padding[1], padding[0], padding[0]), value=padding_value)
    try:
        expected = functional.conv2d(
            wide, as_floats(weight), as_floats(offset), stride=stride, dilation=dilation, groups=groups
        )
    except RuntimeError:
        with pytest.raises(UsageError):
            builder_for(shape).conv2d(weight, offset, window=window, groups=groups, padding_value=padding_value)
        return
    builder = builder_for(shape)
    builder.conv2d(weight, offset, window=window, groups=groups, padding_value=padding_value)
    assert builder.layout.shape == tuple(expected.shape[1:])
    assert builder.build().evaluate(batch).tolist() == expected.reshape(3, -1).long().tolist()


@given(random=small, kernel=pairs(1, 3), pool=pairs(1, 2), outputs=st.integers(1, 3))
def test_layers_in_a_row_are_torchs(random, kernel, pool, outputs: int) -> None:
    shape = (2, 6, 5)
    weight = random.integers(-9, 10, size=(3, 2, *kernel))
    batch = images(random, shape)
    hidden = functional.conv2d(as_floats(batch), as_floats(weight)).clamp(-30, 40)
    hidden = functional.max_pool2d(hidden, pool)
    last = random.integers(-9, 10, size=(outputs, hidden[0].numel()))
    expected = functional.linear(hidden.flatten(1), as_floats(last))
    builder = builder_for(shape)
    builder.conv2d(weight, np.zeros(3, dtype=int), window=Window(kernel))
    builder.clamp(-30, 40)
    builder.max_pool2d(Window(pool, pool))
    builder.reshape((builder.layout.size,))
    builder.dense(last, np.zeros(outputs, dtype=int))
    assert builder.build().evaluate(batch).tolist() == expected.long().tolist()


@given(random=small, leading=st.integers(1, 4))
def test_dense_reads_the_last_axis(random, leading: int) -> None:
    weight, offset = random.integers(-9, 10, size=(3, 5)), random.integers(-9, 10, size=3)
    batch = images(random, (leading, 5))
    expected = functional.linear(as_floats(batch), as_floats(weight), as_floats(offset))
    builder = builder_for((leading, 5))
    builder.dense(weight, offset)
    assert builder.layout.shape == (leading, 3)
    assert builder.build().evaluate(batch).tolist() == expected.reshape(3, -1).long().tolist()


def test_an_untouched_image_keeps_its_order() -> None:
    builder = builder_for((2, 3, 4))
    builder.conv2d(np.eye(2, dtype=int).reshape(2, 2, 1, 1), [0, 0], window=Window((1, 1)))
    batch = images(np.random.default_rng(0), (2, 3, 4))
    assert builder.build().evaluate(batch).tolist() == batch.reshape(3, -1).tolist()
