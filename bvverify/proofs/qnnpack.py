"""QNNPACK's requantization in the floating-point theory (`q8gemm`, `requantization/`; ATen quantizes the bias)."""

from bvverify.proofs.channel import Channel
from bvverify.proofs.floating_point import (
    SINGLE,
    TRUE,
    WORD,
    Single,
    Word,
    div,
    double,
    double_mul,
    from_word,
    inside_int32,
    mul,
    narrowed,
    rounded,
    single,
    sum_fits,
    word_add,
)
from bvverify.proofs.pipeline import X_SINGLE, X_WORD, Pipeline, constant, saturation

_BIAS = Word("bias")


def pipeline(channel: Channel) -> Pipeline:
    """Return what QNNPACK computes for `channel`; a bias that does not fit int32 is not modelled."""
    input_scale, weight_scale = double(channel.input_scale), double(channel.weight_scale)
    scale = mul(narrowed(weight_scale), narrowed(input_scale))
    reciprocal = div(single(1.0), narrowed(double(channel.output_scale)))
    constants = [constant("multiplier", SINGLE, mul(scale, reciprocal))]
    total = X_WORD
    if channel.bias is not None:
        bias_scale = narrowed(double_mul(weight_scale, input_scale))
        bias = mul(single(channel.bias), div(single(1.0), bias_scale))
        constants.append(constant("bias", WORD, rounded(bias)))
        total = word_add(X_WORD, _BIAS)
    return Pipeline(
        constants=tuple(constants),
        convert=from_word(total),
        steps=(mul(X_SINGLE, Single("multiplier")),),
        words=saturation(channel.zero_point, relu=channel.relu),
        monotone_accumulator=TRUE if channel.bias is None else sum_fits(X_WORD, _BIAS),
        monotone_result=inside_int32(X_SINGLE),
    )
