"""Joint bounds hold for any numbers whatever, on any part of the box, and prove what bounds of single units cannot."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bvverify.bounds.certificate import Certifier, IntegerRows
from bvverify.bounds.descent import Dual, Effort, descend, first_dual, multipliers
from bvverify.bounds.groups import groups_of
from bvverify.bounds.hull import NetworkHulls
from bvverify.bounds.joint import Joint, JointUnits
from bvverify.bounds.multipliers import integer_multipliers
from bvverify.bounds.relaxation import Relaxation, Rows
from bvverify.errors import InternalError
from bvverify.network import NetworkBuilder, Step, StepNetwork, Window
from bvverify.queries import LevelBox
from bvverify.search.subproblem import Subproblem, narrow
from tests.bounds.test_certificate import PATIENT
from tests.networks import points_of

BITS = 36
SCALE = 2.0**BITS


def convolution(random: np.random.Generator) -> StepNetwork:
    """Return a random convolution of nine pixels into two or three channels, with or without max pooling."""
    builder = NetworkBuilder(lower=np.zeros((1, 3, 3), dtype=np.int64), upper=np.ones((1, 3, 3), dtype=np.int64))
    channels = int(random.integers(2, 4))
    weight, window = random.integers(-5, 6, (channels, 1, 2, 2)).tolist(), Window(kernel=(2, 2), stride=(1, 1))
    builder.conv2d(weight, random.integers(-3, 4, channels).tolist(), window=window)
    builder.step(Step(int(random.integers(-2, 3)), np.sort(random.integers(-9, 12, (channels, 4)), axis=1)))
    if random.random() < 0.7:
        builder.max_pool2d(Window(kernel=(2, 2), stride=(2, 2)) if random.random() < 0.5 else window)
    return builder.build()


def joint_of(relaxation: Relaxation, values: list, row: np.ndarray) -> Joint | None:
    """Return lines above and below the stairs of all units for the last value of a network, with slants of nothing."""
    value = len(relaxation.network.nodes)
    groups = groups_of(relaxation.hulls, value, values, row)
    if groups is None:
        return None
    around = relaxation.situation([values]).envelopes[value, 1]
    units = JointUnits.of(
        groups, torch.tensor(row, dtype=torch.float32), around.slope[0], network_inputs=values[0][0].size
    )
    return Joint.first(units, torch.zeros(groups.places.shape))


def within(values: list, network: StepNetwork, points: np.ndarray) -> np.ndarray:
    """Return which points lie in a sub-problem."""
    reached = network.evaluate_values(points, list(range(len(network.values))))
    inside = np.ones(len(points), dtype=bool)
    for held, (low, high) in zip(reached, values, strict=True):
        inside &= ((held >= low) & (held <= high)).reshape(len(points), -1).all(axis=1)
    return inside


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 1.0]), st.booleans())
@PATIENT
def test_any_numbers_give_bounds(seed: int, amount: float, narrowed: bool) -> None:
    random = np.random.default_rng(seed)
    network = convolution(random)
    last, size = len(network.nodes), network.values[-1].lower.size
    row = random.integers(-9, 10, size)
    values = list(network.interval(network.lower, network.upper))
    relaxation = Relaxation(NetworkHulls(network))
    joint = joint_of(relaxation, values, row)
    if narrowed:  # what was made for the whole serves a part
        problem, place = Subproblem(values, None), np.array([int(random.integers(size))])
        low, high = (int(end.reshape(-1)[place[0]]) for end in values[-1])
        ends = np.sort(random.integers(low, high + 1, 2))
        narrow(network, problem, last, place, ends[1:], ends[:1])
        if problem.closed:
            return
    rows = Rows({last: torch.tensor(row[None], dtype=torch.float32)}, torch.zeros(1))
    situation = relaxation.situation([values])

    def noisy(tensor: torch.Tensor) -> torch.Tensor:
        return tensor + amount * torch.tensor(random.normal(size=tensor.shape), dtype=torch.float32)

    joints = {} if joint is None else {last: joint.like(map(noisy, joint.tensors()))}
    given = multipliers(relaxation, situation, replace(first_dual(relaxation, situation, rows), joints=joints))
    found = replace(given, back=relaxation.start(situation, rows, given))
    integer_rows = IntegerRows({last: row[None] << BITS}, np.zeros(1, dtype=np.int64))
    exact = Certifier(relaxation.hulls, values).greatest(integer_rows, integer_multipliers(found, SCALE))
    assert exact is not None
    points = points_of(LevelBox.of(network.lower, network.upper))
    points = points[within(values, network, points)]
    if len(points):
        reached = (network.evaluate(points).reshape(len(points), -1) @ row).max()
        assert int(exact[0]) >= int(reached) << BITS
    bound = float(relaxation.bound(situation, rows, found).bound[0])
    assert bound == pytest.approx(int(exact[0]) / SCALE, rel=1e-3, abs=1e-2)


@given(st.integers(0, 2**32 - 1))
@PATIENT
def test_other_rows_take_as_many_times_as_much(seed: int) -> None:
    """Bounds that were made for one row serve others, of either sign."""
    random = np.random.default_rng(seed)
    network = convolution(random)
    last, size = len(network.nodes), network.values[-1].lower.size
    row, others = random.integers(-9, 10, size), random.integers(-9, 10, (3, size))
    others[0] = 2 * row
    values = list(network.interval(network.lower, network.upper))
    relaxation = Relaxation(NetworkHulls(network))
    joint = joint_of(relaxation, values, row)
    if joint is None:
        return
    rows = Rows({last: torch.tensor(others, dtype=torch.float32)}, torch.zeros(3))
    situation = relaxation.situation([values])
    joined = {last: joint.around(situation.middle, situation.radius, situation.envelopes[last, 1].hull)}
    given = replace(multipliers(relaxation, situation, first_dual(relaxation, situation, rows)), joined=joined)
    found = replace(given, back=relaxation.start(situation, rows, given))
    integer_rows = IntegerRows({last: others << BITS}, np.zeros(3, dtype=np.int64))
    exact = Certifier(relaxation.hulls, values).greatest(integer_rows, integer_multipliers(found, SCALE))
    assert exact is not None
    points = points_of(LevelBox.of(network.lower, network.upper))
    reached = (network.evaluate(points).reshape(len(points), -1) @ others.T).max(axis=0)
    assert (exact >= reached << BITS).all()
    bound = relaxation.bound(situation, rows, found).bound.numpy()
    assert bound == pytest.approx(exact / SCALE, rel=1e-3, abs=1e-2)


ROW = np.array([1, -1])


def rising() -> tuple[Relaxation, list]:
    """Return two channels of one pixel x of 0 to 40: y1 = x - 20 and y2 = x - 10, where positive."""
    builder = NetworkBuilder(lower=[[[0, 0]]], upper=[[[40, 0]]])
    builder.conv2d([[[[1, 0]]], [[[1, 0]]]], [-20, -10], window=Window(kernel=(1, 2), stride=(1, 1)))
    builder.step(Step(0, np.tile(np.arange(1, 41), (2, 1))))
    network = builder.build()
    return Relaxation(NetworkHulls(network)), list(network.interval(network.lower, network.upper))


def test_joint_bounds_prove_what_single_ones_cannot() -> None:
    """y1 - y2 is never positive; alone, y1 may be half of x, so that 5 are reached at x = 10."""
    relaxation, values = rising()
    situation, last = relaxation.situation([values]), len(relaxation.network.nodes)
    rows = Rows({last: torch.tensor(ROW[None], dtype=torch.float32)}, torch.zeros(1))
    first, effort = first_dual(relaxation, situation, rows), Effort(300, 0.01, np.inf)
    single = descend(relaxation, situation, rows, first, effort)
    joint = joint_of(relaxation, values, ROW)
    assert joint is not None
    both = descend(relaxation, situation, rows, replace(single.dual, joints={last: joint}), effort)
    assert float(single.bound[0]) > 4
    assert float(both.bound[0]) < 1


def test_groups_that_do_not_cover_a_rise_are_refused() -> None:
    relaxation, values = rising()
    last = len(relaxation.network.nodes)
    part = Subproblem(list(values), None)
    narrow(relaxation.network, part, last, np.array([0]), np.array([0]), np.array([0]))
    second = joint_of(relaxation, part.values, ROW)
    assert second is None  # the first channel stays low: there is no group
    whole = joint_of(relaxation, values, ROW)
    assert whole is not None
    groups = whole.units.groups
    kept = ~groups.steep.any(axis=(1, 2))
    blind = replace(groups, group=groups.group[kept], steep=groups.steep[kept], points=groups.points[kept])
    situation = relaxation.situation([values])
    rows = Rows({last: torch.tensor(ROW[None], dtype=torch.float32)}, torch.zeros(1))
    dual = replace(first_dual(relaxation, situation, rows), joints={last: whole})
    found = integer_multipliers(multipliers(relaxation, situation, dual), SCALE)
    joined = replace(found.joined[last], groups=blind, steepness=found.joined[last].steepness[kept])
    integer_rows = IntegerRows({last: ROW[None] << BITS}, np.zeros(1, dtype=np.int64))
    with pytest.raises(InternalError, match="may rise where no case"):
        Certifier(relaxation.hulls, values).greatest(integer_rows, replace(found, joined={last: joined}))


def test_joints_take_the_tensors_that_they_gave() -> None:
    relaxation, values = rising()
    situation, last = relaxation.situation([values]), len(relaxation.network.nodes)
    joint = joint_of(relaxation, values, ROW)
    assert joint is not None
    rows = Rows({last: torch.tensor(ROW[None], dtype=torch.float32)}, torch.zeros(1))
    dual = replace(first_dual(relaxation, situation, rows), joints={last: joint})
    again = dual.like(dual.tensors())
    assert isinstance(again, Dual)
    assert len(dual.rates()) == len(dual.tensors())
    assert all(first is second for first, second in zip(again.tensors(), dual.tensors(), strict=True))
