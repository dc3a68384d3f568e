"""Stage `branch`: branch and bound with the relaxation of `bvverify.bounds`; proves, and hints at violations.

A way to violate the property implies a linear inequality, its claim.  A sub-problem is closed when the relaxation says
that the claim's form stays below its threshold, and exact integers say so too.  Before a sub-problem is split, all
accumulators are bounded under the assumption that the claim holds (INVPROP); these bounds are exact integers as well,
so that what remains to be searched is always an exact set.  A split cuts an accumulator's interval at a threshold: the
result is at most k, or at least k + 1, which is one rule for the phases of ReLUs, saturation, and rounding.  Where few
inputs vary, their intervals are cut instead.
"""

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from torch import Tensor

from bvverify.bounds.descent import Effort
from bvverify.bounds.hull import NetworkHulls
from bvverify.bounds.relaxation import Relaxation
from bvverify.network import IntArray, StepNetwork
from bvverify.queries import LevelBox, Overtaking, Robustness
from bvverify.search.attack import Near
from bvverify.search.claim_bounds import ClaimBounds
from bvverify.search.claims import Claim, claim
from bvverify.search.ilp import OpenWay
from bvverify.search.splits import best_split, halves
from bvverify.search.subproblem import Bounds, Subproblem
from bvverify.search.surrogate import Reals
from bvverify.search.tighten import Tightening

_WARM = 0.3
"""The first step of descents that go on from multipliers of a similar problem, relative to others."""
_ENOUGH = -0.03
"""Integers will confirm that bounds this low are negative; where they do not, bounds are lowered by as much again."""
_WORTHWHILE, _LEAST = 0.5, 0.03
"""Rounds go on while they lower the bound by this part: at first, and where nothing cheaper is left."""
_NEAR = 2.0
"""Levels: rounds may close what is nearer."""
CLOSE = 0.5
"""Levels: for proofs that miss less all rounds are made that help, and then integer programs are asked."""
_DEEPER = ((60, 1.0, 3.0), (100, 0.6, 1.2), (120, 0.4, 1.0))
"""Descents one after the other: steps, the size of the first one, and the bound beyond which no other follows."""
_FAR = 1.0
"""Levels: a way that is still further is not going to be excluded."""


@dataclass(frozen=True)
class BranchBudget:
    """How much work the search may do; equal budgets give equal answers."""

    nodes: int = 100_000
    """Sub-problems, for all ways together."""
    batch: int = 4
    """Sub-problems that are split at a time."""
    first_steps: int = 50
    deep_descents: int = len(_DEEPER)
    steps: int = 60
    split_steps: int = 30
    tighten_steps: int = 25
    rounds: int = 30
    """Rounds of bounds under the assumption, at most, before the first split."""
    free_inputs: int = 64
    """Sub-problems in which at most so many inputs vary are split at inputs, others at units."""


@dataclass(frozen=True, eq=False)
class Branched:
    """What branch and bound found about all ways to violate a property."""

    proved: bool
    nodes: int
    """Sub-problems looked at."""
    missing: float
    """The largest bound of an open claim above its threshold, in output levels; 0 when proved."""
    witness: IntArray | None
    """An input of the box that violates the property, if one was met."""


