"""Running the corpus: every case against the real kernels, the lowered network and its encoding.

For each case and target: lowering refuses it, where the case says so; otherwise the network, its bit-vector encoding
and the kernel all give the bytes of the case.  And an identity check per network: the encoding equals itself, while a
network with one planted fault is told apart by the same check.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.errors import BvverifyError, InputError, InternalError, NotExact, UnsupportedLayer
from bvverify.kernels.availability import unavailable
from bvverify.kernels.lower import lower
from bvverify.kernels.target import TARGETS, Target
from bvverify.model import Dequantize, QuantizedModel, Reshape
from bvverify.network import IntArray, StepNetwork
from bvverify.oracle import LayerBytes
from harness.case_file import CaseFile, Expectation
from harness.pool import KernelPool
from harness.sameness import differing_input, encoding_fault, region
from harness.tampering import tampered

_SOURCE_PLACE = re.compile(r' at "[^"]*":\d+|\[[^\]]* at \S+\.cpp:\d+\] ')
"""Where in its source a kernel's message was raised."""
FOLDER = Path(__file__).parents[1] / "corpus"


class Check(StrEnum):
    """What is checked."""

    REFUSAL = "refusal"
    """Lowering refuses the case, with the given words."""
    NETWORK = "network"
    """The lowered network gives the bytes of the case."""
    REPLAY = "replay"
    """The real kernel gives the bytes of the case."""
    ENCODING = "encoding"
    """With the case's inputs, the formula admits the bytes of the case and no others."""
    IDENTITY = "identity"
    """The encoding equals itself and does not equal that of a network with a planted fault."""


@dataclass(frozen=True)
class Outcome:
    """The result of one check of one case."""

    case: str
    target: Target
    check: Check
    fault: str = ""
    """What is wrong, in one line; empty if nothing is."""
    skipped: str = ""
    """Why the check was not made; empty if it was."""


def case_paths(folder: Path = FOLDER) -> list[Path]:
    """Return the case files of a corpus, in order: all `*.json` in its subfolders."""
    paths = sorted(folder.glob("*/*.json"))
    if not paths:
        raise InputError(f"{folder}: holds no case files; expected NAME/case.json")
    return paths


def run_case(case: CaseFile, pool: KernelPool) -> list[Outcome]:
    """Return the outcomes of one case on all of its targets."""
    return list(_Run(case, pool).outcomes())


def recorded_case(
    name: str, cause: str, upstream: Sequence[str], model: QuantizedModel, inputs: npt.NDArray[Any], pool: KernelPool
) -> CaseFile:
    """Return a case with the bytes that the real kernels compute for it, on every target that this machine can run.

    Targets that lowering refuses are recorded as refused, with what the kernel does as `observed`.
    """
    entries: dict[tuple[Any, ...], Expectation] = {}
    for target in TARGETS:
        entry = _recorded(model, inputs, target, pool)
        if entry is not None:
            key = tuple(_comparable(getattr(entry, key)) for key in ("bytes", "refused", "observed"))
            known = entries.get(key)
            targets = (*known.targets, target) if known else (target,)
            entries[key] = Expectation(targets, entry.bytes, entry.refused, entry.observed)
    return CaseFile(name, cause, tuple(upstream), model, inputs, tuple(entries.values()))


def result_bytes(model: QuantizedModel, layers: LayerBytes) -> IntArray:
    """Return the model's result, int64 (n, ...), among the bytes of its layers."""
    value = len(model.layers)
    while isinstance(model.layers[value - 1], Reshape | Dequantize):  # these put out no bytes of their own
        (value,) = model.sources[value - 1]
    return layers[model.layers[value - 1].name].astype(np.int64)


