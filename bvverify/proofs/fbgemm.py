"""FBGEMM's requantization in the floating-point theory (`requantizeOutputProcessingAvx2`, ReQuantizeOutput with
float bias).
"""

from bvverify.proofs.channel import Channel
from bvverify.proofs.floating_point import (
    SINGLE,
    Single,
    add,
    div,
    double,
    double_div,
    fma,
    from_word,
    inside_int32,
    mul,
    narrowed,
    single,
    widened,
)
from bvverify.proofs.pipeline import X_SINGLE, X_WORD, Pipeline, constant, saturation

_ACCUMULATOR_SCALE, _MULTIPLIER = Single("accumulator_scale"), Single("multiplier")


def pipeline(channel: Channel) -> Pipeline:
    """Return what FBGEMM computes for `channel`."""
    scale = mul(narrowed(double(channel.input_scale)), narrowed(double(channel.weight_scale)))
    constants = [
        constant("accumulator_scale", SINGLE, scale),
        constant("multiplier", SINGLE, div(_ACCUMULATOR_SCALE, narrowed(double(channel.output_scale)))),
    ]
    steps = [mul(X_SINGLE, _MULTIPLIER)]
    if channel.bias is not None and channel.per_channel:
        constants.append(constant("bias", SINGLE, div(single(channel.bias), _ACCUMULATOR_SCALE)))
        steps.insert(0, add(X_SINGLE, Single("bias")))
    elif channel.bias is not None:
        # Compilers contract the product with the reciprocal and the addition into one instruction.
        reciprocal = narrowed(double_div(double(1.0), widened(_ACCUMULATOR_SCALE)))
        constants.append(constant("reciprocal", SINGLE, reciprocal))
        steps.insert(0, fma(single(channel.bias), Single("reciprocal"), X_SINGLE))
    return Pipeline(
        constants=tuple(constants),
        convert=from_word(X_WORD),
        steps=tuple(steps),
        words=saturation(channel.zero_point, relu=channel.relu),
        monotone_result=inside_int32(X_SINGLE),
    )
