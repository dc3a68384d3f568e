"""Real kernels in child processes: the only room that runs them."""

from bvverify.oracle.messages import Run
from bvverify.oracle.session import KernelSession

__all__ = ["KernelSession", "Run"]
