"""What the deployed file says about one channel: the numbers that a pipeline is written from."""

from dataclasses import dataclass

from bvverify.model import Conv2d, Linear, QuantParams


@dataclass(frozen=True)
class Channel:
    """One output channel of a linear layer or a convolution.

    Scales are the float64 numbers of the file; `bias`, a float32, is None where the layer has none.  `per_channel`
    and `convolution` are facts about the layer by which engines choose between formulas.
    """

    input_scale: float
    weight_scale: float
    output_scale: float
    zero_point: int
    bias: float | None
    relu: bool
    per_channel: bool
    convolution: bool
    signed: bool = False
    """Whether activations are qint8."""

    @classmethod
    def of(cls, layer: Linear | Conv2d, index: int, source: QuantParams) -> "Channel":
        """Return channel `index` of `layer`, which reads activations quantized as `source`."""
        weight = layer.weight
        return cls(
            input_scale=source.scale,
            weight_scale=float(weight.scales[index if weight.per_channel else 0]),
            output_scale=layer.output.scale,
            zero_point=layer.output.zero_point,
            bias=None if layer.bias is None else float(layer.bias[index]),
            relu=layer.relu,
            per_channel=weight.per_channel,
            convolution=isinstance(layer, Conv2d),
            signed=layer.output.signed,
        )
