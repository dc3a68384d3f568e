"""Stage `attack`: a search for violations by gradients and by integer steps; it proves nothing.

Many starts are improved at once.  First projected sign gradients with straight-through rounding (EQV: Huang et al.,
AAAI 2024), then Adam on surrogates that bend from the real function to the staircase, then integer steps along the
exact network's straight-through gradient.  Every candidate is rounded to a network input of the box and evaluated
exactly; only such an input is returned.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.network import IntArray, Step, StepNetwork
from bvverify.queries import LevelBox, Robustness
from bvverify.search.surrogate import Reals, Surrogate, boundary_distances

_SHARPNESS = 0.1
"""Output levels within which the distances of a rival and of a loser from their boundaries count alike."""


@dataclass(frozen=True)
class AttackBudget:
    """How much work an attack may do; equal budgets and seeds give equal answers."""

    starts: int = 32
    """Candidates that are improved side by side."""
    sign_steps: int = 12
    smooth_steps: int = 80
    integer_steps: int = 40
    seed: int = 0
    rivals: tuple[int, ...] | None = None
    """The classes that are helped to overtake; None: those that are closest at the middle of the box."""
    spread: float = 0.2
    """How far starts are from given points at most, relative to the width of the box."""


@dataclass(frozen=True, eq=False)
class Near:
    """A point of the box, of its shape, that may be near a violation by one rival."""

    point: Reals
    rival: int


@dataclass(frozen=True, eq=False)
class Attacked:
    """What an attack found."""

    witness: IntArray | None
    """An input of the box that violates the property, or None."""
    closest: float
    """The least lead met, in output levels before the last rounding: how far the label (or, of one forbidden class,
    the class ahead of it) stays ahead; at most about 0.5 with a witness.
    """
    nearest: Near | None = None
    """The input that came nearest to a violation, and the class that nearly overtakes."""


def attack(
    network: StepNetwork,
    box: LevelBox,
    question: Robustness,
    *,
    budget: AttackBudget,
    deadline: float,
    near: Sequence[Near] = (),
) -> Attacked:
    """Look for an input of `box` that violates `question`; stop at `deadline` (of time.monotonic) or at the budget.

    Starts are random, or spread around the points `near`.
    """
    return _Attack(network, box, question, budget, deadline, near).run()


class _Attack:
    def __init__(
        self,
        network: StepNetwork,
        box: LevelBox,
        question: Robustness,
        budget: AttackBudget,
        deadline: float,
        near: Sequence[Near],
    ) -> None:
        self._network, self._box, self._question = network, box, question
        self._budget, self._deadline, self._near = budget, deadline, near
        self._surrogate = Surrogate(network)
        self._random = np.random.default_rng(budget.seed)
        self._lower, self._upper = box.lower.astype(np.float32), box.upper.astype(np.float32)
        self._width = self._upper - self._lower
        self._closest, self._best = np.inf, -np.inf
        self._nearest: Near | None = None
        self._rivals: IntArray = np.zeros(budget.starts, dtype=np.int64)
        self._rounds = isinstance(network.nodes[-1].operation, Step) if network.nodes else False
        self._margins = np.zeros((question.classes, question.classes), dtype=np.float32)
        for winner, loser, margin in (overtaking for way in question.ways() for overtaking in way):
            self._margins[winner, loser] = margin
        self._witness: IntArray | None = None

    def run(self) -> Attacked:
        """Run the phases until one of them finds a witness."""
        if self._question.classes < 2:
            return Attacked(None, np.inf)
        points = self._starts_near() if self._near else self._starts()
        points = self._sign_phase(points)
        if not self._over():
            points = self._smooth_phase(points)
        if not self._over():
            self._integer_phase(points)
        return Attacked(self._witness, float(self._closest), self._nearest)

    def _over(self) -> bool:
        return self._witness is not None or time.monotonic() > self._deadline

    def _starts(self) -> Reals:
        """Return starting points (n, *shape), and choose per start which rival is to overtake the label.  Rivals that
        are closer at the middle get more of the starts.
        """
        count = self._budget.starts
        middle = (self._lower + self._upper) / np.float32(2)
        noise = self._random.random((count, *middle.shape), dtype=np.float32)
        points = self._lower + self._width * noise
        points[0] = middle
        outputs = self._surrogate.outputs(self._surrogate.values(middle[None], roughness=0.0))[0]
        allowed = self._budget.rivals
        rivals = [rival for rival, _ in self._question.rivals() if allowed is None or rival in allowed]
        rivals = sorted(rivals, key=lambda rival: -outputs[rival])[:5]
        share = [rivals[0], *rivals[:2], *rivals[:3], *rivals]
        self._rivals = np.array([share[start % len(share)] for start in range(count)])
        return points

    def _starts_near(self) -> Reals:
        """Return starting points (n, *shape) around those that are given, further from them one after another."""
        count = self._budget.starts
        which = np.arange(count) % len(self._near)
        self._rivals = np.array([near.rival for near in self._near])[which]
        points = np.stack([near.point for near in self._near])[which]
        distance = np.arange(count, dtype=np.float32).reshape(-1, *[1] * self._width.ndim) / np.float32(count)
        noise = 2 * self._random.random(points.shape, dtype=np.float32) - 1
        return self._inside(points + self._budget.spread * distance * noise * self._width)

    def _losers(self, outputs: Reals) -> IntArray:
        """Return per candidate whom its rival has to overtake: the label; in its place, if one class is forbidden,
        whichever class is ahead of the others.
        """
        if self._question.forbidden is None:
            return np.full(len(outputs), self._question.label)
        others = outputs.copy()
        others[np.arange(len(outputs)), self._rivals] = -np.inf
        return np.asarray(others.argmax(axis=1))

    def _wanted(self, values: list[Reals], *, ties: bool) -> Reals:
        """Return per candidate the direction in the outputs (n, outputs): its rival up, the loser down.

        With `ties`, the one that is further from the side of a rounding boundary where it has to be counts for more.
        """
        outputs = self._surrogate.outputs(values)
        rows, losers = np.arange(len(outputs)), self._losers(outputs)
        up, down = np.ones(len(outputs), dtype=np.float32), np.ones(len(outputs), dtype=np.float32)
        if ties:
            over, under = self._boundary_distances(outputs, losers)
            up = 2 / (1 + np.exp(np.clip((over - under) / _SHARPNESS, -50, 50)))
            down = 2 - up
        wanted = np.zeros_like(outputs)
        wanted[rows, self._rivals] = up
        wanted[rows, losers] = -down
        return wanted

    def _boundary_distances(self, outputs: Reals, losers: IntArray) -> tuple[Reals, Reals]:
        """Return by how much each rival is above, and each loser below, the boundaries of the level at which the rival
        would most nearly win; the property is violated where neither is negative.
        """
        rows = np.arange(len(outputs))
        margin = self._margins[self._rivals, losers]
        return boundary_distances(outputs[rows, self._rivals], outputs[rows, losers], margin)

    def _sign_phase(self, points: Reals) -> Reals:
        for step in range(self._budget.sign_steps):
            levels = self._rounded(points)
            values = self._surrogate.exact_values(levels)
            if self._judge(levels, values) or self._over():
                return points
            gradient = self._surrogate.input_gradient(values, self._wanted(values, ties=False), roughness=0.0)
            rate = np.float32(0.5 if step < 2 else 0.25 if step < 6 else 0.1)
            points = self._inside(points + rate * self._width * np.sign(gradient))
        return points

    def _smooth_phase(self, points: Reals) -> Reals:
        steps = self._budget.smooth_steps
        first, second = np.zeros_like(points), np.zeros_like(points)
        for step in range(steps):
            roughness = min(1.0, 1.25 * step / steps)
            values = self._surrogate.values(points, roughness=roughness)
            wanted = self._wanted(values, ties=self._rounds and 2 * step >= steps)
            gradient = self._surrogate.input_gradient(values, wanted, roughness=roughness)
            first = 0.9 * first + 0.1 * gradient
            second = 0.99 * second + 0.01 * gradient**2
            correction = np.sqrt(1 - 0.99 ** (step + 1)) / (1 - 0.9 ** (step + 1))
            rate = np.float32(0.1 * correction * (1 - 0.9 * step / steps))
            points = self._inside(points + rate * self._width * first / (np.sqrt(second) + 1e-12))
            if step % 5 == 4:
                levels = self._rounded(points)
                if self._judge(levels, self._surrogate.exact_values(levels)) or self._over():
                    return points
        return points

    def _integer_phase(self, points: Reals) -> None:
        """Move a few elements of each candidate at a time, by what the exact network's gradient promises."""
        levels = self._rounded(points)
        values = self._surrogate.exact_values(levels)
        scores = self._scores(values)
        count, size = len(levels), self._box.lower.size
        for _ in range(self._budget.integer_steps):
            wanted = self._wanted(values, ties=self._rounds)
            gradient = self._surrogate.input_gradient(values, wanted, roughness=0.0).reshape(count, size)
            flat = levels.reshape(count, size)
            step = np.sign(gradient).astype(np.int64)
            target = np.clip(flat + step, self._box.lower.reshape(-1), self._box.upper.reshape(-1))
            gain = np.abs(gradient) * (target != flat)
            # Half of the moves follow the promise, half explore: what counts is the exact score.
            promise = gain * self._random.random(gain.shape, dtype=np.float32) ** 2
            chosen = np.argpartition(-promise, min(8, size - 1), axis=1)[:, : int(self._random.integers(1, 9))]
            moved = flat.copy()
            np.put_along_axis(moved, chosen, np.take_along_axis(target, chosen, axis=1), axis=1)
            flip = self._random.integers(0, size, (count, 2))
            noise = self._random.integers(self._box.lower.reshape(-1)[flip], self._box.upper.reshape(-1)[flip] + 1)
            np.put_along_axis(moved, flip, noise, axis=1)
            proposal = self._box.allowed(moved.reshape(levels.shape))
            proposed = self._surrogate.exact_values(proposal)
            if self._judge(proposal, proposed) or self._over():
                return
            better = (found := self._scores(proposed)) > scores
            levels[better], scores[better] = proposal[better], found[better]
            for held, new in zip(values, proposed, strict=True):
                held[better] = new[better]

    def _leads(self, values: list[Reals]) -> Reals:
        """Return by how much losers are ahead of rivals."""
        outputs = self._surrogate.outputs(values)
        rows = np.arange(len(outputs))
        return np.asarray(outputs[rows, self._losers(outputs)] - outputs[rows, self._rivals])

    def _scores(self, values: list[Reals]) -> Reals:
        """Return how near to a violation candidates are; the larger, the nearer."""
        if not self._rounds:
            return -self._leads(values)
        outputs = self._surrogate.outputs(values)
        return np.minimum(*self._boundary_distances(outputs, self._losers(outputs)))

    def _judge(self, levels: IntArray, values: list[Reals]) -> bool:
        """Take note of the best candidate; return whether one of them violates the property."""
        self._closest = min(self._closest, float(self._leads(values).min()))
        scores = self._scores(values)
        if scores[best := int(scores.argmax())] > self._best:
            self._best = float(scores[best])
            self._nearest = Near(levels[best].astype(np.float32), int(self._rivals[best]))
        outputs = self._network.evaluate(levels)
        violating = np.flatnonzero(self._question.violated_by(outputs)).tolist()
        hits = [hit for hit in violating if self._box.contains(levels[hit])]
        if hits:
            self._witness = levels[hits[0]]
        return bool(hits)

    def _inside(self, points: npt.NDArray[Any]) -> Reals:
        inside: Reals = np.clip(points, self._lower, self._upper).astype(np.float32)
        return inside

    def _rounded(self, points: Reals) -> IntArray:
        return self._box.allowed(np.rint(points).astype(np.int64))
