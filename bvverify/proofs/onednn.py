"""oneDNN's requantization in the floating-point theory (post-ops of `brgemm` and `gemm:jit`, ideep's reciprocals)."""

from bvverify.proofs.channel import Channel
from bvverify.proofs.floating_point import (
    SINGLE,
    Single,
    add,
    div,
    double,
    double_div,
    from_word,
    larger,
    mul,
    narrowed,
    single,
    smaller,
    word,
)
from bvverify.proofs.pipeline import X_SINGLE, X_WORD, Pipeline, constant


def pipeline(channel: Channel, *, premultiplied: bool) -> Pipeline:
    """Return what oneDNN computes for `channel`; `premultiplied` kernels multiply the two scales first.

    The others, on qint8 activations, are the reference kernel, which divides by the output scale.
    """
    output_scale = _reciprocal(_narrowed_reciprocal(channel.output_scale))
    constants = (
        constant("input_scale", SINGLE, _reciprocal(_narrowed_reciprocal(channel.input_scale))),
        constant("weight_scale", SINGLE, _weight_scale(channel)),
        constant("output_scale", SINGLE, output_scale),
        constant("output_factor", SINGLE, _reciprocal(Single("output_scale"))),
    )
    input_scale, weight_scale = Single("input_scale"), Single("weight_scale")
    if premultiplied:
        steps = [mul(X_SINGLE, mul(input_scale, weight_scale))]
    else:
        steps = [mul(X_SINGLE, input_scale), mul(X_SINGLE, weight_scale)]
    if channel.bias is not None:
        steps.append(add(X_SINGLE, single(channel.bias)))
    if channel.relu:
        steps.append(larger(X_SINGLE, single(0.0)))
    divides = channel.signed and not premultiplied
    steps.append(div(X_SINGLE, Single("output_scale")) if divides else mul(X_SINGLE, Single("output_factor")))
    steps.append(add(X_SINGLE, from_word(word(channel.zero_point))))
    least, greatest = (-128.0, 127.0) if channel.signed else (0.0, 255.0)
    steps.append(smaller(larger(X_SINGLE, single(least)), single(greatest)))
    return Pipeline(constants=constants, convert=from_word(X_WORD), steps=tuple(steps))


def _weight_scale(channel: Channel) -> Single:
    scale = double(channel.weight_scale)
    if channel.convolution:
        return narrowed(scale)
    if channel.per_channel:
        return _reciprocal(_reciprocal(narrowed(scale)))
    return _reciprocal(_narrowed_reciprocal(channel.weight_scale))


def _reciprocal(value: Single) -> Single:
    return div(single(1.0), value)


def _narrowed_reciprocal(value: float) -> Single:
    """Divide in float64, then round to float32."""
    return narrowed(double_div(double(1.0), double(value)))
