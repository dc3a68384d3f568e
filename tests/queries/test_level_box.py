import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvverify.errors import UsageError
from bvverify.queries import LevelBox
from tests.networks import boxes, networks, points_of


@given(networks(max_blocks=0), st.data())
def test_a_box_contains_its_points_and_no_others(network, data: st.DataObject) -> None:
    box = data.draw(boxes(network, max_points=100))
    inside = {tuple(point.reshape(-1).tolist()) for point in points_of(box)}
    random = np.random.default_rng(0)
    around = random.integers(box.lower - 1, box.upper + 2, size=(100, *box.lower.shape))
    for point in [*around, *points_of(box)]:
        assert box.contains(point) == (tuple(point.reshape(-1).tolist()) in inside)


def test_a_box_is_made_of_integers_in_order() -> None:
    assert LevelBox.of([0, 1], [2, 1]).missing.shape == (0, 2)
    for lower, upper in (([0, 2], [1, 1]), ([0], [1, 1]), ([0.0], [1.0])):
        with pytest.raises(UsageError):
            LevelBox.of(lower, upper)
