"""A tensor of the deployed model while it is lowered: where its bytes are in the StepNetwork, and what they mean."""

from dataclasses import dataclass

import numpy as np

from bvverify.model import QuantParams
from bvverify.network import IntArray, NetworkBuilder


@dataclass(frozen=True, eq=False)
class Tensor:
    """One image's bytes: element `layout[i]` of the flattened StepNetwork value `value` is logical element i.

    `params` is None before the input is quantized; `channels_last` says how the kernel's tensor lies in memory, and
    `depends_on_place` that its elements were rounded by their place there.
    """

    value: int
    layout: IntArray
    params: QuantParams | None = None
    channels_last: bool = False
    dequantized: bool = False
    depends_on_place: bool = False

    @property
    def format_is_certain(self) -> bool:
        """Whether the order in memory follows from `channels_last`: PyTorch guesses where a size is 1."""
        return self.layout.ndim != 3 or (self.layout.shape[0] > 1 and self.layout.shape[1:] != (1, 1))

    @property
    def in_memory_order(self) -> IntArray:
        """The elements of `layout`, int64 [n], as they lie in memory."""
        ordered = self.layout.transpose(1, 2, 0) if self.channels_last and self.layout.ndim == 3 else self.layout
        return ordered.reshape(-1)

    def bounds(self, builder: NetworkBuilder) -> tuple[int, int]:
        """Return the least and the greatest byte that any element can have."""
        builder.resume(self.value, self.layout)
        lower, upper = builder.bounds
        return int(np.min(lower)), int(np.max(upper))
