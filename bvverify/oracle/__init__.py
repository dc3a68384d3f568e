"""Real kernels in child processes: the only room that runs them."""

from bvverify.oracle.layers import LayerKernels
from bvverify.oracle.messages import Case, LayerBytes, Run
from bvverify.oracle.session import KernelSession

__all__ = ["Case", "KernelSession", "LayerBytes", "LayerKernels", "Run"]
