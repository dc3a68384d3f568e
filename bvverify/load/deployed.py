"""DeployedModel: what was loaded, and the very file content that the kernels can run."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from bvverify.model import QuantizedModel


@dataclass(frozen=True)
class DeployedModel:
    """A model as its file describes it, together with that file as TorchScript, for replay on real kernels."""

    name: str
    model: QuantizedModel
    script: bytes

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the TorchScript content, hexadecimal."""
        return hashlib.sha256(self.script).hexdigest()
