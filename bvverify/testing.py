"""Robustness as an assertion, for the test suites of people who ship models.

from bvverify.testing import assert_robust

def test_digits_stay_what_they_are():
assert_robust("model.pt", images, labels, radius=2, target="fbgemm/avx512_vnni")
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bvverify.evidence import Verdict
from bvverify.kernels.target import Target
from bvverify.load import DeployedModel, load_model_for
from bvverify.load.inputs import Images
from bvverify.queries import Query, RegionKind, Robustness, TieRule, read_clip, read_radius, region_around
from bvverify.search import Outcome
from bvverify.solvers import DEFAULT_SOLVER
from bvverify.verify import DEFAULT_SECONDS, Verifier

if TYPE_CHECKING:
    import torch

_SHOWN = 10
"""Failures that a message lists."""


def assert_robust(
    model: "str | Path | torch.nn.Module | DeployedModel",
    images: npt.NDArray[Any],
    labels: Sequence[int] | npt.NDArray[Any] | None = None,
    *,
    radius: int | str | Fraction = 1,
    region: str = "pixels",
    clip: str = "0,1",
    target: str = "auto",
    tie: str = "lowest-index",
    solver: str = DEFAULT_SOLVER,
    timeout: float = DEFAULT_SECONDS,
    allow_unknown: bool = False,
) -> list[Verdict]:
    """Assert that every input within the radius keeps its label, for each of `images`; return the verdicts.

    `images`: uint8 pixels or float32, (n, ...); `labels`: n integers, or None to ask whether the model's own
    predictions can change.  The other arguments are the options of `bvverify verify`.  Raises AssertionError, which
    lists the inputs that are violated and, unless `allow_unknown`, those that could not be decided within `timeout`
    seconds each; the errors of `load_model` and of `Verifier` for what cannot be asked.
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    kind = RegionKind(region)
    size, ends = read_radius(str(radius), kind), read_clip(clip)
    given = Images("images", images, None if labels is None else np.asarray(labels, dtype=np.int64))
    deployed, shaped = _loaded(model, given)
    verdicts = []
    with Verifier(deployed, target=Target.parse(target), solver=solver, seconds=timeout) as verifier:
        predictions = verifier.predictions(shaped.real).tolist()
        classes = verifier.lowered.network.outputs
        for image, label in zip(shaped.images, predictions if labels is None else list(labels), strict=True):
            question = Robustness(int(label), classes, TieRule(tie))
            verdicts.append(verifier.verify(Query(region_around(image, kind, size, ends), question)))
        where = f"{deployed.name} on {verifier.lowered.target}, radius {radius}"
    failing = {Outcome.VIOLATED} if allow_unknown else {Outcome.VIOLATED, Outcome.UNKNOWN}
    lines = [_line(index, verdict) for index, verdict in enumerate(verdicts) if verdict.outcome in failing]
    if lines:
        more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        counted = f"{where}: {len(lines)} of {len(verdicts)} inputs are not shown to be robust"
        raise AssertionError("\n  ".join([counted, *lines[:_SHOWN], *more]))
    return verdicts


def _loaded(model: "str | Path | torch.nn.Module | DeployedModel", images: Images) -> tuple[DeployedModel, Images]:
    if isinstance(model, DeployedModel):
        return model, images.shaped(model.model.input_shape)
    return load_model_for(model, images)


def _line(index: int, verdict: Verdict) -> str:
    if verdict.witness is None:
        return f"input {index}: unknown, {verdict.reason}"
    found = verdict.reason or f"an input within the radius is classified as {int(verdict.witness.outputs.argmax())}"
    return f"input {index}, label {verdict.label}: violated, {found} ({verdict.witness.replay})"
