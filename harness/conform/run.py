"""One run: what is read, which targets are taken, and the certificate of each."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bvverify.cli.options import read_shape
from bvverify.cli.output import progress_bar, write_json, write_lines
from bvverify.errors import NotExact, TargetUnavailable
from bvverify.kernels.availability import unavailable
from bvverify.kernels.target import TARGETS, Target
from bvverify.load import DeployedModel, load_model, load_model_for
from bvverify.load.inputs import Images, read_images
from bvverify.model import QuantizedModel
from harness.conform.bench import compare_alone
from harness.conform.certificate import Conformance, Settings, certificate
from harness.conform.failure import write_failure
from harness.conform.inputs import whole_inputs
from harness.conform.page import report_page
from harness.conform.whole import compare_whole, subject_of
from harness.pool import KernelPool

Factory = Callable[[], torch.nn.Module]


@dataclass(frozen=True, eq=False)
class Files:
    """What was read: the model whose kernels run, the one that predicts its bytes, and real inputs in its shape."""

    deployed: DeployedModel
    expected: DeployedModel | None
    images: Images | None

    @property
    def predicting(self) -> QuantizedModel:
        """What the bytes are predicted from."""
        return self.deployed.model if self.expected is None else self.expected.model


def read_files(
    model: Path, expect: Path | None, inputs: Path | None, input_shape: str | None, factory: Factory | None = None
) -> Files:
    """Read the models and the real inputs, whose shape is tried on the models if none is given."""
    images = None if inputs is None else read_images(inputs)
    shape = None if input_shape is None else read_shape(input_shape)

    def load(path: Path) -> tuple[DeployedModel, Images | None]:
        if images is not None and shape is None:
            return load_model_for(path, images, factory=factory)
        deployed = load_model(path, input_shape=shape, factory=factory)
        return deployed, None if images is None else images.shaped(deployed.model.input_shape)

    deployed, shaped = load(model)
    return Files(deployed, None if expect is None else load(expect)[0], shaped)


def choose_targets(text: str, files: Files) -> tuple[list[Target], dict[str, str]]:
    """Return the targets to run; with `all`, those that can run here, and why each of the others cannot.

    Raises `TargetUnavailable` for a target that is named and cannot run here.
    """
    if text == "all":
        refusals = {str(target): reason for target in TARGETS if (reason := refusal(target, files)) is not None}
        targets = [target for target in TARGETS if str(target) not in refusals]
        if not targets:
            raise TargetUnavailable(f"no target can be certified here: {next(iter(refusals.values()))}")
        return targets, refusals
    targets = list(dict.fromkeys(Target.parse(part.strip()) for part in text.split(",")))
    for target in targets:
        if (reason := unavailable(files.deployed.model, target)) is not None:
            raise TargetUnavailable(f"target {target}: {reason}; see `bvverify targets`")
    return targets, {}


def refusal(target: Target, files: Files) -> str | None:
    """Return why a model cannot be certified on a target of this machine, or None."""
    if (reason := unavailable(files.deployed.model, target)) is not None:
        return reason
    try:
        subject_of(files.deployed, files.predicting, target)
    except NotExact as error:
        return str(error)
    return None


def conform(
    deployed: DeployedModel,
    *,
    target: Target,
    out: str | Path,
    inputs: Images | None = None,
    samples: int = 1000,
    rounds: int = 2,
    seed: int = 0,
) -> Conformance:
    """Certify a loaded model on one target of this machine, as `bvverify conform` does, and write the report to `out`.

    `inputs` are real inputs in the model's shape; `samples` random and extreme ones are added.  Raises
    `TargetUnavailable` if this machine cannot run the target's kernels, or if the model cannot be lowered for it.
    """
    files = Files(deployed, None, inputs)
    if (reason := refusal(target, files)) is not None:
        raise TargetUnavailable(f"target {target}: {reason}")
    name, count = (None, 0) if inputs is None else (inputs.name, len(inputs.images))
    return certify(files, target, Settings(seed, rounds, samples, name, count), folder=Path(out))


def certify(files: Files, target: Target, settings: Settings, *, folder: Path) -> Conformance:
    """Examine a model on one target; write certificate.json, index.html and, if it failed, a case to `folder`.

    Each file appears whole or not at all, the certificate last.
    """
    start = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    subject = subject_of(files.deployed, files.predicting, target)
    batch = whole_inputs(
        subject.lowered.quantizer.params, subject.model.input_shape, settings.samples, seed=settings.seed
    )
    if files.images is not None:
        batch = np.concatenate([files.images.real, batch])
    with KernelPool() as pool, progress_bar() as progress:
        task = progress.add_task(f"{target}: whole model", total=len(batch))
        reports = compare_whole(subject, batch, lambda count: progress.advance(task, count))
        progress.update(task, total=len(reports), completed=0)
        for index, report in reports.items():
            progress.update(task, description=f"{target}: layer {report.name}")
            reports[index] = compare_alone(subject, index, report, pool, seed=settings.seed, rounds=settings.rounds)
            progress.advance(task)
        outcome = Conformance(subject, files.expected, settings, tuple(reports.values()), time.perf_counter() - start)
        if (difference := outcome.first_difference) is not None:
            progress.update(task, description=f"{target}: shrinking a case of layer {difference.layer}")
            names = write_failure(folder, difference, target, pool)
            outcome = dataclasses.replace(outcome, case_files=names)
    write_lines(folder / "index.html", report_page(outcome, folder=folder))
    write_json(folder / "certificate.json", certificate(outcome))
    return outcome
