"""Verdict: the answer to one query, with its evidence."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.network import IntArray
from bvverify.search import Obstacle, Outcome


@dataclass(frozen=True, eq=False)
class Witness:
    """A real input that violates the property."""

    real: npt.NDArray[np.float32]
    """The input as the model takes it, float32 of the model's input shape."""
    levels: IntArray
    """The bytes that the engine quantizes it to."""
    outputs: IntArray
    """The output bytes that the target computes for it."""
    replayed: bool
    """Whether the real kernel computed the same bytes and violated the property."""
    replay: str
    """`replayed`, or why no replay could be made."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """What bvverify says about one query."""

    outcome: Outcome
    target: str
    stage: str
    """`misclassified`, or the stage of the search."""
    solver: str
    """The solver that is trusted for this answer, with its version; empty where none was needed."""
    seconds: float
    reason: str
    """For UNKNOWN: what was missing.  For a misclassified input: what it is classified as."""
    label: int
    prediction: int
    """Class that torch.argmax gives for the unperturbed input."""
    witness: Witness | None
    obstacle: Obstacle | None = None
    """For UNKNOWN: the kind of `reason`."""
    gap: int | None = None
    """For UNKNOWN: by how many output levels the bounds miss a proof."""
    missing: float | None = None
    """For UNKNOWN: by how many output levels branch and bound misses one, before the last rounding."""
    nodes: int | None = None
    """For UNKNOWN: the sub-problems that branch and bound looked at."""
    closest: float | None = None
    """For UNKNOWN: the least lead of the label that an attack met, in output levels before the last rounding."""

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as plain values, without the arrays of the witness."""
        return {
            "verdict": str(self.outcome),
            "target": self.target,
            "stage": self.stage,
            "solver": self.solver,
            "seconds": round(self.seconds, 6),
            "reason": self.reason,
            "gap": self.gap,
            "missing": self.missing,
            "nodes": self.nodes,
            "closest": self.closest,
            "label": self.label,
            "prediction": self.prediction,
            "replay": self.witness.replay if self.witness else None,
        }
