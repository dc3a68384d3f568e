"""Restricted networks compute the same where they are meant to, and leave out what is constant."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bvverify.bounds.restriction import restricted
from bvverify.network import NetworkBuilder, Step
from tests.encode.questions import Question, questions
from tests.networks import points_of

PATIENT = settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)


@given(questions())
@PATIENT
def test_nothing_changes_on_the_box(question: Question) -> None:
    network, box = question.network, question.box
    small = restricted(network, network.interval(box.lower, box.upper))
    points = points_of(box)
    assert (small.network.evaluate(points) == network.evaluate(points)).all()
    for value, (low, high) in zip(
        small.network.evaluate_values(points, range(len(small.network.values))), small.values, strict=True
    ):
        assert (low <= value).all()
        assert (value <= high).all()


@given(questions(), st.integers(0, 2**32 - 1))
@PATIENT
def test_nothing_changes_where_values_lie_between_narrower_bounds(question: Question, seed: int) -> None:
    """Bounds that hold at some of the points only, as those under an assumption do."""
    network, points = question.network, points_of(question.box)
    random = np.random.default_rng(seed)
    some = points[random.permutation(len(points))[: 1 + len(points) // 3]]
    reached = network.evaluate_values(some, range(len(network.values)))
    values = [(found.min(axis=0), found.max(axis=0)) for found in reached]
    small = restricted(network, values)
    assert (small.network.evaluate(some) == network.evaluate(some)).all()


def test_dead_units_are_left_out() -> None:
    builder = NetworkBuilder(lower=[0, 0], upper=[9, 9])
    builder.dense([[1, 1], [1, -1], [1, 2]], [0, -20, 0])
    builder.step(Step(0, np.tile(np.arange(1, 30), (3, 1))))
    builder.dense([[1, 5, 1], [0, 7, 1]], [3, 4])
    network = builder.build()
    small = restricted(network, network.interval(network.lower, network.upper)).network
    assert [value.lower.size for value in small.values] == [2, 2, 2, 2]
    narrow = network.interval(np.array([1, 2]), np.array([1, 2]))
    assert [value.lower.size for value in restricted(network, narrow).network.values] == [2, 1, 1, 2]
