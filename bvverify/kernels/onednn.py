"""oneDNN: engine onednn, and the convolutions of engine x86 on machines with AVX512-VNNI.

Source: oneDNN 3.12 as bundled (`brgemm`, `gemm:jit` post-ops), ideep's scale handling, ATen
`quantized/cpu/qlinear.cpp`, `qconv.cpp`. Confirmed against PyTorch 2.13.0's kernels by the tests.
"""

from dataclasses import dataclass

import numpy as np

from bvverify.errors import NotExact
from bvverify.kernels.float32 import Float32, Integers, f32, from_int32
from bvverify.kernels.requantize import Accumulation, Kernel, WeightedLayer, window_of
from bvverify.kernels.target import Isa
from bvverify.model import Conv2d, QuantParams


def kernel(layer: WeightedLayer, source: QuantParams, isa: Isa, image: tuple[int, int] | None) -> Kernel:
    """Return what oneDNN runs for `layer` on activations quantized as `source`; `image` is a convolution's input size.

    Raises `NotExact` for what is not modelled.
    """
    if layer.weight.zero_points.any():
        raise NotExact(f"layer {layer.name}: oneDNN rejects weights with a zero point; use fbgemm or qnnpack")
    if isinstance(layer, Conv2d):
        assert image is not None
        _refuse_convolution(layer, isa, image)
    formula = OneDnnRequantization.of(layer, source, avx2=isa is Isa.AVX2)
    if source.signed and (isa is not Isa.AVX2 or source.zero_point):  # kernels without pairs of 16 bits
        return Kernel(Accumulation.EXACT, formula)
    return Kernel(_accumulation(layer, isa), formula)


def _accumulation(layer: WeightedLayer, isa: Isa) -> Accumulation:
    """Return how products are summed; the AVX2 kernel cuts long sums into blocks, and some cuts part a pair.

    No pair is parted up to 256 inputs, nor by multiples of 8 up to 2048, which were all tried on the kernel.
    """
    if isa is Isa.AVX512_VNNI:
        return Accumulation.EXACT
    inputs = layer.weight.values[0].size
    regular = inputs <= 256 or (inputs % 8 == 0 and inputs <= 2048)
    return Accumulation.UNORDERED_PAIRS if isa is Isa.AVX2 and not regular else Accumulation.SATURATING_PAIRS


def _refuse_convolution(layer: Conv2d, isa: Isa, image: tuple[int, int]) -> None:
    if isa is not Isa.AVX512_VNNI:
        raise NotExact(
            f"layer {layer.name}: the order in which oneDNN's {isa} convolutions pair saturating products "
            "is not modelled; use another target"
        )
    window = window_of(layer)
    if window.meets_only_padding(*image):
        raise NotExact(
            f"layer {layer.name}: oneDNN's convolution with a window that lies in the padding is known to be wrong; "
            "use fbgemm or qnnpack"
        )
    outputs, inputs_per_group = layer.weight.values.shape[:2]
    columns = window.output_size(*image)[1]
    wrong = layer.groups > 1 or (layer.stride[1] > 1 and columns == 1)
    if inputs_per_group == 1 and outputs > layer.groups and wrong:
        # Small ones run another kernel with other roundings; with stride (1, s > 1) and output width 1, oneDNN 3.12
        # returns garbage.
        kind = "grouped convolution" if layer.groups > 1 else "convolution to one column"
        raise NotExact(
            f"layer {layer.name}: oneDNN's {kind} with one input channel and several output channels per group "
            "is known to be wrong or not modelled; use fbgemm or qnnpack"
        )


@dataclass(frozen=True, eq=False)
class OneDnnRequantization:
    """oneDNN: scales passed as reciprocals of reciprocals, float bias, rounding after the zero point (ideep,
    `brgemm` post-ops).

    `premultiplied` kernels multiply the two scales first; the others apply them one after the other, with a
    rounding in between.  The reference kernel, which runs for signed bytes, `divides` by the output scale.
    """

    source_scale: Float32
    weight_scale: Float32
    premultiplied: bool
    divides: bool
    bias: Float32 | None
    output_scale: Float32
    output: QuantParams
    relu: bool

    @classmethod
    def of(cls, layer: WeightedLayer, source: QuantParams, *, avx2: bool) -> "OneDnnRequantization":
        """Return the formula of `layer` fed by activations quantized as `source`."""
        one = np.float32(1.0)
        if isinstance(layer, Conv2d):
            weight_scale = f32(layer.weight.scales)
        elif layer.weight.per_channel:
            weight_scale = one / (one / f32(layer.weight.scales))
        else:
            weight_scale = one / f32(1.0 / layer.weight.scales)
        return cls(
            source_scale=one / f32(1.0 / source.scale),
            weight_scale=weight_scale[:, None],
            premultiplied=avx2,
            divides=source.signed and not avx2,
            bias=None if layer.bias is None else layer.bias[:, None],
            output_scale=one / f32(1.0 / layer.output.scale),
            output=layer.output,
            relu=layer.relu,
        )

    def bytes_of(self, accumulator: Integers) -> Integers:
        value = from_int32(accumulator)
        if self.premultiplied:
            value = value * (self.source_scale * self.weight_scale)
        else:
            value = (value * self.source_scale) * self.weight_scale
        if self.bias is not None:
            value = value + self.bias
        if self.relu:
            value = np.maximum(value, np.float32(0))
        scaled = value / self.output_scale if self.divides else value * (np.float32(1) / self.output_scale)
        value = scaled + np.float32(self.output.zero_point)
        least, greatest = np.float32(self.output.least), np.float32(self.output.greatest)
        return np.rint(np.clip(value, least, greatest)).astype(np.int64)

    def refusal(self, lower: Integers, upper: Integers) -> str | None:
        return None
