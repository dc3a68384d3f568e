"""A model on real kernels: load once, run many times, in a process whose environment forces the instruction set."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from bvverify.child import Child, ChildDied, ChildTimeout
from bvverify.closing import Closing
from bvverify.errors import TargetUnavailable
from bvverify.oracle.messages import LoadModel, Run, RunModel, Runtime

_START_SECONDS = 120.0
_RUN_SECONDS = 600.0


class KernelSession(Closing):
    """Runs one TorchScript model under one engine; a context manager."""

    def __init__(self, script: bytes, *, engine: str, environment: Mapping[str, str], runtime: str) -> None:
        """Start a process with `environment` laid over this one's and load the model.

        `runtime` is the version of torch that is expected, for example `2.13.0`.  Raises `TargetUnavailable` if the
        process cannot load the model or runs another version.
        """
        self._load = LoadModel(script, engine)
        self._runtime = runtime
        self._child = Child("bvverify.oracle.worker", environment=environment)
        self._start()

    def run(self, inputs: npt.NDArray[np.float32], *, rows: int | None = None) -> Run:
        """Return what the kernels compute for float32 inputs (n, *shape), in batches of `rows`, all at once if None.

        Raises `TargetUnavailable` if they fail on them.
        """
        message = RunModel(np.ascontiguousarray(inputs), rows or max(1, len(inputs)))
        try:
            result: Run = self._child.request(message, seconds=_RUN_SECONDS)
        except (ChildDied, ChildTimeout, RuntimeError) as error:
            self._child.close()
            self._start()
            raise TargetUnavailable(
                f"the {self._load.engine} kernels failed on this input: {_first_line(error)}"
            ) from error
        return result

    def close(self) -> None:
        """End the process."""
        self._child.close()

    def _start(self) -> None:
        try:
            reply: Runtime = self._child.request(self._load, seconds=_START_SECONDS)
        except (ChildDied, ChildTimeout, RuntimeError) as error:
            self._child.close()
            raise TargetUnavailable(
                f"engine {self._load.engine} cannot load this model: {_first_line(error)}"
            ) from error
        version = reply.version.partition("+")[0]
        if version != self._runtime:
            self._child.close()
            raise TargetUnavailable(f"torch {version} is installed; the kernels of torch {self._runtime} are modelled")


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
