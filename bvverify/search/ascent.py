"""Ascent: inputs with large or small outputs, by the gradients of a surrogate; it attains values and proves nothing."""

import time

import numpy as np
import numpy.typing as npt

from bvverify.network import IntArray, StepNetwork
from bvverify.queries import LevelBox
from bvverify.search.surrogate import Surrogate

_STARTS, _STEPS = 8, 24


def highest(
    network: StepNetwork, box: LevelBox, directions: npt.NDArray[np.int64], *, deadline: float, seed: int = 0
) -> IntArray:
    """Return, for each row of `directions` (D, outputs), an input of `box` for which directions @ outputs is large,
    int64 (D, *shape).

    Rows of `directions` hold small integers, such as one 1 or -1.  The search stops at `deadline` (of time.monotonic),
    or when its budget is spent; without that, equal seeds give equal answers.
    """
    random = np.random.default_rng(seed)
    surrogate = Surrogate(network)
    lower, upper = box.lower.astype(np.float32), box.upper.astype(np.float32)
    rows = np.repeat(np.arange(len(directions)), _STARTS)
    noise = random.random((_STARTS, *box.lower.shape), dtype=np.float32)
    noise[0] = 0.5
    points = np.tile(lower + (upper - lower) * noise, (len(directions), *[1] * box.lower.ndim)).astype(np.float32)
    best = np.repeat(box.lower[None], len(directions), axis=0)
    score = (network.evaluate(box.lower[None]) * directions).sum(axis=1)
    for step in range(_STEPS):
        levels = box.allowed(np.rint(points).astype(np.int64))
        found = (network.evaluate(levels) * directions[rows]).sum(axis=1).reshape(len(directions), _STARTS)
        start = found.argmax(axis=1)
        better = np.flatnonzero((top := found.max(axis=1)) > score)
        score[better], best[better] = top[better], levels[better * _STARTS + start[better]]
        if time.monotonic() > deadline:
            break
        wanted = directions[rows].astype(np.float32)
        gradient = surrogate.input_gradient(surrogate.exact_values(levels), wanted, roughness=0.0)
        rate = np.float32(0.5 * 0.85**step)
        points = np.clip(points + rate * (upper - lower) * np.sign(gradient), lower, upper).astype(np.float32)
    return best
