"""Whether this machine can run what a target would run for a model."""

from bvverify.kernels import fbgemm, x86
from bvverify.kernels.target import Engine, Target, cpu_isa
from bvverify.model import Conv2d, QuantizedModel


def unavailable(model: QuantizedModel, target: Target) -> str | None:
    """Return why this machine cannot run `model` on `target`, or None if it can.

    Two choices are made by what the CPU has, and no environment variable changes them: engine x86 uses oneDNN for
    convolutions where there is VNNI, and FBGEMM has another groupwise kernel for each instruction set.
    """
    if (reason := target.unavailable()) is not None:
        return reason
    own = cpu_isa()
    if own is None or target.engine not in (Engine.X86, Engine.FBGEMM) or target.isa is own:
        return None
    for layer in model.layers:
        if not isinstance(layer, Conv2d):
            continue
        if target.engine is Engine.X86 and x86.uses_onednn(layer, own):
            return f"on this CPU, engine x86 runs layer {layer.name} with oneDNN, where {target} would use FBGEMM"
        if fbgemm.groupwise_path(layer, own) or fbgemm.groupwise_path(layer, target.isa):
            return f"on this CPU, FBGEMM runs layer {layer.name} with the groupwise kernel of {own}"
    return None
