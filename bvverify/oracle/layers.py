"""Layers, given as records, on real kernels: batches of cases, in a process whose environment forces the target."""

from collections.abc import Mapping, Sequence

from bvverify.child import Child, ChildDied, ChildTimeout
from bvverify.closing import Closing
from bvverify.errors import TargetUnavailable
from bvverify.oracle.messages import Case, LayerBytes, RunLayers, Runtime, RuntimeVersion


class LayerKernels(Closing):
    """Runs cases under one engine in a child process that starts with the first case; a context manager.

    A case that crashes or hangs the kernels costs that case alone.
    """

    def __init__(
        self, *, engine: str, environment: Mapping[str, str], runtime: str, seconds_per_case: float = 60.0
    ) -> None:
        """Prepare a process with `environment` laid over this one's.

        `runtime` is the version of torch that is expected; `seconds_per_case` limits the time of a single case.
        """
        self._engine = engine
        self._runtime = runtime
        self._seconds = seconds_per_case
        self._child = Child("bvverify.oracle.layers_worker", environment=environment)
        self._checked = False

    def run(self, cases: Sequence[Case]) -> list[LayerBytes | str]:
        """Return, for each case, the bytes of its layers, or why the kernels gave none: an error, a crash, a hang.

        Raises `TargetUnavailable` if the process runs another version of torch.
        """
        self._check_runtime()
        try:
            results: list[LayerBytes | str] = self._child.request(
                RunLayers(self._engine, cases), seconds=self._seconds * max(1, len(cases))
            )
        except (ChildDied, ChildTimeout) as error:
            self._child.close()
            if len(cases) == 1:
                return [f"the kernels crashed or hung: {error}"]
            middle = len(cases) // 2
            return self.run(cases[:middle]) + self.run(cases[middle:])
        return results

    def close(self) -> None:
        """End the process."""
        self._child.close()

    def _check_runtime(self) -> None:
        if self._checked:
            return
        reply: Runtime = self._child.request(RuntimeVersion(), seconds=120)
        version = reply.version.partition("+")[0]
        if version != self._runtime:
            self._child.close()
            raise TargetUnavailable(f"torch {version} is installed; the kernels of torch {self._runtime} are modelled")
        self._checked = True