class _Run:
    def __init__(self, case: CaseFile, pool: KernelPool) -> None:
        self._case, self._pool = case, pool
        self._encodings: dict[str, list[tuple[Check, str]]] = {}

    def outcomes(self) -> Iterator[Outcome]:
        for entry in self._case.expected:
            for target in entry.targets:
                if entry.bytes is None:
                    yield Outcome(self._case.name, target, Check.REFUSAL, self._refusal_fault(entry, target))
                    continue
                yield self._replay(entry.bytes, target)
                yield from self._predictions(entry.bytes, target)

    def _refusal_fault(self, entry: Expectation, target: Target) -> str:
        try:
            lower(self._case.model, target)
        except (NotExact, UnsupportedLayer) as refusal:
            return "" if str(entry.refused) in str(refusal) else f"expected '{entry.refused}', got: {refusal}"
        return f"expected a refusal with '{entry.refused}', but it was lowered"

    def _replay(self, expected: IntArray, target: Target) -> Outcome:
        if (reason := unavailable(self._case.model, target)) is not None:
            return Outcome(self._case.name, target, Check.REPLAY, skipped=reason)
        (result,) = self._pool.run(target, [(self._case.model, self._case.inputs)])
        fault = result if isinstance(result, str) else _difference(expected, result_bytes(self._case.model, result))
        return Outcome(self._case.name, target, Check.REPLAY, fault)

    def _predictions(self, expected: IntArray, target: Target) -> Iterator[Outcome]:
        try:
            lowered = lower(self._case.model, target)
        except BvverifyError as error:
            yield Outcome(self._case.name, target, Check.NETWORK, str(error))
            return
        levels, flat = lowered.levels(self._case.inputs), expected.reshape(len(expected), -1)
        yield Outcome(self._case.name, target, Check.NETWORK, _difference(flat, lowered.network.evaluate(levels)))
        key = _fingerprint(lowered.network, levels, flat)
        if key not in self._encodings:
            self._encodings[key] = list(_encoding_faults(lowered.network, levels, flat))
        for check, fault in self._encodings[key]:
            yield Outcome(self._case.name, target, check, fault)


def _encoding_faults(network: StepNetwork, inputs: IntArray, expected: IntArray) -> Iterator[tuple[Check, str]]:
    try:
        faults = (encoding_fault(network, *pair) for pair in zip(inputs, expected, strict=True))
        yield Check.ENCODING, next((fault for fault in faults if fault), "")
        yield Check.IDENTITY, identity_fault(network, inputs[0])
    except InternalError as error:
        yield Check.IDENTITY, str(error)


def identity_fault(network: StepNetwork, point: IntArray) -> str:
    """Return what is wrong with the encoding around `point` (int64, input shape): not equal to itself, or equal to
    that of a network that differs there; empty if nothing is wrong.
    """
    box = region(network, point, free=6, reach=1)
    if (witness := differing_input(network, network, box)) is not None:
        return f"the encoding differs from itself at input {witness.reshape(-1).tolist()}"
    if differing_input(network, tampered(network, point), box) is None:
        return "the check is vacuous: a planted fault is not told apart"
    return ""


def _recorded(model: QuantizedModel, inputs: npt.NDArray[Any], target: Target, pool: KernelPool) -> Expectation | None:
    """Return what one target makes of a case, or None if this machine cannot tell."""
    computed: IntArray | str | None = None
    if unavailable(model, target) is None:
        (result,) = pool.run(target, [(model, inputs)])
        computed = _SOURCE_PLACE.sub("", result) if isinstance(result, str) else result_bytes(model, result)
    try:
        lower(model, target)
    except (NotExact, UnsupportedLayer) as refusal:
        return Expectation((target,), None, _fragment(str(refusal), target), computed)
    if isinstance(computed, str):
        raise InternalError(f"{target}: lowered, but the kernel says: {computed}")
    return None if computed is None else Expectation((target,), computed)


def _fragment(refusal: str, target: Target) -> str:
    """Return the longest part of a refusal that names neither a layer nor the target."""
    reason = refusal.partition(": ")[2] or refusal
    return max(re.split(f"{target}|{target.isa}", reason), key=len).strip()


def _comparable(value: object) -> object:
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def _difference(expected: IntArray, got: IntArray) -> str:
    """Return where two arrays of bytes differ first; empty if they do not."""
    if expected.shape != got.shape:
        return f"expected bytes of shape {expected.shape}, got {got.shape}"
    places = np.argwhere(expected != got)
    if not len(places):
        return ""
    first = tuple(places[0].tolist())
    return f"{len(places)} bytes differ, first at {first}: expected {expected[first]}, got {got[first]}"


def _fingerprint(network: StepNetwork, *arrays: IntArray) -> str:
    """Return a digest of everything that an encoding depends on."""
    digest = hashlib.sha256()
    for node in network.nodes:
        digest.update(f"{type(node.operation).__name__} {node.inputs}".encode())
        for field in fields(node.operation):
            _update(digest, getattr(node.operation, field.name))
    for array in (network.lower, network.upper, *arrays):
        _update(digest, array)
    return digest.hexdigest()


def _update(digest: "hashlib._Hash", value: object) -> None:
    digest.update(f"{value.shape}".encode() + value.tobytes() if isinstance(value, np.ndarray) else f"{value}".encode())
