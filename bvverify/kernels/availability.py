"""Whether this machine can run what a target would run for a model."""

from bvverify.kernels import x86
from bvverify.kernels.target import Engine, Isa, Target, cpu_flags
from bvverify.model import Conv2d, QuantizedModel


def unavailable(model: QuantizedModel, target: Target) -> str | None:
    """Return why this machine cannot run `model` on `target`, or None if it can.

    Engine x86 asks the CPU whether to use oneDNN for a convolution, and no environment variable changes its answer:
    on a CPU with VNNI, its convolutions for other instruction sets cannot be run.
    """
    if (reason := target.unavailable()) is not None:
        return reason
    if target.engine is Engine.X86 and target.isa is not Isa.AVX512_VNNI and "avx512_vnni" in cpu_flags():
        for layer in model.layers:
            if isinstance(layer, Conv2d) and x86.uses_onednn(layer, Isa.AVX512_VNNI):
                return f"on this CPU, engine x86 runs layer {layer.name} with oneDNN, where {target} would use FBGEMM"
    return None
