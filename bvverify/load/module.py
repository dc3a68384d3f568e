"""Modules in memory, and state_dicts with a module factory: both become TorchScript, which one reader understands."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import torch

from bvverify.errors import ModelFileError, UnsupportedLayer


def script_module(module: torch.nn.Module, *, name: str) -> bytes:
    """Return a converted module as TorchScript content; an eager module, an FX GraphModule and a ScriptModule are
    accepted.

    Scripting keeps the model's control flow, where tracing would fix one path through it.
    """
    if module.training:
        raise UnsupportedLayer(f"{name}: the module is in training mode; call .eval() and convert it first")
    buffer = io.BytesIO()
    try:
        torch.jit.save(torch.jit.script(module), buffer)
    except (RuntimeError, torch.jit.frontend.FrontendError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UnsupportedLayer(
            f"{name}: torch.jit.script cannot express this module ({reason}); simplify its forward"
        ) from error
    return buffer.getvalue()


def load_state_dict(path: Path, factory: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """Return factory() with the state_dict at `path` loaded into it; the file cannot run code (`weights_only=True`)."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise ModelFileError(f"{path}: no state_dict that torch can read with weights_only=True") from error
    module = factory().eval()
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise ModelFileError(f"{path}: the state_dict does not fit the factory's module: {reason[:200]}") from error
    return module
