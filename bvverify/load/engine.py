"""The engine under which packed parameters are read."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bvverify.errors import TargetUnavailable

_PREFERRED = ("qnnpack", "onednn", "fbgemm")
"""FBGEMM comes last: it rounds weight scales to float32 when it packs them, and other engines use every bit."""


@contextmanager
def packing_engine() -> Iterator[None]:
    """Unpack weights under an engine that keeps them as the file holds them; the process's own engine is restored
    afterwards.

    Reading a model packs its parameters for whichever engine is set.  What the file says does not depend on it, so
    any will do.
    """
    before = torch.backends.quantized.engine
    supported = torch.backends.quantized.supported_engines
    engine = next((name for name in _PREFERRED if name in supported), None)
    if engine is None:
        raise TargetUnavailable("this build of PyTorch has no quantized engine; install the CPU build of torch 2.13.0")
    torch.backends.quantized.engine = engine
    try:
        yield
    finally:
        torch.backends.quantized.engine = before
