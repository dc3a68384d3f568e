"""The name of a network: a digest that equal networks share."""

import dataclasses
import hashlib
from typing import Any

import numpy as np

from bvverify.network.step_network import StepNetwork


def network_digest(network: StepNetwork) -> str:
    """Return the SHA-256, hexadecimal, of everything that the network computes with: domain, operations, wiring."""
    state = hashlib.sha256()
    _add(state, network)
    return state.hexdigest()


def _add(state: Any, part: Any) -> None:
    """Feed one part, with its type and extent in front, so that no two different parts feed the same bytes."""
    if isinstance(part, np.ndarray):
        state.update(f"array {part.dtype.str} {part.shape};".encode())
        state.update(np.ascontiguousarray(part).data)
    elif dataclasses.is_dataclass(part):
        given = [field.name for field in dataclasses.fields(part) if field.init]
        state.update(f"{type(part).__name__} {given};".encode())
        for name in given:
            _add(state, getattr(part, name))
    elif isinstance(part, tuple):
        state.update(f"tuple {len(part)};".encode())
        for element in part:
            _add(state, element)
    else:
        state.update(f"{type(part).__name__} {part!r};".encode())
