"""Two subjects over the same images, byte by byte."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bvverify.compare.comparison import Comparison, Side
from bvverify.compare.layers import matched_layers, output_params
from bvverify.errors import UsageError
from bvverify.evidence import Subject
from bvverify.load.inputs import Images
from bvverify.network import IntArray
from bvverify.queries import predicted_class

Progress: TypeAlias = Callable[[int], None]
"""Is told how many further steps are done."""
_MOST_AT_ONCE = 1000
_VALUES_AT_ONCE = 2**27
"""Bytes of all layers that are held at a time, eight bytes of memory each."""


def compare_subjects(
    first: Subject,
    second: Subject,
    images: Images,
    *,
    positions: Sequence[int] | None = None,
    progress: Progress = lambda _: None,
) -> Comparison:
    """Return where the bytes and predictions of two subjects differ.

    `images`: n inputs in any shape that has as many values as the models take; each side reads them row-major in its
    own shape.  `positions` chooses some of them, all by default.  `progress` is told twice the number of images in
    all.  Where this machine can run a side's target, every byte of every layer is compared with the real kernel's.

    Raises `UsageError` if the models have different numbers of outputs, `InputError` for images that do not fit,
    `InternalError` if a kernel contradicts a prediction.
    """
    counts = [subject.lowered.network.outputs for subject in (first, second)]
    if counts[0] != counts[1]:
        raise UsageError(
            f"{first.deployed.name} has {counts[0]} outputs and {second.deployed.name} has {counts[1]}; "
            "only models with as many outputs can be compared"
        )
    chosen = np.asarray(range(len(images.images)) if positions is None else positions, dtype=np.int64)
    fitted = [images.shaped(subject.lowered.network.input_shape) for subject in (first, second)]
    layers, skipped = matched_layers(first, second)
    outputs: tuple[list[IntArray], list[IntArray]] = ([], [])
    step = min(_batch(first), _batch(second))
    for start in range(0, len(chosen), step):
        batch = chosen[start : start + step]
        found = []
        for subject, source, collected in zip((first, second), fitted, outputs, strict=True):
            real = Images(source.name, source.images[batch], None).real
            collected.append(_confirmed_outputs(subject, real))
            found.append(subject.lowered.layer_bytes(subject.lowered.quantizer.levels(real)))
            progress(len(batch))
        layers = [layer.after(found[0][layer.name], found[1][layer.name], batch) for layer in layers]
    return Comparison(
        first=_side(first, outputs[0]),
        second=_side(second, outputs[1]),
        inputs=images.name,
        positions=chosen,
        labels=None if images.labels is None else images.labels[chosen],
        layers=tuple(layers),
        skipped=tuple(skipped),
    )


def _confirmed_outputs(subject: Subject, real: npt.NDArray[np.float32]) -> IntArray:
    subject.predictions(real)
    return subject.lowered.network.evaluate(subject.lowered.quantizer.levels(real))


def _side(subject: Subject, outputs: list[IntArray]) -> Side:
    deployed, target = subject.deployed, subject.lowered.target
    joined = np.concatenate([*outputs, np.zeros((0, subject.lowered.network.outputs), dtype=np.int64)])
    return Side(
        model=deployed.name,
        digest=deployed.digest,
        input_shape=deployed.model.input_shape,
        target=target,
        unconfirmed=subject.replay_refusal,
        params=output_params(deployed.model),
        outputs=joined,
        classes=predicted_class(joined),
    )


def _batch(subject: Subject) -> int:
    """Return how many images may be evaluated at a time."""
    values = sum(layer.layout.size for layer in subject.lowered.layers)
    return max(1, min(_MOST_AT_ONCE, _VALUES_AT_ONCE // values))
