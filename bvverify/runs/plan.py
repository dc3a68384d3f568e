"""Plan: which queries a run asks."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from bvverify.errors import UsageError
from bvverify.queries import Patch, RegionKind, TieRule, read_clip, read_patch, read_radius
from bvverify.runs.job import Limits
from bvverify.search import ALL_STAGES, Stage, read_stages
from bvverify.solvers import DEFAULT_SOLVER

_Kind = TypeVar("_Kind", bound=Enum)


@dataclass(frozen=True)
class ModelSource:
    """A model file; `factory`, MODULE:FUNCTION, builds the module if it is a state_dict."""

    path: Path
    factory: str | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every model on every target, around every input, with every radius, for every property."""

    models: tuple[ModelSource, ...]
    inputs: Path
    """npz file; see `bvverify.load.inputs.read_images`."""
    indices: str = ""
    """Which inputs, such as 0-9,12; all without a text."""
    radii: tuple[Fraction, ...] = (Fraction(1),)
    region: RegionKind = RegionKind.PIXELS
    clip: tuple[Fraction, Fraction] | None = (Fraction(0), Fraction(1))
    """For regions of floats: lowest and highest allowed input."""
    patch: Patch | None = None
    """The only elements of an image that may change; all without one."""
    targets: tuple[str, ...] = ("auto",)
    ties: tuple[TieRule, ...] = (TieRule.LOWEST_INDEX,)
    """The property: the class is kept, under this reading of equal outputs."""
    solver: str = DEFAULT_SOLVER
    stages: tuple[Stage, ...] = ALL_STAGES
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def of(cls, **entries: Any) -> "Plan":
        """Return the plan that plain values describe, as in a TOML file or on the command line.

        Keys: `models` (a path, or a list of paths and of mappings with `path` and `factory`), `inputs`, `indices`,
        `radius`, `region`, `clip`, `patch`, `target`, `tie`, `solver`, `stages`, `timeout` and `cpu_timeout`
        (seconds), `memory` (GiB).  Where several values make sense, a list or a text with commas gives them.  Raises
        `UsageError` for unknown keys and for values that mean nothing.
        """
        return cls(**dict(_fields(entries)))


def _fields(entries: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    region = RegionKind.PIXELS
    if "region" in entries:
        region = _member(RegionKind, entries["region"], "region")
    readers: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "models": ("models", lambda value: tuple(_model(one) for one in _listed(value, "models"))),
        "inputs": ("inputs", lambda value: Path(_text(value, "inputs"))),
        "indices": ("indices", lambda value: ",".join(_several(value, "indices"))),
        "radius": ("radii", lambda value: tuple(read_radius(one, region) for one in _several(value, "radius"))),
        "region": ("region", lambda _: region),
        "clip": ("clip", lambda value: read_clip(",".join(_several(value, "clip")))),
        "patch": ("patch", lambda value: read_patch(",".join(_several(value, "patch")))),
        "target": ("targets", lambda value: tuple(_several(value, "target"))),
        "tie": ("ties", lambda value: tuple(_member(TieRule, one, "tie") for one in _several(value, "tie"))),
        "solver": ("solver", lambda value: _text(value, "solver")),
        "stages": ("stages", lambda value: read_stages(",".join(_several(value, "stages")))),
    }
    if unknown := sorted(entries.keys() - readers.keys() - set(_LIMITS)):
        raise UsageError(f"unknown key '{unknown[0]}'; known: {', '.join([*readers, *_LIMITS])}")
    if missing := [key for key in ("models", "inputs") if key not in entries]:
        raise UsageError(f"'{missing[0]}' is missing")
    for key, value in entries.items():
        if key in readers:
            name, read = readers[key]
            yield name, read(value)
    given = {key: _number(entries[key], key) for key in _LIMITS if key in entries}
    own = Limits()
    memory = given["memory"] * 2**30 if "memory" in given else own.memory_bytes
    yield "limits", Limits(given.get("timeout", own.seconds), given.get("cpu_timeout"), int(memory))


_LIMITS = ("timeout", "cpu_timeout", "memory")


def _several(value: Any, key: str) -> list[str]:
    """Return the entries of a list, or of a text with commas, as texts."""
    return [part.strip() for one in _listed(value, key) for part in str(one).split(",")]


def _listed(value: Any, key: str) -> list[Any]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    if not values:
        raise UsageError(f"'{key}' is empty")
    return values


def _model(value: Any) -> ModelSource:
    if not isinstance(value, Mapping):
        return ModelSource(Path(_text(value, "models")))
    if "path" not in value or value.keys() - {"path", "factory"}:
        raise UsageError("models: a mapping holds 'path' and, for a state_dict, 'factory'")
    factory = value.get("factory")
    return ModelSource(Path(_text(value["path"], "path")), None if factory is None else _text(factory, "factory"))


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str | Path):
        raise UsageError(f"'{key}' must be a text, not {value!r}")
    return str(value)


def _number(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise UsageError(f"'{key}' must be a positive number, not {value!r}")
    return float(value)


def _member(kind: type[_Kind], value: Any, key: str) -> _Kind:
    try:
        return kind(value)
    except ValueError:
        raise UsageError(f"{key} '{value}': expected {' or '.join(str(one.value) for one in kind)}") from None
