"""One quantized model with inputs and the bytes that targets compute for them, as a readable JSON file.

    {
      "name": "fbgemm-125-vpmaddubsw",
      "cause": "without VNNI, two adjacent products are added in 16 bits",
      "upstream": ["FBGEMM#125"],
      "input_shape": [2],
      "layers": [{"kind": "Quantize", "name": "quantize", "output": {"scale": "0x1p+0", "zero_point": 0}}, ...],
      "inputs": {"bytes": [[255, 255]]},
      "expected": [
        {"targets": ["fbgemm/avx512_vnni"], "bytes": [[127]]},
        {"targets": ["onednn/avx512_vnni"], "refused": "rejects weights", "observed": "what the kernel says"}
      ]
    }

Real inputs are `{"float32": [["0x1.8p+0", ...]]}`.  `sources` stands beside `layers` where these are not a chain.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.errors import InputError, UsageError
from bvverify.kernels.target import TARGETS, Target
from bvverify.model import BatchNorm2d, Conv2d, Linear, QuantizedModel
from bvverify.model.quantized import Layer, Shape
from bvverify.network import IntArray
from harness.records import Json, checked_object, from_json, kinded, pretty, to_json

_TARGETS = {str(target): target for target in TARGETS}


@dataclass(frozen=True, eq=False)
class Expectation:
    """What some targets make of a case: bytes, or a refusal by lowering."""

    targets: tuple[Target, ...]
    bytes: IntArray | None
    """The model's result, int64 (n, *shape); None for targets that lowering must refuse."""
    refused: str | None = None
    """A part of the refusal; None for targets that are modelled."""
    observed: IntArray | str | None = None
    """For documentation of a refused target: the bytes that its kernel computed, or what it said."""


@dataclass(frozen=True, eq=False)
class CaseFile:
    """A model, inputs, and what targets make of them."""

    name: str
    cause: str
    """One line: what goes wrong where this case is not minded."""
    upstream: tuple[str, ...]
    """Where it was reported, for example `pytorch#44939`; `ours` for what we found."""
    model: QuantizedModel
    inputs: npt.NDArray[Any]
    """(n, *input_shape): uint8 or int8, taken as the first Quantize layer's result, or float32."""
    expected: tuple[Expectation, ...]

    def expectation(self, target: Target) -> Expectation | None:
        """Return what is expected of `target`, or None if the case does not concern it."""
        return next((entry for entry in self.expected if target in entry.targets), None)


