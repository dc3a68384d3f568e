"""The certificate: what was compared, on which machine, and what came out, as JSON."""

import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bvverify.kernels.target import cpu_flags
from bvverify.load import DeployedModel
from harness.boundary_coverage import CoverageCount
from harness.conform.records import Difference, LayerReport, Tally
from harness.conform.whole import Subject

_DISTRIBUTIONS = ("bvverify", "torch", "numpy")


@dataclass(frozen=True)
class Settings:
    """How a run was made."""

    seed: int
    rounds: int
    samples: int
    """Number of random and extreme inputs of the whole model."""
    inputs: str | None = None
    """Name of the file with real inputs."""
    inputs_count: int = 0


@dataclass(frozen=True, eq=False)
class Conformance:
    """The outcome for one model on one target."""

    subject: Subject
    expected: DeployedModel | None
    """The file that the bytes were predicted from, if it is another one."""
    settings: Settings
    layers: tuple[LayerReport, ...]
    seconds: float
    case_files: tuple[str, ...] = ()
    """Files with a small case that differs, beside the certificate."""

    @property
    def passed(self) -> bool:
        """Whether no byte differed and the kernel rejected nothing."""
        return all(layer.conforms for layer in self.layers)

    @property
    def compared(self) -> Tally:
        """All bytes compared."""
        return sum((layer.whole + layer.alone for layer in self.layers), Tally())

    @property
    def coverage(self) -> CoverageCount:
        """The sides of all layers' thresholds."""
        counts = [layer.coverage for layer in self.layers if layer.coverage is not None]
        return sum(counts, CoverageCount(0, 0, 0))

    @property
    def first_difference(self) -> Difference | None:
        """The difference of the first layer that differs alone, or else within the script."""
        found = [layer.difference for layer in self.layers if layer.difference is not None]
        return next((difference for difference in found if difference.alone), found[0] if found else None)


def certificate(outcome: Conformance) -> dict[str, Any]:
    """Return the certificate as a JSON object."""
    target, deployed, settings = outcome.subject.target, outcome.subject.deployed, outcome.settings
    expected = None
    if outcome.expected is not None:
        expected = {"name": outcome.expected.name, "sha256": outcome.expected.digest}
    real = None if settings.inputs is None else {"name": settings.inputs, "count": settings.inputs_count}
    return {
        "verdict": "pass" if outcome.passed else "fail",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {
            "name": deployed.name,
            "sha256": deployed.digest,
            "input_shape": list(deployed.model.input_shape),
        },
        "expected": expected,
        "target": str(target),
        "runtime": target.runtime,
        "environment": target.environment(),
        "versions": versions(),
        "cpu": {"model": cpu_model(), "flags": sorted(cpu_flags())},
        "seed": settings.seed,
        "rounds": settings.rounds,
        "samples": settings.samples,
        "inputs": real,
        "bytes": _tally(outcome.compared),
        "coverage": _coverage(outcome.coverage),
        "layers": [_layer(layer) for layer in outcome.layers],
        "first_difference": _difference(outcome.first_difference, outcome.case_files),
        "seconds": round(outcome.seconds, 1),
    }


def versions() -> dict[str, str]:
    """Return the versions of what computed and what predicted."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in _DISTRIBUTIONS}


def cpu_model() -> str:
    """Return the CPU's name as Linux gives it, or the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _layer(layer: LayerReport) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "whole": _tally(layer.whole),
        "alone": _tally(layer.alone),
        "not_alone": layer.not_alone,
        "rejected": layer.rejected,
        "coverage": None if layer.coverage is None else _coverage(layer.coverage),
    }


def _tally(tally: Tally) -> dict[str, int]:
    return {"compared": tally.compared, "different": tally.different}


def _coverage(count: CoverageCount) -> dict[str, Any]:
    return {
        "reachable": count.reachable,
        "hit": count.hit,
        "unreachable": count.unreachable,
        "missed": count.missed,
        "fraction": count.fraction,
    }


def _difference(difference: Difference | None, case_files: Sequence[str]) -> dict[str, Any] | None:
    if difference is None:
        return None
    return {
        "layer": difference.layer,
        "alone": difference.alone,
        "position": list(difference.position),
        "predicted": difference.predicted,
        "kernel": difference.kernel,
        "cases": list(case_files),
    }
