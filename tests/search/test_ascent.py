"""Ascent returns inputs of the box, the best of all that it met, and the same ones every time."""

import time

import numpy as np

from bvverify.network import NetworkBuilder, StepNetwork
from bvverify.queries import LevelBox
from bvverify.search.ascent import highest


def valley() -> StepNetwork:
    """Return the output 10 * max(-x, 0) + max(x, 0): from the middle of -4 to 6 it rises to the lower of its peaks."""
    builder = NetworkBuilder(lower=[-4], upper=[6])
    builder.dense([[1], [-1]], [0, 0])
    builder.clamp(0, 10)
    builder.dense([[1, 10]], [0])
    return builder.build()


def test_the_highest_of_several_peaks_is_found() -> None:
    directions = np.array([[1], [-1]])
    found = [highest(valley(), LevelBox.of([-4], [6]), directions, deadline=time.monotonic() + 60) for _ in range(2)]
    assert found[0].tolist() == [[-4], [0]]
    assert np.array_equal(*found)


def test_missing_levels_are_not_returned() -> None:
    box = LevelBox(np.array([-4]), np.array([6]), np.array([[0, -1], [0, 0], [0, 1]]))
    (lowest,) = highest(valley(), box, np.array([[-1]]), deadline=time.monotonic() + 60)
    assert lowest.tolist() == [2]


def test_without_time_it_returns_some_input() -> None:
    box = LevelBox.of([-3], [5])
    (some,) = highest(valley(), box, np.array([[1]]), deadline=0.0)
    assert box.contains(some)
