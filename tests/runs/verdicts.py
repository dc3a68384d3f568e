"""Rows and verdicts made by hand."""

from typing import Any

import numpy as np

from bvverify.evidence import Verdict, Witness
from bvverify.runs.store import Item, SubjectRow
from bvverify.search import Obstacle, Outcome

SUBJECT = SubjectRow("subject", "m.pt", "0" * 64, "fbgemm/avx2", "torch 2.13.0", "network", None)


def item(position: int, **changes: Any) -> Item:
    """Return a query about an image of one value, whose key is its position."""
    values: dict[str, Any] = {
        "source": "x.npz",
        "position": position,
        "region": "pixels",
        "radius": "1",
        "clip": "",
        "tie": "lowest-index",
        "label": 3,
        "prediction": 3,
        "image": np.array([position % 256], dtype=np.uint8),
        "input_digest": f"input {position}",
        "query": f"query {position}",
    }
    return Item(**(values | changes))


def verdict(outcome: Outcome, **changes: Any) -> Verdict:
    """Return a verdict by intervals, or whatever `changes` say."""
    values: dict[str, Any] = {
        "outcome": outcome,
        "target": "fbgemm/avx2",
        "stage": "intervals",
        "solver": "",
        "seconds": 0.25,
        "reason": "",
        "label": 3,
        "prediction": 3,
        "witness": None,
    }
    if outcome is Outcome.UNKNOWN:
        values |= {"stage": "bitvector", "reason": "time: 1 s", "obstacle": Obstacle.TIME, "gap": 4}
    if outcome is Outcome.VIOLATED:
        real = np.array([0.5], dtype=np.float32)
        values["witness"] = Witness(real, np.array([7]), np.arange(10), True, "replayed")
    return Verdict(**(values | changes))
