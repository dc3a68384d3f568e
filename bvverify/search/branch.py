"""Stage `branch`: branch and bound with the relaxation of `bvverify.bounds`; proves, and hints at violations.

A way to violate the property implies a linear inequality, its claim.  A sub-problem is closed when the relaxation says
that the claim's form stays below its threshold, and exact integers say so too.  Before a sub-problem is split, all
accumulators are bounded under the assumption that the claim holds (INVPROP); these bounds are exact integers as well,
so that what remains to be searched is always an exact set.  A split cuts an accumulator's interval at a threshold: the
result is at most k, or at least k + 1, which is one rule for the phases of ReLUs, saturation, and rounding.
"""

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bvverify.bounds.certificate import Certifier, IntegerMultipliers, IntegerRows, greatest_where
from bvverify.bounds.descent import (
    Assumed,
    Descended,
    Dual,
    Effort,
    alone,
    descend,
    descend_under,
    first_assumed,
    first_dual,
    multipliers,
    together,
)
from bvverify.bounds.envelope import Envelope, Side
from bvverify.bounds.hull import NetworkHulls
from bvverify.bounds.relaxation import Multipliers, Relaxation, Rows, Situation, integer_multipliers
from bvverify.network import Clamp, IntArray, Lookup, Step, StepNetwork
from bvverify.queries import LevelBox, Overtaking, Robustness
from bvverify.search.claims import Claim, claim
from bvverify.search.ilp import OpenWay

Bounds = tuple[IntArray, IntArray]
Reals = npt.NDArray[np.float64]

_EXACT_INT = 1 << 62
_FLAT = 0.75
"""Staircases with a longer flat part than this many levels are worth smaller intervals."""
_MOST = 0.8
"""Accumulators are bounded where the relaxation errs, until this part of all error is met."""
_AT_ONCE = 1 << 21
"""Numbers of slanted bounds that are looked for at a time."""
_WARM = 0.3
"""The first step of descents that go on from multipliers of a similar problem, relative to others."""
_ENOUGH = -0.02
"""Integers will confirm that bounds this low are negative."""
_SCALES = (36, 30, 24)
"""Bits of the integers that one level of a certified row is, tried in turn until 64 bits suffice."""


@dataclass(frozen=True)
class BranchBudget:
    """How much work the search may do; equal budgets give equal answers."""

    nodes: int = 100_000
    """Sub-problems, for all ways together."""
    batch: int = 4
    """Sub-problems that are split at a time."""
    first_steps: int = 200
    steps: int = 60
    tighten_steps: int = 25
    deep_steps: int = 30
    split_steps: int = 30
    rounds: int = 30
    """Rounds of bounds under the assumption, at most, before the first split."""


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


@dataclass(eq=False)
class _Problem:
    """A sub-problem: bounds of all values, and the dual that bounds its claim."""

    values: list[Bounds]
    dual: Dual | None
    bound: float = np.inf
    found: Descended | None = None
    closed: bool = False


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
        hulls = NetworkHulls(network)
        fed_by_box = frozenset(units.step for units in hulls.boxes.values())
        self._task = _Task(Relaxation(hulls.around(values)), fed_by_box, box, question, budget, deadline)
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

    def bound(self) -> Branched:
        """Bound the whole box as well as it goes."""
        return self._pursue(_Search.bound_root)

    def deepen(self) -> Branched:
        """Bound the whole box better, with more work."""
        return self._pursue(_Search.deepen_root)

    def split(self, *, until: float) -> Branched:
        """Split it until nothing is left, the budget is spent, or the clock (of time.monotonic) says `until`."""
        self._task.deadline = min(self._task.deadline, until)
        return self._pursue(_Search.split)

    def _pursue(self, part: "Callable[[_Search], None]") -> Branched:
        for search, _ in sorted(self._open, key=lambda pair: pair[0].bound):
            part(search)
        self._open = [(search, way) for search, way in self._open if not search.closed]
        missing = max((search.missing for search, _ in self._open), default=0.0)
        return Branched(not self._open, self._task.nodes, missing, self._task.witness)


@dataclass(eq=False)
class _Task:
    """What the searches of all ways share."""

    relaxation: Relaxation
    fed_by_box: frozenset[int]
    """The staircases that read sums of inputs."""
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


