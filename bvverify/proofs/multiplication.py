"""ATen's multiplication of two bytes in the floating-point theory, from the exact product of the centred bytes on.

Source: ATen `native/quantized/cpu/kernels/QuantizedOpKernels.cpp` (qmul), `AffineQuantizerBase.cpp`
(requantize_from_int).
"""

from bvverify.model import Mul, QuantParams
from bvverify.proofs.floating_point import SINGLE, Single, div, double, from_word, mul, narrowed, single
from bvverify.proofs.pipeline import X_SINGLE, X_WORD, Pipeline, clamp, constant


def pipeline(layer: Mul, left: QuantParams, right: QuantParams) -> Pipeline:
    """Return what every engine computes from a product."""
    left_scale, right_scale, output_scale = (narrowed(double(params.scale)) for params in (left, right, layer.output))
    multiplier = mul(mul(left_scale, right_scale), div(single(1.0), output_scale))
    return Pipeline(
        constants=(constant("multiplier", SINGLE, multiplier),),
        convert=from_word(X_WORD),
        steps=(mul(X_SINGLE, Single("multiplier")),),
        words=clamp(layer.output.zero_point, relu=layer.relu),
    )
