"""Real kernels of every target, one process each, started when first asked for."""

from collections.abc import Sequence

from bvverify.closing import Closing
from bvverify.kernels.target import Target
from bvverify.oracle import Case, LayerBytes, LayerKernels


class KernelPool(Closing):
    """Runs batches of layer cases on targets that this machine can force; a context manager."""

    def __init__(self, *, seconds_per_case: float = 60.0) -> None:
        """Prepare an empty pool; `seconds_per_case` limits the time of a single case."""
        self._seconds = seconds_per_case
        self._kernels: dict[Target, LayerKernels] = {}

    def run(self, target: Target, cases: Sequence[Case]) -> list[LayerBytes | str]:
        """Return, for each case, the bytes of its layers, or why the kernels gave none."""
        if target not in self._kernels:
            self._kernels[target] = LayerKernels(
                engine=target.engine.value,
                environment=target.environment(),
                runtime=target.runtime.removeprefix("torch "),
                seconds_per_case=self._seconds,
            )
        return self._kernels[target].run(cases)

    def close(self) -> None:
        """End all processes."""
        for kernels in self._kernels.values():
            kernels.close()
        self._kernels.clear()
