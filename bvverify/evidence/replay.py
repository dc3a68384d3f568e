"""Replay: our bytes against the real kernel's, with tolerance zero."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.closing import Closing
from bvverify.errors import InternalError
from bvverify.kernels.availability import unavailable
from bvverify.kernels.lower import LoweredModel
from bvverify.kernels.target import Target
from bvverify.load.deployed import DeployedModel
from bvverify.oracle import KernelSession, Run
from bvverify.queries import Robustness


def kernel_session(deployed: DeployedModel, target: Target) -> KernelSession:
    """Return the real kernels of `target`, loaded with the model."""
    version = target.runtime.removeprefix("torch ")
    return KernelSession(deployed.script, engine=target.engine, environment=target.environment(), runtime=version)


class Replayer(Closing):
    """Runs inputs of one model on the real kernel of one target and demands the predicted bytes; a context manager.

    `refusal` says why this machine cannot do so, or is None.  A difference is an `InternalError`, and a reproducer
    is written.
    """

    def __init__(self, deployed: DeployedModel, lowered: LoweredModel, *, reproducers: Path) -> None:
        """Prepare a replay; the kernel process starts with the first input.  `reproducers` is the folder for
        reproducers.
        """
        self.refusal = unavailable(deployed.model, lowered.target)
        self._deployed, self._lowered = deployed, lowered
        self._reproducers = reproducers
        self._session: KernelSession | None = None

    def confirm(self, inputs: npt.NDArray[np.float32]) -> Run:
        """Run real inputs (n, *input_shape) and return the kernel's results.

        Every layer's bytes, and the order of the model's outputs, must be what the lowered network says.
        """
        run = self._kernel().run(inputs, rows=self._lowered.rows)
        predicted = self._lowered.layer_bytes(self._lowered.quantizer.levels(inputs))
        for name, expected in predicted.items():
            if not np.array_equal(run.layers[name], expected):
                raise self._contradiction(
                    inputs, run, f"layer {name}: the kernel's bytes differ from the predicted ones"
                )
        outputs = self._lowered.network.evaluate(self._lowered.quantizer.levels(inputs))
        if not _same_order(run.output.reshape(len(inputs), -1), outputs):
            raise self._contradiction(inputs, run, "the order of the model's outputs is not that of its bytes")
        return run

    def confirm_violation(self, real: npt.NDArray[np.float32], question: Robustness) -> None:
        """Run one real input and demand that the kernel's own output violates `question`."""
        run = self.confirm(real[None])
        if not question.violated_by(_ranks(run.output.reshape(1, -1)))[0]:
            raise self._contradiction(
                real[None], run, "the solver's witness does not violate the property on the kernel"
            )

    def close(self) -> None:
        """End the kernel process."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _kernel(self) -> KernelSession:
        if self._session is None:
            self._session = kernel_session(self._deployed, self._lowered.target)
        return self._session

    def _contradiction(self, inputs: npt.NDArray[np.float32], run: Run, what: str) -> InternalError:
        """Write a reproducer and return the error that names it."""
        self._reproducers.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="bvverify-reproducer-", dir=self._reproducers))
        predicted = self._lowered.layer_bytes(self._lowered.quantizer.levels(inputs))
        (folder / "model.pt").write_bytes(self._deployed.script)
        arrays: dict[str, npt.NDArray[Any]] = {"inputs": inputs, "output": run.output}
        arrays |= {f"kernel {name}": value for name, value in run.layers.items()}
        arrays |= {f"predicted {name}": value for name, value in predicted.items()}
        np.savez(folder / "bytes.npz", allow_pickle=False, **arrays)
        facts = {"what": what, "target": str(self._lowered.target), "runtime": self._lowered.target.runtime}
        (folder / "facts.json").write_text(json.dumps(facts, indent=2) + "\n")
        return InternalError(f"{self._deployed.name} on {self._lowered.target}: {what}; reproducer in {folder}")


def _ranks(outputs: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """Return each row's values as dense ranks, so that comparing ranks is comparing values."""
    return np.stack([np.unique(row, return_inverse=True)[1].reshape(-1) for row in outputs]).astype(np.int64)


def _same_order(real: npt.NDArray[np.generic], levels: npt.NDArray[np.int64]) -> bool:
    return bool(np.array_equal(_ranks(real), _ranks(levels)))
