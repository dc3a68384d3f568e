"""Results counted, grouped and chosen from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bvverify.report.results import Counts, Results, State, nearest_first, obstacles, read_results, spread, stages
from bvverify.report.words import common_columns, duration, series_name, what_happened
from bvverify.runs.store import Store
from bvverify.search import Obstacle
from tests.report.stores import fill, item, misclassified, realistic, reals, robust, subject, unknown, violated

IMAGE = np.arange(9, dtype=np.uint8).reshape(3, 3)


def read(path: Path) -> Results:
    with Store(path, create=False) as store:
        return read_results(store, file=path.name)


@pytest.fixture
def mixed(tmp_path: Path) -> Results:
    row = subject("a.pt", "qnnpack/sse2")
    verdicts = [
        robust(),
        violated(reals(IMAGE), witness_class=3, seconds=2.0),
        misclassified(reals(IMAGE)),
        unknown(gap=7),
        unknown(gap=None, obstacle=Obstacle.MEMORY, reason="memory: 8 GiB"),
        unknown(gap=2),
        None,
    ]
    asked = [(item(row, place, "1/2" if place % 2 else "10", IMAGE), verdict) for place, verdict in enumerate(verdicts)]
    return read(fill(tmp_path / "mixed.db", row, asked))


def test_counts_tell_misclassified_inputs_apart(mixed: Results) -> None:
    assert mixed.counts == Counts(robust=1, violated=2, misclassified=1, unknown=3, unasked=1)
    assert mixed.counts.total == 7
    assert [mixed.counts.state(state) for state in State] == [1, 1, 1, 3, 1]
    assert mixed.seconds == pytest.approx(0.02 + 2 + 0 + 3 * 60)


def test_radii_are_ordered_as_numbers(tmp_path: Path) -> None:
    row = subject("a.pt", "qnnpack/sse2")
    path = fill(tmp_path / "r.db", row, [(item(row, 0, radius, IMAGE), None) for radius in ("10", "2", "1/255", "3/2")])
    (series,) = read(path).series()
    assert [radius for radius, _ in series.by_radius()] == ["1/255", "3/2", "2", "10"]


def test_a_question_asked_twice_takes_its_time_once(tmp_path: Path) -> None:
    row = subject("a.pt", "qnnpack/sse2")
    first = item(row, 0, "1", IMAGE)
    path = fill(tmp_path / "twice.db", row, [(first, robust(seconds=5.0)), (replace(first, position=1), None)])
    found = read(path)
    assert (found.counts.robust, found.seconds, len(found.answered())) == (2, 5.0, 1)


def test_namesakes_are_told_apart(tmp_path: Path) -> None:
    rows = [
        subject("a.pt", "qnnpack/sse2"),
        subject("a.pt", "qnnpack/sse2", digest="other", model_sha256="cd" * 32),
        subject("b.pt", "qnnpack/sse2", runtime="torch 2.14.0"),
    ]
    for row in rows:
        fill(tmp_path / "n.db", row, [(item(row, 0, "1", IMAGE), robust())])
    names = {str(name) for name in read(tmp_path / "n.db").subjects()}
    assert names == {
        "a.pt (abababab) on qnnpack/sse2 (torch 2.13.0)",
        "a.pt (cdcdcdcd) on qnnpack/sse2 (torch 2.13.0)",
        "b.pt on qnnpack/sse2 (torch 2.14.0)",
    }


def test_unknowns_by_obstacle_and_by_gap(mixed: Results) -> None:
    found = mixed.having(State.UNKNOWN)
    assert {name: len(group) for name, group in obstacles(found).items()} == {"time": 2, "memory": 1}
    assert next(iter(obstacles(found))) == "time"
    assert [result.gap for result in nearest_first(found)] == [2, 7, None]


def test_stages_leave_out_what_was_not_asked(mixed: Results) -> None:
    assert sum(len(group) for group in stages(mixed.results).values()) == 6
    assert {stage for stage, _ in stages(mixed.results)} == {"intervals", "bitvector", "misclassified"}


def test_series_name_what_varies(tmp_path: Path) -> None:
    row = subject("a.pt", "qnnpack/sse2")
    asked = [(item(row, 0, "1", IMAGE, tie=tie), robust()) for tie in ("lowest-index", "any-tie-violates")]
    one = read(fill(tmp_path / "one.db", row, asked[:1]))
    both = read(fill(tmp_path / "both.db", row, asked))
    assert [series_name(series, varying=one.varying()) for series in one.series()] == ["a.pt on qnnpack/sse2"]
    assert {series_name(series, varying=both.varying()) for series in both.series()} == {
        "a.pt on qnnpack/sse2, lowest-index",
        "a.pt on qnnpack/sse2, any-tie-violates",
    }
    assert common_columns(one.varying()) == {"tie rule", "region"}
    assert common_columns(both.varying()) == {"region"}
    real = item(row, 0, "1/255", reals(IMAGE))
    floats = read(fill(tmp_path / "one.db", row, [(real, None)]))
    assert {series_name(series, varying=floats.varying()) for series in floats.series()} == {
        "a.pt on qnnpack/sse2, pixels",
        "a.pt on qnnpack/sse2, floats within [0, 1]",
    }


def test_a_tie_is_said(mixed: Results) -> None:
    (tied,) = mixed.having(State.VIOLATED)
    assert what_happened(tied, mixed) == (
        "violated: label 3, predicted 3, in a tie of the largest outputs within radius 1/2; replayed on the real kernel"
    )


def test_the_choice_is_even_and_prefers_new_inputs(tmp_path: Path) -> None:
    found = read(realistic(tmp_path / "r.db", inputs=6, radii=(1, 2)).path)
    groups = [list(group) for series in found.series() for _, group in series.by_radius()]
    assert len(groups) == 12
    chosen = spread(groups, 12)
    assert {(one.model, one.target, one.radius) for one in chosen} == {
        (group[0].model, group[0].target, group[0].radius) for group in groups
    }
    assert len({one.input for one in chosen}) == 6
    few = spread(groups, 3)
    assert len({one.model for one in few}) == 3
    assert len(spread(groups, 1000)) == 72
    assert len({one.query for one in spread(groups, 1000)}) == 72
    assert spread([], 5) == spread([[], []], 5) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (1e-5, "under 1 ms"),
        (0.0123, "12 ms"),
        (0.9999, "1.0 s"),
        (59.94, "59.9 s"),
        (99.96, "1 min 40 s"),
        (119.9, "2 min 0 s"),
        (3600, "1 h 0 min"),
        (1e7, "2,777 h 46 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
