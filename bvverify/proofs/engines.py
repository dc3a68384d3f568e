"""Which pipeline a target runs for a channel: the one place that knows them all."""

from bvverify.errors import NotExact
from bvverify.kernels import x86
from bvverify.kernels.target import Engine, Isa, Target
from bvverify.model import Conv2d, Linear
from bvverify.proofs import fbgemm, onednn, qnnpack
from bvverify.proofs.channel import Channel
from bvverify.proofs.pipeline import Pipeline


def pipeline_of(layer: Linear | Conv2d, channel: Channel, target: Target) -> Pipeline:
    """Return what `target` computes for one `channel` of `layer`.  NotExact for qint8 that is not oneDNN's."""
    if channel.signed and target.engine is not Engine.ONEDNN:
        raise NotExact(f"layer {layer.name}: no pipeline for qint8 activations on {target}")
    match target.engine:
        case Engine.QNNPACK:
            return qnnpack.pipeline(channel)
        case Engine.FBGEMM:
            return fbgemm.pipeline(channel)
        case Engine.X86 if not x86.uses_onednn(layer, target.isa):
            return fbgemm.pipeline(channel)
        case Engine.X86 | Engine.ONEDNN:
            return onednn.pipeline(channel, premultiplied=target.isa is Isa.AVX2)


def is_staged(pipeline: Pipeline) -> bool:
    """Return whether the staged questions are the faster ones: from three steps on."""
    return len(pipeline.steps) >= 3
