"""Building a StepNetwork by hand, layer by layer, from numpy arrays of integers.

    builder = NetworkBuilder(lower=np.zeros(64, int), upper=np.full(64, 15))
    builder.dense(weight1, offset1)
    builder.step(shift_rule(multiplier=m1, shift=12, zero_point=0, lower=0, upper=15))
    builder.dense(weight2, offset2)
    network = builder.build()

Any bit width and any monotone requantization rule can be written this way; PyTorch is not involved.  The builder
tracks the logical shape of the current value, (features,) or (channels, height, width), and emits wiring only where
a layer needs it.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bvverify.errors import UsageError
from bvverify.network.exact import IntArray, integers
from bvverify.network.operations import Affine, Clamp, Gather, Lookup, Max, Operation, Shape, Step
from bvverify.network.step_network import Node, StepNetwork, input_value

Pair = tuple[int, int]


class Window(NamedTuple):
    """Geometry of a convolution or pooling window: each entry is (vertical, horizontal), in pixels."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False

    def output_size(self, height: int, width: int) -> Pair:
        """Return the number of window positions (vertical, horizontal), by PyTorch's rule."""
        vertical, horizontal = (self._positions(axis, size) for axis, size in enumerate((height, width)))
        return vertical, horizontal

    def _positions(self, axis: int, size: int) -> int:
        if min(*self.kernel, *self.stride, *self.dilation) < 1 or min(self.padding) < 0:
            raise UsageError(f"window: kernel, stride and dilation must be positive and padding not negative: {self}")
        stride, reach = self.stride[axis], self.dilation[axis] * (self.kernel[axis] - 1) + 1
        span = size + 2 * self.padding[axis] - reach
        if span < 0:
            raise UsageError(
                f"window: kernel of reach {reach} does not fit {size} pixels with padding {self.padding[axis]}"
            )
        positions = (span + (stride - 1 if self.ceil_mode else 0)) // stride + 1
        # With ceil_mode, a last window that would start inside the far padding is dropped.
        if self.ceil_mode and (positions - 1) * stride >= size + self.padding[axis]:
            positions -= 1
        return positions

    def meets_only_padding(self, height: int, width: int) -> bool:
        """Return whether all rows, or all columns, of some window lie outside an image of this size."""
        for axis, (size, positions) in enumerate(zip((height, width), self.output_size(height, width), strict=True)):
            coordinates = self._coordinates(axis, positions)
            if not ((coordinates >= 0) & (coordinates < size)).any(axis=1).all():
                return True
        return False

    def taps(self, layout: IntArray) -> IntArray:
        """Return, for an image layout (C, H, W), the elements under each window: (OH, OW, C, KH, KW), -1 outside
        the image.
        """
        _, height, width = layout.shape
        rows_out, columns_out = self.output_size(height, width)
        rows = self._coordinates(0, rows_out)[:, None, :, None]
        columns = self._coordinates(1, columns_out)[None, :, None, :]
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        picked = layout[:, np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
        return np.where(inside, picked, -1).transpose(1, 2, 0, 3, 4)

    def _coordinates(self, axis: int, positions: int) -> IntArray:
        start = np.arange(positions) * self.stride[axis] - self.padding[axis]
        return start[:, None] + np.arange(self.kernel[axis]) * self.dilation[axis]


class NetworkBuilder:
    """Collects nodes; `build` returns the StepNetwork.  Every method appends one layer to the current value."""

    def __init__(self, *, lower: npt.ArrayLike, upper: npt.ArrayLike) -> None:
        """Start from an input whose elements lie in [lower, upper]: integer arrays of the input's shape."""
        self._lower, self._upper = integers(lower, "lower"), integers(upper, "upper")
        self._nodes: list[Node] = []
        self._values = [input_value(self._lower, self._upper)]
        self._value = 0
        self._layout: IntArray = np.arange(self._lower.size).reshape(self._lower.shape)

    @property
    def value(self) -> int:
        """Number of the current value in the StepNetwork: 0 is the input."""
        return self._value

    @property
    def layout(self) -> IntArray:
        """Logical shape of the current value, holding each element's position in the flattened StepNetwork value."""
        return self._layout

    @property
    def bounds(self) -> tuple[IntArray, IntArray]:
        """Range of the current value over the whole input domain, in the StepNetwork's own shape."""
        return self._values[self._value].lower, self._values[self._value].upper

    def shape_of(self, value: int) -> Shape:
        """Return the StepNetwork's own shape of an earlier value."""
        return self._values[value].shape

    def resume(self, value: int, layout: IntArray) -> None:
        """Continue from an earlier value, read in the logical order `layout`."""
        self._value, self._layout = value, layout

    def dense(self, weight: npt.ArrayLike, offset: npt.ArrayLike) -> None:
        """Accumulate weight [O, I] times the last logical axis, plus offset [O]."""
        matrix = integers(weight, "dense weight")
        if matrix.ndim != 2 or not self._layout.ndim or self._layout.shape[-1] != matrix.shape[-1]:
            raise UsageError(f"dense: weight {matrix.shape} does not fit a value of shape {self._layout.shape}")
        leading = self._layout.shape[:-1]
        self.accumulate(
            self._layout.reshape(-1, 1, matrix.shape[1]), Affine(matrix[None], integers(offset, "dense offset"))
        )
        self._layout = self._layout.reshape(*leading, len(matrix))

    def conv2d(
        self, weight: npt.ArrayLike, offset: npt.ArrayLike, *, window: Window, groups: int = 1, padding_value: int = 0
    ) -> None:
        """Convolve: weight [O, I/groups, KH, KW], offset [O]; outside the image every pixel reads `padding_value`."""
        kernel = integers(weight, "conv2d weight")
        channels, *extent = image_shape(self._layout, "conv2d")
        size = window.output_size(*extent)
        if groups < 1 or channels % groups or kernel.shape[1:] != (channels // groups, *window.kernel):
            raise UsageError(
                f"conv2d: a weight of shape {kernel.shape} does not fit {channels} channels in {groups} groups under a "
                f"window of {window.kernel}"
            )
        taps = conv_taps(self._layout, window=window, groups=groups)
        self.accumulate(
            taps, Affine(conv_weight(kernel, groups=groups), integers(offset, "conv2d offset")), padding=padding_value
        )
        self.as_image(size)

    def accumulate(self, taps: IntArray, affine: Affine, *, padding: int = 0) -> None:
        """Append an Affine that reads the elements `taps` (P, G, K) of the current value; -1 reads `padding`."""
        self.append(affine, self.wire(taps, padding=padding))

    def step(self, step: Step) -> None:
        """Append a staircase to accumulators of shape (P, C); the logical shape stays."""
        self._append_in_place(step)

    def lookup(self, lookup: Lookup) -> None:
        """Append a function of each element; the logical shape stays."""
        self._append_in_place(lookup)

    def clamp(self, lower: int, upper: int) -> None:
        """Append y = min(max(x, lower), upper)."""
        self._append_in_place(Clamp(lower, upper))

    def max_pool2d(self, window: Window) -> None:
        """Take the maximum under each window of an image; padding never wins."""
        image_shape(self._layout, "max_pool2d")
        taps = window.taps(self._layout).transpose(2, 0, 1, 3, 4)
        taps = taps.reshape(*taps.shape[:3], -1)
        inside = taps.max(axis=-1, keepdims=True)
        if (inside < 0).any():
            raise UsageError("max_pool2d: a window lies entirely in the padding")
        self.append(Max(), self.append(Gather(np.where(taps < 0, inside, taps)), self.value))

    def reshape(self, shape: Shape) -> None:
        """Give the current value another logical shape; no node is needed."""
        if int(np.prod(shape)) != self._layout.size:
            raise UsageError(f"reshape: {self._layout.shape} does not have the size of {shape}")
        self._layout = self._layout.reshape(shape)

    def wire(self, indices: IntArray, *, padding: int) -> int:
        """Return the number of a value that holds the elements `indices` of the current one; adds a Gather where
        needed.
        """
        size = self._values[self._value].lower.size
        if indices.size == size and (indices.reshape(-1) == np.arange(size)).all():
            return self.value
        return self.append(Gather(indices, padding), self.value)

    def append(self, operation: Operation, *inputs: int) -> int:
        """Append a node on the given values and return its number; the logical shape becomes the value's own."""
        node = Node(operation, inputs)
        self._values.append(node.result(self._values))
        self._nodes.append(node)
        shape = self._values[-1].shape
        self.resume(len(self._nodes), np.arange(int(np.prod(shape))).reshape(shape))
        return self.value

    def as_image(self, size: Pair) -> None:
        """Read the current value (OH*OW, C) as an image (C, OH, OW)."""
        channels = self._values[self._value].shape[-1]
        self._layout = self._layout.reshape(*size, channels).transpose(2, 0, 1)

    def build(self) -> StepNetwork:
        """Return the network; its output is the current value in logical order."""
        value = self.wire(self._layout.reshape(-1), padding=0)
        if value != len(self._nodes):  # the network's output is its last value
            self.append(Gather(np.arange(self._values[value].lower.size)), value)
        return StepNetwork(self._lower, self._upper, tuple(self._nodes))

    def _append_in_place(self, operation: Operation) -> None:
        layout = self._layout
        self.append(operation, self.value)
        self._layout = layout


def image_shape(layout: IntArray, what: str) -> tuple[int, int, int]:
    """Return (channels, height, width) of the current value; refuse a value that is no image."""
    if layout.ndim != 3:
        raise UsageError(f"{what}: expected a value of shape (channels, height, width), got {layout.shape}")
    channels, height, width = layout.shape
    return channels, height, width


def conv_taps(layout: IntArray, *, window: Window, groups: int) -> IntArray:
    """Return what a convolution reads: (positions, groups, K) elements of an image, K running over (KH, KW, channel
    in group).
    """
    channels = image_shape(layout, "conv2d")[0]
    if channels % groups:
        raise UsageError(f"conv2d: {channels} channels do not split into {groups} groups")
    taps = window.taps(layout)
    positions = taps.shape[0] * taps.shape[1]
    grouped = taps.reshape(positions, groups, channels // groups, *window.kernel)
    return grouped.transpose(0, 1, 3, 4, 2).reshape(positions, groups, -1)


def conv_weight(kernel: IntArray, *, groups: int) -> IntArray:
    """Return a convolution weight [O, I/groups, KH, KW] as an Affine weight [groups, O/groups, K], in the order of
    `conv_taps`.
    """
    if kernel.ndim != 4 or len(kernel) % groups:
        raise UsageError(
            f"conv2d: weight of shape {kernel.shape} does not split into {groups} groups of output channels"
        )
    return kernel.transpose(0, 2, 3, 1).reshape(groups, len(kernel) // groups, -1)
