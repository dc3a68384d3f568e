"""What names a subject, a query and the settings of an answer: equal names mean the same question."""

import hashlib
import json
from collections.abc import Sequence
from fractions import Fraction
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.evidence import Subject
from bvverify.network import network_digest
from bvverify.queries import Patch, RegionKind, Robustness
from bvverify.runs.store import SubjectRow
from bvverify.search import ALL_STAGES, Stage
from bvverify.solvers import version as solver_version
from bvverify.solvers.integer import CP_SAT, program_solver_version


def subject_row(subject: Subject, *, name: str) -> SubjectRow:
    """Return how a store describes a subject that reports call `name`."""
    lowered, deployed = subject.lowered, subject.deployed
    network = network_digest(lowered.network)
    facts = [network, repr(lowered.quantizer), deployed.digest, str(lowered.target), lowered.target.runtime]
    return SubjectRow(
        digest=_digest(facts),
        model=name,
        model_sha256=deployed.digest,
        target=str(lowered.target),
        runtime=lowered.target.runtime,
        network=network,
        replay_refusal=subject.replay_refusal,
    )


def input_digest(image: npt.NDArray[Any]) -> str:
    """Return the SHA-256 of one input: its type, shape and values."""
    return hashlib.sha256(f"{image.dtype} {image.shape};".encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def query_key(subject: str, image: str, region: str, radius: Fraction, clip: str, question: Robustness) -> str:
    """Return the key of a query about the subject and the input with these digests."""
    facts = [subject, image, region, str(radius), clip, question.label, question.classes, str(question.tie)]
    return _digest(facts if question.forbidden is None else [*facts, question.forbidden])


def region_text(region: RegionKind, patch: Patch | None) -> str:
    """Return what may change: a kind of region, and the patch outside of which nothing may."""
    return str(region) if patch is None else f"{region} patch {patch}"


def clip_text(region: RegionKind, clip: tuple[Fraction, Fraction] | None) -> str:
    """Return the ends of a clip as text; empty where none holds."""
    return "" if clip is None or region is RegionKind.PIXELS else f"{clip[0]},{clip[1]}"


def settings_text(solver: str, stages: Sequence[Stage]) -> str:
    """Return, as JSON, what an answer may depend on beside the query: the solvers, the stages and their version."""
    settings = {"bvverify": version("bvverify"), "solver": f"{solver} {solver_version(solver)}"}
    if Stage.ILP in stages:
        settings["programs"] = f"{CP_SAT.name} {program_solver_version()}"
    return json.dumps(settings if tuple(stages) == ALL_STAGES else {**settings, "stages": ",".join(stages)})


def _digest(facts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