def read_case(path: Path) -> CaseFile:
    """Return the case in the file `path`.

    Raises `InputError`, one line with the file and the key, if the file cannot be read or is no case.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON: {' '.join(str(error).split())}") from error
    return case_of(value, str(path))


def write_case(path: Path, case: CaseFile) -> None:
    """Write `case` to the file `path`; its folder must exist."""
    path.write_text(pretty(json_of(case)), encoding="utf-8")


def json_of(case: CaseFile) -> Json:
    """Return a case as a JSON object, keys in the order in which they are read."""
    chain = QuantizedModel(case.model.input_shape, case.model.layers).sources
    return {
        "name": case.name,
        "cause": case.cause,
        "upstream": list(case.upstream),
        "input_shape": to_json(case.model.input_shape),
        "layers": [kinded(layer) for layer in case.model.layers],
        **({} if case.model.sources == chain else {"sources": to_json(case.model.sources)}),
        "inputs": {_INPUT_KEYS[case.inputs.dtype]: to_json(case.inputs)},
        "expected": [_expectation_json(entry) for entry in case.expected],
    }


def case_of(value: Json, where: str) -> CaseFile:
    """Return the case that a JSON object stands for; `where` begins every `InputError`."""
    required = {"name", "cause", "upstream", "input_shape", "layers", "inputs", "expected"}
    given = checked_object(value, where, required=required, optional={"sources"})
    model = _model(given, where)
    inputs = _inputs(given["inputs"], model.input_shape, f"{where}: inputs")
    entries = given["expected"]
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{where}: expected: expected a list with at least one entry")
    expected = tuple(
        _expectation(entry, len(inputs), f"{where}: expected[{index}]") for index, entry in enumerate(entries)
    )
    named = Counter(target for entry in expected for target in entry.targets)
    for target, count in named.items():
        if count > 1:
            raise InputError(f"{where}: expected: {target} occurs {count} times; a target has one entry")
    return CaseFile(
        name=_line(given["name"], f"{where}: name"),
        cause=_line(given["cause"], f"{where}: cause"),
        upstream=from_json(tuple[str, ...], given["upstream"], f"{where}: upstream"),
        model=model,
        inputs=inputs,
        expected=expected,
    )


_INPUT_KEYS = {np.dtype(np.uint8): "bytes", np.dtype(np.int8): "signed_bytes", np.dtype(np.float32): "float32"}
_INPUT_TYPES = {
    "bytes": npt.NDArray[np.uint8],
    "signed_bytes": npt.NDArray[np.int8],
    "float32": npt.NDArray[np.float32],
}


def _model(given: dict[str, Json], where: str) -> QuantizedModel:
    shape = from_json(Shape, given["input_shape"], f"{where}: input_shape")
    layers = from_json(tuple[Layer, ...], given["layers"], f"{where}: layers")
    for index, layer in enumerate(layers):
        _check_shapes(layer, f"{where}: layers[{index}]")
    names = Counter(layer.name for layer in layers)
    for name, count in names.items():
        if count > 1:
            raise InputError(f"{where}: layers: {count} layers are named '{name}'")
    sources = from_json(tuple[tuple[int, ...], ...], given.get("sources", []), f"{where}: sources")
    if sources and len(sources) != len(layers):
        raise InputError(f"{where}: sources: expected one entry for each of {len(layers)} layers, got {len(sources)}")
    try:
        return QuantizedModel(shape, layers, sources)
    except UsageError as error:
        raise InputError(f"{where}: sources: {error}") from error


def _inputs(value: Json, shape: Shape, where: str) -> npt.NDArray[Any]:
    given = checked_object(value, where, required=set(), optional=set(_INPUT_TYPES))
    if len(given) != 1:
        raise InputError(f"{where}: expected one of the keys {', '.join(_INPUT_TYPES)}")
    ((key, numbers),) = given.items()
    inputs: npt.NDArray[Any] = from_json(_INPUT_TYPES[key], numbers, f"{where}.{key}")
    if inputs.shape[1:] != shape:
        raise InputError(f"{where}.{key}: expected inputs of shape {shape}, got {inputs.shape[1:]}")
    return inputs


def _check_shapes(layer: Layer, where: str) -> None:
    """Refuse arrays that do not fit each other."""
    expected: dict[str, tuple[npt.NDArray[Any] | None, Shape]] = {}
    if isinstance(layer, Linear | Conv2d):
        weight, axes = layer.weight, 2 if isinstance(layer, Linear) else 4
        if weight.values.ndim != axes:
            raise InputError(f"{where}.weight.values: expected {axes} axes, got {weight.values.ndim}")
        channels = len(weight.values)
        parameters = (channels if weight.per_channel else 1,)
        expected["weight.scales"] = weight.scales, parameters
        expected["weight.zero_points"] = weight.zero_points, parameters
        expected["bias"] = layer.bias, (channels,)
    elif isinstance(layer, BatchNorm2d):
        expected = {key: (getattr(layer, key), (layer.mean.size,)) for key in ("weight", "bias", "mean", "variance")}
    for key, (array, shape) in expected.items():
        if array is not None and array.shape != shape:
            raise InputError(f"{where}.{key}: expected an array of shape {shape}, got {array.shape}")


def _expectation(value: Json, count: int, where: str) -> Expectation:
    given = checked_object(value, where, required={"targets"}, optional={"bytes", "refused", "observed"})
    names = from_json(tuple[str, ...], given["targets"], f"{where}.targets")
    for name in names:
        if name not in _TARGETS:
            raise InputError(f"{where}.targets: unknown target '{name}'; known: {', '.join(_TARGETS)}")
    if not names or ("bytes" in given) == ("refused" in given) or ("observed" in given and "refused" not in given):
        raise InputError(f"{where}: expected targets with either bytes or refused, and observed only beside refused")
    observed = given.get("observed")
    return Expectation(
        targets=tuple(_TARGETS[name] for name in names),
        bytes=_bytes(given["bytes"], count, f"{where}.bytes") if "bytes" in given else None,
        refused=_line(given["refused"], f"{where}.refused") if "refused" in given else None,
        observed=_bytes(observed, count, f"{where}.observed") if isinstance(observed, list) else _said(observed, where),
    )


def _said(value: Json, where: str) -> str | None:
    return None if value is None else _line(value, f"{where}.observed")


def _bytes(value: Json, count: int, where: str) -> IntArray:
    result: IntArray = from_json(npt.NDArray[np.int64], value, where)
    if result.ndim < 2 or len(result) != count:
        raise InputError(f"{where}: expected the bytes of {count} inputs, got an array of shape {result.shape}")
    if result.min() < -128 or result.max() > 255:
        raise InputError(f"{where}: expected bytes, got numbers from {result.min()} to {result.max()}")
    return result


def _line(value: Json, where: str) -> str:
    text: str = from_json(str, value, where)
    if not text or "\n" in text:
        raise InputError(f"{where}: expected one line of text")
    return text


def _expectation_json(entry: Expectation) -> Json:
    record: dict[str, Json] = {"targets": [str(target) for target in entry.targets]}
    for key in ("bytes", "refused", "observed"):
        if (value := getattr(entry, key)) is not None:
            record[key] = to_json(value)
    return record
