"""Functions that build the module of a state_dict, as texts name them."""

import importlib
from collections.abc import Callable
from typing import Any

from bvverify.errors import UsageError


def read_factory(text: str | None) -> Callable[[], Any] | None:
    """Return the function that MODULE:FUNCTION names, or None without a text."""
    if text is None:
        return None
    module, _, name = text.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"factory '{text}': expected MODULE:FUNCTION that can be imported ({error})") from error
    if not callable(function):
        raise UsageError(f"factory '{text}': {name} is not a function")
    return function  # type: ignore[no-any-return]  # its result is checked when a state_dict is loaded into it