@dataclass(frozen=True, eq=False)
class _Split:
    """Whether a unit, the level of the greatest of some sums, stays below a level."""

    error: float
    """By how much the relaxation errs there, in output levels."""
    sums: int
    """The value of which the sums are elements."""
    elements: IntArray
    threshold: int
    unit: tuple[int, int, int]
    """The unit's value and element, and the level that it has where one of the sums reaches the threshold."""


@dataclass(frozen=True, eq=False)
class _Erring:
    """Where the relaxation differs from an operation on one integer."""

    error: Reals
    """By how much, in output levels, [elements]."""
    row: Reals
    """The claim's coefficients in the results."""
    result: IntArray
    """The true results where the bound is attained."""


class _Search:
    """Branch and bound on one claim."""

    def __init__(self, task: _Task, implied: Claim) -> None:
        self._task, self._budget, self._relaxation = task, task.budget, task.relaxation
        self._network, self._claim = task.relaxation.network, implied
        self._row = _tensor(implied.row / implied.unit)[None]
        self._constant = (implied.constant - implied.threshold) / implied.unit
        self._largest = max(abs(implied.constant - implied.threshold), *map(abs, implied.row.tolist()))
        self.missing = 0.0
        self._root = _Problem([], None)
        self._assumed: dict[int, Assumed] = {}
        self._order = count()

    def start(self, values: list[Bounds]) -> float:
        """Bound the whole box without effort; return the bound, in levels above the threshold."""
        self._root = _Problem(values, None)
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
    def closed(self) -> bool:
        """Whether the claim is excluded."""
        return self._root.closed

    def bound_root(self) -> None:
        """Bound the whole box, and accumulators where the claim holds, as long as it helps."""
        root = self._root
        self._task.nodes += 1
        if not root.closed:
            self._descend([root], self._budget.first_steps, first=1.0)
        self._narrow_root(deep=False)

    def deepen_root(self) -> None:
        """Bound the whole box again, each accumulator with slanted bounds of its own."""
        self._narrow_root(deep=True)

    def _narrow_root(self, *, deep: bool) -> None:
        root = self._root
        for _ in range(self._budget.rounds):
            before = root.bound
            if root.closed or self._task.over() or not self._tighten(root, deep=deep):
                break
            if not root.closed:
                self._descend([root], self._budget.steps)
            if before - root.bound < 0.02 * root.bound:
                break
        self.missing = root.bound

    def split(self) -> None:
        """Search until the claim is excluded or the budget is spent."""
        if not self._root.closed and not self._task.over():
            self._branch(self._root)

    def _branch(self, root: _Problem) -> None:
        open_: list[tuple[float, int, _Problem]] = [(-root.bound, next(self._order), root)]
        stuck: list[float] = []
        while open_ and not self._task.over():
            taken = [heapq.heappop(open_)[2] for _ in range(min(self._budget.batch, len(open_)))]
            splits = [(problem, self._best_split(problem)) for problem in taken]
            stuck += [problem.bound for problem, split in splits if split is None]
            children = [half for problem, split in splits if split is not None for half in self._halves(problem, split)]
            self._task.nodes += len(children)
            alive = [child for child in children if not child.closed]
            if alive:
                self._descend(alive, self._budget.split_steps)
            for child in alive:
                if not (child.closed or self._task.over()) and self._tighten(child, deep=False) and not child.closed:
                    self._descend([child], self._budget.split_steps)
                if not child.closed:
                    heapq.heappush(open_, (-child.bound, next(self._order), child))
        self.missing = max([*stuck, *(-key for key, _, _ in open_)], default=0.0)
        root.closed = not (open_ or stuck)

    # Bounds of the claim

    def _rows(self, count: int) -> Rows:
        return Rows({self._claim.value: self._row.expand(count, -1)}, torch.full((count,), self._constant))

    def _descend(self, problems: list[_Problem], steps: int, *, first: float = _WARM) -> None:
        """Lower the bounds of sub-problems, and close those that integers exclude."""
        situation = self._relaxation.situation([problem.values for problem in problems])
        rows = self._rows(len(problems))
        duals = [problem.dual for problem in problems if problem.dual is not None]
        start = Dual.stack(duals) if duals else first_dual(self._relaxation, situation, rows)
        found = descend(
            self._relaxation, situation, rows, start, Effort(steps, 0.01, self._task.deadline, first, _ENOUGH)
        )
        if 0 in found.primal:
            self._task.look(found.primal[0])
        for index, problem in enumerate(problems):
            problem.dual = found.dual.row(index)
            # What was proved of the whole holds of a part.
            problem.bound = min(problem.bound, float(found.bound[index]))
            problem.found = Descended(
                problem.dual,
                found.bound[index : index + 1],
                {value: tensor[index] for value, tensor in found.primal.items()},
                {value: tensor[index] for value, tensor in found.coefficients.items()},
            )
            if float(found.bound[index]) < 0:
                problem.closed = self._certified(problem)

    def _certified(self, problem: _Problem) -> bool:
        """Return whether integers confirm that the claim does not hold."""
        claimed = self._certified_form(problem)
        if claimed is None:
            return False
        form, constant = claimed
        low, high = (end.reshape(-1).tolist() for end in problem.values[0])
        ends = zip(form.tolist(), low, high, strict=True)
        return bool(constant + sum(factor * (most if factor > 0 else least) for factor, least, most in ends) < 0)

    def _certified_form(self, problem: _Problem) -> tuple[IntArray, int] | None:
        """Return a linear form in the inputs, coefficients int64 and constant, that is not negative wherever the claim
        holds; None if 64 bits do not suffice.
        """
        assert problem.dual is not None
        situation = self._relaxation.situation([problem.values])
        found = multipliers(self._relaxation, situation, problem.dual)
        certifier = Certifier(self._relaxation.hulls, problem.values)
        for bits in _SCALES:
            shift = max(0, bits - int(self._claim.unit).bit_length())
            if self._largest << shift >= _EXACT_INT:
                continue
            rows = IntegerRows(
                {self._claim.value: self._claim.row[None] << shift},
                np.array([self._claim.constant - self._claim.threshold], dtype=np.int64) << shift,
            )
            scaled = integer_multipliers(found, self._claim.unit * 2.0**shift)
            if (forms := certifier.input_forms(rows, scaled)) is not None:
                return forms[0][0], int(forms[1][0])
        return None

    # Bounds of accumulators where the claim holds

    def _tighten(self, problem: _Problem, *, deep: bool) -> bool:
        """Bound the sources of staircases where the claim holds; return whether some interval became smaller."""
        changed = False
        assert problem.dual is not None
        for index in sorted(problem.dual.back):
            if self._task.over() or problem.closed:
                break
            if index in self._task.fed_by_box:
                changed |= self._tighten_by_inputs(problem, index)
            elif index in self._relaxation.hulls.makers:
                changed |= self._tighten_value(problem, index, deep=deep)
        return changed

    def _tighten_by_inputs(self, problem: _Problem, index: int) -> bool:
        """Bound the sums of inputs that a staircase reads where the claim's bound, a linear form in the inputs, is not
        negative.
        """
        value = self._network.nodes[index].inputs[0]
        claimed = self._certified_form(problem)
        elements = self._curved(problem, index)
        if claimed is None or not len(elements):
            return False
        size = problem.values[value][0].size
        unit = np.zeros((len(elements), size), dtype=np.int64)
        unit[np.arange(len(elements)), elements] = 1
        none = IntegerMultipliers({}, {})
        certifier = Certifier(self._relaxation.hulls, problem.values)
        forms = certifier.input_forms(IntegerRows({value: unit}, np.zeros(len(unit), dtype=np.int64)), none)
        if forms is None:
            return False
        rows, constants = forms
        both = np.concatenate([rows, -rows]), np.concatenate([constants, -constants])
        low, high = (end.reshape(-1) for end in problem.values[0])
        most = greatest_where(both, claimed, low, high)
        return most is not None and self._narrow(problem, value, elements, most[: len(rows)], -most[len(rows) :])

    def _promising(self, problem: _Problem, index: int) -> IntArray:
        """Return those curved elements of a staircase where the relaxation errs most, for most of all its error."""
        curved = self._curved(problem, index)
        error = self._erring(problem, index).error[curved]
        order = np.argsort(-error, kind="stable")
        part = np.cumsum(error[order])
        return np.sort(curved[order[: np.searchsorted(part, _MOST * part[-1:])[0] + 1]]) if len(curved) else curved

    def _curved(self, problem: _Problem, index: int) -> IntArray:
        """Return the elements of a staircase for which smaller intervals help: where it does not only rise."""
        hull = self._relaxation.hulls.hull(index, *problem.values[self._network.nodes[index].inputs[0]])
        slopes = self._relaxation.hulls.makers[index].slopes(hull.x.shape[1])
        flat = np.maximum(hull.x[1] - hull.x[0], hull.x[3] - hull.x[4]) * np.where(np.isfinite(slopes), slopes, 1.0)
        return np.flatnonzero((hull.y[3] > hull.y[0]) & (flat > _FLAT))

    def _narrow(self, problem: _Problem, value: int, elements: IntArray, most: IntArray, least: IntArray) -> bool:
        """Narrow the intervals of some elements of a value; return whether one became smaller, or empty."""
        low, high = (end.reshape(-1) for end in problem.values[value])
        upper, lower = high.copy(), low.copy()
        upper[elements] = np.minimum(upper[elements], most)
        lower[elements] = np.maximum(lower[elements], least)
        if (lower > upper).any():
            problem.closed = True
            return True
        if (lower == low).all() and (upper == high).all():
            return False
        shape = problem.values[value][0].shape
        problem.values[value] = lower.reshape(shape), upper.reshape(shape)
        problem.closed = not _propagate(self._network, problem.values)
        return True

    def _tighten_value(self, problem: _Problem, index: int, *, deep: bool) -> bool:
        """Bound the accumulators that a staircase reads, each with multipliers of its own."""
        value = self._network.nodes[index].inputs[0]
        low, _ = (end.reshape(-1) for end in problem.values[value])
        elements = self._promising(problem, index)
        if not len(elements):
            return False
        situation = self._relaxation.situation([problem.values])
        bits = _SCALES[0]
        slopes = self._relaxation.hulls.makers[index].slopes(len(low))[elements]
        slopes = np.where(np.isfinite(slopes), slopes, 1.0)
        weight = np.maximum(1, np.rint(slopes * 2.0**bits)).astype(np.int64)
        one = np.zeros((len(elements), len(low)), dtype=np.int64)
        one[np.arange(len(elements)), elements] = weight
        unit = np.concatenate([one, -one])
        rows = Rows({value: _tensor(unit / 2.0**bits)}, torch.zeros(len(unit)))
        assert problem.dual is not None
        chosen = torch.tensor(np.concatenate([elements, len(low) + elements]))
        if value in self._assumed:
            start = self._assumed[value].rows(chosen)
        else:
            start = first_assumed(self._relaxation, situation, rows, problem.dual)
        effort = Effort(self._budget.tighten_steps, 0.03, self._task.deadline)
        best = descend_under(self._relaxation, situation, rows, self._rows(1), problem.dual, start, effort)
        self._remember(value, len(low), chosen, best)
        if deep:
            most = self._deep(problem, situation, rows, unit, best)
        else:
            found = best.multipliers(situation, multipliers(self._relaxation, situation, problem.dual))
            most = self._certified_under(problem, value, unit, best.factor, found)
        if most is None:
            return False
        above, below = np.split(most, 2)
        return self._narrow(problem, value, elements, above // weight, -(below // weight))

    def _deep(
        self, problem: _Problem, situation: Situation, rows: Rows, unit: IntArray, best: Assumed
    ) -> IntArray | None:
        """Return int64 [rows] that rows do not exceed where the claim holds, with slanted bounds for each row alone."""
        assert problem.dual is not None
        (value,) = rows.start
        size = sum(slants.free[0].numel() for slants in problem.dual.slants.values())
        found = []
        for part in torch.arange(len(unit)).split(max(1, _AT_ONCE // max(1, size))):
            claimed = together(
                Rows({value: rows.start[value][part]}, rows.constant[part]), self._rows(1), best.factor[part]
            )
            start = alone(problem.dual, best.rows(part))
            effort = Effort(self._budget.deep_steps, 0.05, self._task.deadline)
            dual = descend(self._relaxation, situation, claimed, start, effort).dual
            own = multipliers(self._relaxation, situation, dual)
            most = self._certified_under(problem, value, unit[part.numpy()], best.factor[part], own)
            if most is None:
                return None
            found.append(most)
        return np.concatenate(found)

    def _remember(self, value: int, elements: int, chosen: Tensor, best: Assumed) -> None:
        """Keep multipliers to start from next time."""
        if value not in self._assumed:
            factor = torch.full((2 * elements, 1), 0.3)
            rest = {index: torch.zeros(2 * elements, tensor.shape[1]) for index, tensor in best.rest.items()}
            shares = {side: torch.ones(2 * elements, tensor.shape[1]) for side, tensor in best.shares.items()}
            self._assumed[value] = Assumed(factor, rest, shares)
        kept = self._assumed[value]
        kept.factor[chosen] = best.factor.detach()
        for index, tensor in best.rest.items():
            kept.rest[index][chosen] = tensor.detach()
        for side, tensor in best.shares.items():
            kept.shares[side][chosen] = tensor.detach()

    def _certified_under(
        self, problem: _Problem, value: int, unit: IntArray, factor: Tensor, found: Multipliers
    ) -> IntArray | None:
        """Return int64 [rows] that the rows `unit` do not exceed where the claim holds, `factor` [N, 1] times which is
        added to them; `found` are multipliers of these sums.
        """
        scale = 2.0 ** _SCALES[0]
        factors = factor[:, 0].detach().numpy().astype(np.float64)
        added = np.rint(np.clip(factors * scale / self._claim.unit, 0, _EXACT_INT)).astype(np.int64)
        if int(added.max(initial=0)) * self._largest + int(np.abs(unit).max(initial=0)) >= _EXACT_INT:
            return None
        start = {value: unit}
        part = added[:, None] * self._claim.row[None]
        start[self._claim.value] = start[self._claim.value] + part if self._claim.value == value else part
        rows = IntegerRows(start, added * (self._claim.constant - self._claim.threshold))
        return Certifier(self._relaxation.hulls, problem.values).greatest(rows, integer_multipliers(found, scale))

    # Splits

    def _halves(self, problem: _Problem, split: _Split) -> tuple[_Problem, _Problem]:
        """Return the parts where a unit stays below a level, and where it does not."""
        value, element, level = split.unit
        below = self._part(problem, split.sums, 1, split.elements, split.threshold - 1)
        if len(split.elements) == 1:
            return below, self._part(problem, split.sums, 0, split.elements, split.threshold)
        return below, self._part(problem, value, 0, np.array([element]), level)

    def _part(self, problem: _Problem, value: int, end: int, elements: IntArray, limit: int) -> _Problem:
        """Return the part where the lower (0) or upper (1) ends of some elements are at least, or at most, a limit."""
        values = list(problem.values)
        ends = [array.copy() for array in values[value]]
        flat = ends[end].reshape(-1)
        flat[elements] = (np.minimum if end else np.maximum)(flat[elements], limit)
        values[value] = ends[0], ends[1]
        part = _Problem(values, problem.dual, problem.bound, problem.found)
        part.closed = bool((ends[0] > ends[1]).any()) or not _propagate(self._network, values)
        return part

    def _best_split(self, problem: _Problem) -> _Split | None:
        """Return the split where the relaxation is furthest from the network; None if no staircase can be split."""
        assert problem.dual is not None
        assert problem.found is not None
        splits = [
            split
            for index in problem.dual.back
            if isinstance(step := self._network.nodes[index].operation, Step)
            and (split := self._staircase_split(problem, index, step)) is not None
        ]
        splits += [
            split
            for side, envelope in self._relaxation.hulls.envelopes.items()
            if envelope.units.sums.shape[1] > 1
            and side[0] in problem.found.primal
            and (split := self._pooled_split(problem, side, envelope)) is not None
        ]
        return max(splits, key=lambda split: split.error, default=None)

    def _erring(self, problem: _Problem, index: int) -> _Erring:
        """Return by how much the relaxation errs at each element of a node, where it attains its bound."""
        assert problem.found is not None
        operation = self._network.nodes[index].operation
        assert isinstance(operation, Step | Clamp | Lookup)
        (value,) = self._network.nodes[index].inputs
        low, high = problem.values[value]
        least, most = (end.reshape(-1) for end in problem.values[index + 1])
        inside, outside = (problem.found.primal[which].numpy().astype(np.float64) for which in (value, index + 1))
        u = np.clip(np.rint(inside).astype(np.int64).reshape(low.shape), low, high)
        result = operation.apply(u[None]).reshape(-1)
        row = problem.found.coefficients[index + 1].numpy().astype(np.float64)
        return _Erring(np.abs(row) * np.minimum(np.abs(outside - result), most - least), row, result)

    def _pooled_split(self, problem: _Problem, side: Side, envelope: Envelope) -> _Split | None:
        """Return the best split of units that are maxima of sums, among those that are bounded from one side."""
        assert problem.found is not None
        (value, sign), units = side, envelope.units
        sums = self._network.nodes[units.step].inputs[0]
        step = self._network.nodes[units.step].operation
        assert isinstance(step, Step)
        row, y = (
            tensors[value].numpy().astype(np.float64)[units.elements]
            for tensors in (problem.found.coefficients, problem.found.primal)
        )
        greatest = problem.found.primal[sums].numpy().astype(np.float64)[units.sums].max(axis=1)
        reached = step.base + (step.thresholds[units.channel] <= np.rint(greatest)[:, None]).sum(axis=1)
        least, most = (end.reshape(-1)[units.elements] for end in problem.values[value])
        error = np.where((sign * row > 0) & (least < most), np.abs(row * (y - np.clip(reached, least, most))), -1.0)
        unit = int(error.argmax())
        if error[unit] < 0:
            return None
        level = int(np.clip(np.ceil((y[unit] + reached[unit]) / 2), least[unit] + 1, most[unit]))
        threshold = int(step.thresholds[units.channel[unit]][level - step.base - 1])
        return _Split(float(error[unit]), sums, units.sums[unit], threshold, (value, int(units.elements[unit]), level))

    def _staircase_split(self, problem: _Problem, index: int, step: Step) -> _Split | None:
        """Return the best split of one staircase."""
        value = self._network.nodes[index].inputs[0]
        low, _ = (end.reshape(-1) for end in problem.values[value])
        hull = self._relaxation.hulls.hull(index, *problem.values[value])
        rising = hull.y[3] > hull.y[0]
        if not rising.any():
            return None
        erring = self._erring(problem, index)
        row, reached = erring.row, erring.result - step.base
        channel = np.arange(len(low)) % len(step.thresholds)
        element = int(np.where(rising, erring.error, -1.0).argmax())
        first, last = (int(hull.y[end][element]) - step.base for end in (0, 3))
        slope = self._relaxation.hulls.makers[index].channel_slopes[channel[element]]
        if slope * (hull.x[1][element] - low[element]) > 2 and last - first > 1:
            chosen = first  # a long flat part: the phase of a ReLU
        else:
            chosen = int(reached[element]) if row[element] > 0 else int(reached[element]) - 1
        chosen = min(max(chosen, first), last - 1)
        unit = index + 1, element, step.base + chosen + 1
        threshold = int(step.thresholds[channel[element]][chosen])
        return _Split(float(erring.error[element]), value, np.array([element]), threshold, unit)


def _propagate(network: StepNetwork, values: list[Bounds]) -> bool:
    """Narrow bounds of all values by those of their sources, in place; return whether all intervals are left."""
    for index, node in enumerate(network.nodes):
        sources = [values[source] for source in node.inputs]
        low, high = node.operation.interval(tuple(low for low, _ in sources), tuple(high for _, high in sources))
        shape = values[index + 1][0].shape
        low, high = (
            np.maximum(low.reshape(shape), values[index + 1][0]),
            np.minimum(high.reshape(shape), values[index + 1][1]),
        )
        if (low > high).any():
            return False
        values[index + 1] = low, high
    return True


def _tensor(array: npt.ArrayLike) -> Tensor:
    return torch.tensor(np.asarray(array), dtype=torch.float32)
