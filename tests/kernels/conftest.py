from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from bvverify.kernels.target import TARGETS, Target
from bvverify.model import QuantizedModel
from harness.pool import KernelPool


class Kernels:
    """Real kernels, one model at a time."""

    def __init__(self) -> None:
        self._pool = KernelPool()

    def run(
        self, target: Target, model: QuantizedModel, inputs: npt.NDArray[np.float32]
    ) -> dict[str, npt.NDArray[np.uint8]]:
        """Return the bytes of each layer; RuntimeError with what the kernels say against the model."""
        (result,) = self._pool.run(target, [(model, inputs)])
        if isinstance(result, str):
            raise RuntimeError(result)
        return result

    def close(self) -> None:
        self._pool.close()


@pytest.fixture(scope="session")
def kernels() -> Iterator[Kernels]:
    processes = Kernels()
    yield processes
    processes.close()


@pytest.fixture(params=TARGETS, ids=str)
def target(request: pytest.FixtureRequest) -> Target:
    """Give each target whose kernels this machine can force."""
    if (reason := request.param.unavailable()) is not None:
        pytest.skip(reason)
    return request.param