class Branching:
    """Branch and bound on one question; a search that can be interrupted between its two parts."""

    def __init__(
        self,
        network: StepNetwork,
        box: LevelBox,
        question: Robustness,
        ways: Sequence[list[Overtaking]],
        values: Sequence[Bounds],
        *,
        budget: BranchBudget,
        deadline: float,
    ) -> None:
        """Prepare to exclude ways to violate `question` on `box`, until `deadline` (of time.monotonic).

        `ways`: those that are still possible; `values`: bounds of every value of the network on the box.
        """
        relaxation = Relaxation(NetworkHulls(network).around(values))
        self._task = _Task(relaxation, box, question, budget, deadline)
        self._open: list[tuple[_Search, list[Overtaking]]] = []
        for way in ways:
            claims = [claim(network, values, part) for part in way]
            searches = [_Search(self._task, implied) for implied in claims if implied is not None]
            if len(searches) == len(way):
                # One part that is impossible excludes the way: the one furthest from holding is pursued.
                self._open.append((min(searches, key=lambda search: search.start(list(values))), way))

    @property
    def open_ways(self) -> list[OpenWay]:
        """The ways that are not excluded."""
        return [OpenWay(way, search.values) for search, way in self._open]

    @property
    def near(self) -> list[Near]:
        """The inputs where the bounds of open ways are attained."""
        box, found = self._task.box, []
        for search, way in self._open:
            if (point := search.attained) is not None:
                found.append(Near(point.reshape(box.lower.shape), way[0].winner))
        return found

    def bound(self) -> Branched:
        """Bound the whole box as well as it goes."""
        return self._pursue(_Search.bound_root)

    def deepen(self) -> Branched:
        """Bound the whole box better, with more work; the worst way first, until one is not going to be excluded."""
        for search, _ in sorted(self._open, key=lambda pair: -pair[0].bound):
            search.deepen_root()
            if search.bound > _FAR:
                break
        return self._found()

    def split(self, *, until: float) -> Branched:
        """Split it until nothing is left, the budget is spent, or the clock (of time.monotonic) says `until`."""
        self._task.deadline = min(self._task.deadline, until)
        return self._pursue(_Search.split)

    def _pursue(self, part: "Callable[[_Search], None]") -> Branched:
        for search, _ in sorted(self._open, key=lambda pair: pair[0].bound):
            part(search)
        return self._found()

    def _found(self) -> Branched:
        self._open = [(search, way) for search, way in self._open if not search.closed]
        missing = max((search.missing for search, _ in self._open), default=0.0)
        return Branched(not self._open, self._task.nodes, missing, self._task.witness)


@dataclass(eq=False)
class _Task:
    """What the searches of all ways share."""

    relaxation: Relaxation
    box: LevelBox
    question: Robustness
    budget: BranchBudget
    deadline: float
    nodes: int = 0
    witness: IntArray | None = None

    def over(self) -> bool:
        """Return whether nothing more is to be done."""
        return self.witness is not None or self.nodes >= self.budget.nodes or time.monotonic() > self.deadline

    def look(self, primal: Tensor) -> None:
        """Look whether the inputs [N, elements] at which a relaxation attains its bounds are near a violation."""
        shape = (len(primal), *self.box.lower.shape)
        near = np.rint(primal.numpy().astype(np.float64)).astype(np.int64).reshape(shape)
        levels = self.box.allowed(np.clip(near, self.box.lower, self.box.upper))
        violating = np.flatnonzero(self.question.violated_by(self.relaxation.network.evaluate(levels)))
        hits = [hit for hit in violating.tolist() if self.box.contains(levels[hit])]
        if hits:
            self.witness = levels[hits[0]]


