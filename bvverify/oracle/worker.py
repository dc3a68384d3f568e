"""The child process that runs real kernels.  Its environment is set before torch is imported; it holds one model at
a time.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bvverify.child import serve
from bvverify.oracle.messages import LoadModel, Run, RunModel, Runtime
from bvverify.torchscript.interpreter import Site, call, interpret


class _Worker:
    _module: torch.jit.ScriptModule

    def handle(self, message: LoadModel | RunModel) -> Runtime | Run:
        match message:
            case LoadModel():
                torch.backends.quantized.engine = message.engine
                self._module = torch.jit.load(io.BytesIO(message.script), map_location="cpu").eval()
                return Runtime(torch.__version__)
            case RunModel():
                starts = range(0, max(1, len(message.inputs)), message.rows)
                with torch.inference_mode():
                    parts = [message.inputs[start : start + message.rows] for start in starts]
                    return _joined([_run(self._module, torch.from_numpy(part)) for part in parts])


def _run(module: torch.jit.ScriptModule, inputs: torch.Tensor) -> Run:
    """Run the model twice: as a whole, which is what users get, and operation by operation, which shows every
    layer's bytes.
    """
    output = _plain(module(inputs))
    layers: dict[str, npt.NDArray[np.uint8]] = {}

    def record(site: Site, arguments: Sequence[Any]) -> Any:
        result = call(site, arguments)
        if isinstance(result, torch.Tensor) and result.is_quantized:
            layers[site.label] = _plain(result)
        return result

    again = _plain(interpret(module, [inputs], record))
    if not np.array_equal(again, output):
        raise RuntimeError("the model run as a whole and operation by operation gave different results")
    return Run(output, layers)


def _joined(runs: Sequence[Run]) -> Run:
    layers = {name: np.concatenate([run.layers[name] for run in runs]) for name in runs[0].layers}
    return Run(np.concatenate([run.output for run in runs]), layers)


def _plain(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """Return the logical elements of a tensor in row-major order; bytes for a quantized one."""
    bits = tensor.int_repr() if tensor.is_quantized else tensor
    return np.array(bits.contiguous().numpy())


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve(_Worker().handle)
