"""The divisions of averages in the floating-point theory, from the sum of the centred bytes under a window on.

Source: ATen `native/quantized/cpu/AveragePool2d.cpp`, `AdaptiveAveragePooling.cpp`, `ReduceOps.cpp`,
`kernels/QuantizedOpKernels.cpp`; QNNPACK `average-pooling.c`, `q8avgpool/*-sse2.c`.
"""

from bvverify.kernels.pooling import (
    AdaptiveChannelsFirst,
    AdaptiveChannelsLast,
    Average,
    ChannelsFirst,
    ChannelsLast,
    InnermostMean,
    QnnpackAverage,
)
from bvverify.model import QuantParams
from bvverify.proofs.floating_point import (
    SINGLE,
    Single,
    Word,
    add,
    div,
    double,
    double_div,
    fma,
    from_word,
    mul,
    narrowed,
    single,
    smaller,
    word,
    word_add,
)
from bvverify.proofs.pipeline import (
    LARGEST_CONVERTIBLE,
    TO_BYTE,
    X_SINGLE,
    X_WORD,
    Pipeline,
    clamp,
    constant,
    saturation,
)

_MULTIPLIER = Single("multiplier")
_ADAPTIVE_LANES = 8
FORMS: dict[type[Average], str] = {
    ChannelsFirst: "channels first",
    ChannelsLast: "channels last",
    QnnpackAverage: "QNNPACK",
    AdaptiveChannelsFirst: "adaptive, channels first",
    AdaptiveChannelsLast: "adaptive, channels last",
    InnermostMean: "innermost axes",
}
"""What the divisions are called."""


def pipeline(division: Average, source: QuantParams, channel: int, channels: int) -> Pipeline:
    """Return what `division` is for one of `channels`, of bytes quantized as `source`."""
    zero_point = source.zero_point
    match division:
        case ChannelsFirst():
            multiplier = narrowed(double_div(double(1.0), double(division.divisor)))
            return _pipeline(multiplier, mul(X_SINGLE, _MULTIPLIER), _plus(zero_point), words=(TO_BYTE,))
        case ChannelsLast():
            multiplier = _reciprocal(single(division.divisor))
            if _in_vector(channel, channels, division.lanes):
                return _pipeline(multiplier, mul(X_SINGLE, _MULTIPLIER), words=clamp(zero_point))
            return _quantized(multiplier, zero_point)
        case AdaptiveChannelsFirst():
            multiplier = div(_reciprocal(single(division.height)), single(division.width))
            raw = zero_point * division.height * division.width
            return _pipeline(multiplier, mul(X_SINGLE, _MULTIPLIER), raw=raw)
        case AdaptiveChannelsLast():
            multiplier = _reciprocal(single(division.height * division.width))
            if _in_vector(channel, channels, _ADAPTIVE_LANES):
                inverse = _reciprocal(_reciprocal(multiplier))
                fused = fma(X_SINGLE, _MULTIPLIER, from_word(word(zero_point)))
                return _pipeline(inverse, fused, smaller(X_SINGLE, LARGEST_CONVERTIBLE), words=(TO_BYTE,))
            return _quantized(multiplier, zero_point)
        case QnnpackAverage():
            scale = narrowed(double(source.scale))
            multiplier = div(scale, mul(scale, single(division.divisor)))
            return _pipeline(multiplier, mul(X_SINGLE, _MULTIPLIER), words=saturation(zero_point, relu=False))
        case InnermostMean():
            size = single(division.size)
            return _pipeline(size, div(X_SINGLE, _MULTIPLIER), raw=zero_point * division.size)


def _quantized(multiplier: Single, zero_point: int) -> Pipeline:
    """Return the scalar quantization by a scale that is the reciprocal of `multiplier`."""
    inverse = _reciprocal(_reciprocal(multiplier))
    return _pipeline(inverse, mul(X_SINGLE, _MULTIPLIER), _plus(zero_point), words=(TO_BYTE,))


def _pipeline(multiplier: Single, *steps: Single, words: tuple[Word, ...] = (), raw: int = 0) -> Pipeline:
    """Return a pipeline that starts from the sum of the bytes as they are, where `raw` is what was taken off them."""
    return Pipeline(
        constants=(constant(_MULTIPLIER, SINGLE, multiplier),),
        convert=from_word(word_add(X_WORD, word(raw)) if raw else X_WORD),
        steps=steps,
        words=words,
    )


def _plus(zero_point: int) -> Single:
    return add(X_SINGLE, from_word(word(zero_point)))


def _reciprocal(value: Single) -> Single:
    return div(single(1.0), value)


def _in_vector(channel: int, channels: int, lanes: int) -> bool:
    return channel < channels // lanes * lanes
