"""RunConfig: a plan and how it is run, as a TOML file and the options of the command line give them."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bvverify.errors import UsageError
from bvverify.runs.plan import Plan


@dataclass(frozen=True)
class RunConfig:
    """What a run asks, where it keeps the answers, and who works on them."""

    plan: Plan
    store: Path = Path("results.db")
    workers: int = 2
    """Child processes of this machine; unused with a cluster."""
    cluster: str | Mapping[str, Any] | None = None
    """Settings of `bvverify.runs.cluster.Cluster`."""


def read_config(path: Path | None, options: Mapping[str, Any]) -> RunConfig:
    """Return what the TOML file says, with `options` in place of its entries of the same name.

    The keys are those of `Plan.of`, and `store`, `workers`, `cluster`.  Paths in the file are relative to the file.
    Raises `UsageError`, which names the file.
    """
    entries = {} if path is None else {key: _rebased(key, value, path) for key, value in _read_toml(path).items()}
    entries |= options
    running: dict[str, Any] = {key: entries.pop(key) for key in ("store", "workers", "cluster") if key in entries}
    try:
        return RunConfig(Plan.of(**entries), **_checked(running))
    except UsageError as error:
        raise error if path is None else UsageError(f"{path}: {error}") from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from error


def _rebased(key: str, value: Any, path: Path) -> Any:
    """Return an entry with its paths relative to the file's folder."""
    if key == "models" and isinstance(value, list):
        return [_rebased(key, one, path) for one in value]
    if key == "models" and isinstance(value, dict):
        return {name: _rebased(name, one, path) for name, one in value.items()}
    return path.parent / value if key in ("models", "path", "inputs", "store") and isinstance(value, str) else value


def _checked(running: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(running.get("store", Path()), Path):
        raise UsageError(f"'store' must be a path, not {running['store']!r}")
    workers = running.get("workers", 1)
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise UsageError(f"'workers' must be a positive whole number, not {workers!r}")
    if not isinstance(running.get("cluster", ""), str | dict):
        raise UsageError("'cluster' must be an address, or a table with 'system' and 'jobs'")
    return running