class _Search:
    """Branch and bound on one claim."""

    def __init__(self, task: _Task, implied: Claim) -> None:
        self._task, self._budget = task, task.budget
        self._bounds = ClaimBounds(task.relaxation, implied)
        self._tightening = Tightening(self._bounds, task.budget.tighten_steps)
        self.missing = 0.0
        self._root = Subproblem([], None)
        self._order = count()
        self._enough = _ENOUGH

    def start(self, values: list[Bounds]) -> float:
        """Bound the whole box without effort; return the bound, in levels above the threshold."""
        self._root = Subproblem(values, None)
        self._descend([self._root], 0)
        return self._root.bound

    @property
    def values(self) -> list[Bounds]:
        """Bounds of all values of the network where the claim holds."""
        return self._root.values

    @property
    def bound(self) -> float:
        """The bound of the whole box."""
        return self._root.bound

    @property
    def attained(self) -> Reals | None:
        """The input, flat, where the bound of the whole box is attained; None if the claim does not depend on it."""
        found = self._root.found
        return None if found is None or 0 not in found.primal else found.primal[0].numpy()

    @property
    def closed(self) -> bool:
        """Whether the claim is excluded."""
        return self._root.closed

    def bound_root(self) -> None:
        """Bound the whole box, and accumulators where the claim holds, as long as it helps."""
        root = self._root
        self._task.nodes += 1
        if not root.closed:
            self._descend([root], self._budget.first_steps, first=1.0)
        self.missing = root.bound
        if root.bound < _NEAR:
            self._narrow_root(worthwhile=_WORTHWHILE)

    def deepen_root(self) -> None:
        """Bound the whole box again, units of later layers case by case and those of convolutions together."""
        root = self._root
        if root.bound < CLOSE:  # narrow intervals help integer programs most
            self._narrow_root(worthwhile=_LEAST)
        if root.closed or self._task.over():
            return
        self._bounds.add_joints(root)
        cases = self._bounds.add_cases(root)
        for steps, first, far in _DEEPER[: self._budget.deep_descents]:
            self._descend([root], steps, first=first)
            if self.closed or root.bound > far or self._task.over():
                break
        self.missing = root.bound
        if root.bound < _NEAR and not cases:  # cases know more than intervals do
            self._narrow_root(worthwhile=_LEAST)

    def _narrow_root(self, *, worthwhile: float) -> None:
        root = self._root
        for _ in range(self._budget.rounds):
            before = root.bound
            if root.closed or self._task.over() or not self._tighten(root):
                break
            if not root.closed:
                self._descend([root], self._budget.steps)
            if before - root.bound < worthwhile * root.bound:
                break
        self.missing = root.bound

    def split(self) -> None:
        """Search until the claim is excluded or the budget is spent."""
        if not self._root.closed and not self._task.over():
            self._branch(self._root)

    def _branch(self, root: Subproblem) -> None:
        hulls = self._task.relaxation.hulls
        open_: list[tuple[float, int, Subproblem]] = [(-root.bound, next(self._order), root)]
        stuck: list[float] = []
        while open_ and not self._task.over():
            taken = [heapq.heappop(open_)[2] for _ in range(min(self._budget.batch, len(open_)))]
            free = self._budget.free_inputs
            splits = [(problem, best_split(hulls, problem, free_inputs=free)) for problem in taken]
            stuck += [problem.bound for problem, split in splits if split is None]
            children = [
                half for problem, split in splits if split is not None for half in halves(hulls.network, problem, split)
            ]
            self._task.nodes += len(children)
            alive = [child for child in children if not child.closed]
            for child in alive:
                self._bounds.drop_cases(child)
            if alive:
                self._descend(alive, self._budget.split_steps)
            for child in alive:
                if self._worth_tightening(child) and self._tighten(child) and not child.closed:
                    self._descend([child], self._budget.split_steps)
                if not child.closed:
                    heapq.heappush(open_, (-child.bound, next(self._order), child))
        self.missing = max([*stuck, *(-key for key, _, _ in open_)], default=0.0)
        root.closed = not (open_ or stuck)

    def _worth_tightening(self, problem: Subproblem) -> bool:
        assert problem.dual is not None
        return not (problem.closed or problem.dual.cases or self._task.over())

    def _descend(self, problems: list[Subproblem], steps: int, *, first: float = _WARM) -> None:
        """Lower the bounds of sub-problems, and look for violations where they are attained."""
        effort = Effort(steps, 0.03, self._task.deadline, first, self._enough)
        primal = self._bounds.descend(problems, effort)
        unconfirmed = [problem.bound for problem in problems if problem.bound < 0 and not problem.closed]
        self._enough = min([self._enough, *(bound + _ENOUGH for bound in unconfirmed)])
        if 0 in primal:
            self._task.look(primal[0])

    def _tighten(self, problem: Subproblem) -> bool:
        return self._tightening.tighten(problem, deadline=self._task.deadline)
