from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from bvverify.child import Child
from bvverify.kernels.target import TARGETS, Target
from bvverify.model import QuantizedModel


class Kernels:
    """Real kernels, one process per target, started when first asked for."""

    def __init__(self) -> None:
        self._children: dict[Target, Child] = {}

    def run(
        self, target: Target, model: QuantizedModel, inputs: npt.NDArray[np.float32]
    ) -> dict[str, npt.NDArray[np.uint8]]:
        """Return the bytes of each layer, or raise what the kernels raise."""
        if target not in self._children:
            self._children[target] = Child("tests.kernels.direct", environment=target.environment())
        outputs: dict[str, npt.NDArray[np.uint8]] = self._children[target].request(
            (model, target.engine.value, inputs), seconds=60
        )
        return outputs

    def close(self) -> None:
        for child in self._children.values():
            child.close()


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
