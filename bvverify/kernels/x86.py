"""Engine x86, PyTorch's default: FBGEMM or oneDNN, layer by layer, by PyTorch's own rule (ATen
`quantized/cpu/OnednnUtils.h`).
"""

from bvverify.kernels import fbgemm, onednn
from bvverify.kernels.requantize import Kernel, WeightedLayer
from bvverify.kernels.target import Isa
from bvverify.model import Conv2d, QuantParams

_MOST_ONEDNN_GROUPS = 100


def kernel(layer: WeightedLayer, source: QuantParams, isa: Isa, image: tuple[int, int] | None) -> Kernel:
    """Return what engine x86 runs for `layer`: on a CPU with VNNI, symmetric convolutions go to oneDNN, all else to
    FBGEMM.
    """
    if uses_onednn(layer, isa):
        return onednn.kernel(layer, source, isa, image)
    return fbgemm.kernel(layer, source, isa)


def uses_onednn(layer: WeightedLayer, isa: Isa) -> bool:
    """Return PyTorch's choice for this layer.  It asks the CPU, not the environment, whether VNNI is there."""
    return (
        isinstance(layer, Conv2d)
        and isa is Isa.AVX512_VNNI
        and layer.groups <= _MOST_ONEDNN_GROUPS
        and not layer.weight.zero_points.any()
    )
