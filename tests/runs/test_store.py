"""The store keeps every verdict once, gives it back as it was, and refuses files that are something else."""

import multiprocessing
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bvverify.errors import InternalError, UsageError
from bvverify.runs.job import Limits
from bvverify.runs.store import Known, Store
from bvverify.search import Obstacle, Outcome

from .verdicts import SUBJECT, item, verdict

SETTINGS = '{"solver": "a 1"}'
LIMITS = Limits(1, 2, 2**30)


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    with Store(tmp_path / "r.db") as store:
        store.add_items(store.add_subject(SUBJECT), [item(number) for number in range(4)])
        store.add("query 0", SETTINGS, verdict(Outcome.ROBUST), LIMITS)
        store.add("query 1", SETTINGS, verdict(Outcome.VIOLATED), LIMITS)
        store.add("query 2", SETTINGS, verdict(Outcome.UNKNOWN), LIMITS)
    with Store(tmp_path / "r.db", create=False) as store:
        results = list(store.results())
        assert [result.outcome for result in results] == [Outcome.ROBUST, Outcome.VIOLATED, Outcome.UNKNOWN, None]
        assert [result.position for result in results] == [0, 1, 2, 3]
        robust, violated, unknown, unasked = results
        assert (robust.model, robust.target, robust.seconds, robust.limits) == ("m.pt", "fbgemm/avx2", 0.25, LIMITS)
        assert (unknown.reason, unknown.obstacle, unknown.gap) == ("time: 1 s", Obstacle.TIME, 4)
        assert (unasked.stage, unasked.limits, unasked.finished) == ("", None, None)
        found = store.counterexample(violated)
        assert found.original.tolist() == [1]
        assert found.original.dtype == np.uint8
        assert found.witness.tolist() == [0.5]
        assert found.outputs.tolist() == list(range(10))
        with pytest.raises(UsageError, match="no counterexample"):
            store.counterexample(robust)
        assert store.find("query 2", SETTINGS) == Known(Outcome.UNKNOWN, Obstacle.TIME, LIMITS)
        assert store.find("query 2", "{}") is None
        assert store.find("query 3", SETTINGS) is None


def test_a_decided_verdict_stays_and_an_unknown_one_gives_way(tmp_path: Path) -> None:
    with Store(tmp_path / "r.db") as store:
        store.add_items(store.add_subject(SUBJECT), [item(0)])
        assert store.add("query 0", SETTINGS, verdict(Outcome.UNKNOWN), LIMITS) is Outcome.UNKNOWN
        assert store.add("query 0", SETTINGS, verdict(Outcome.ROBUST, stage="first"), LIMITS) is Outcome.ROBUST
        assert store.add("query 0", SETTINGS, verdict(Outcome.ROBUST, stage="second"), LIMITS) is Outcome.ROBUST
        assert store.add("query 0", SETTINGS, verdict(Outcome.UNKNOWN), LIMITS) is Outcome.ROBUST
        assert [result.stage for result in store.results()] == ["first"]


@pytest.mark.parametrize("settings", [SETTINGS, '{"solver": "another"}'])
@pytest.mark.parametrize("outcomes", [(Outcome.ROBUST, Outcome.VIOLATED), (Outcome.VIOLATED, Outcome.ROBUST)])
def test_a_contradiction_is_loud_and_not_kept(tmp_path: Path, settings: str, outcomes: tuple[Outcome, Outcome]) -> None:
    with Store(tmp_path / "r.db") as store:
        store.add_items(store.add_subject(SUBJECT), [item(0)])
        store.add("query 0", SETTINGS, verdict(outcomes[0]), LIMITS)
        with pytest.raises(InternalError, match="contradiction about query query 0"):
            store.add("query 0", settings, verdict(outcomes[1]), LIMITS)
        assert [result.outcome for result in store.results()] == [outcomes[0]]


def test_of_several_settings_the_decided_verdict_is_shown(tmp_path: Path) -> None:
    with Store(tmp_path / "r.db") as store:
        store.add_items(store.add_subject(SUBJECT), [item(0)])
        store.add("query 0", "{}", verdict(Outcome.ROBUST), LIMITS)
        store.add("query 0", SETTINGS, verdict(Outcome.UNKNOWN), LIMITS)
        (result,) = store.results()
        assert (result.outcome, result.settings) == (Outcome.ROBUST, "{}")


def test_the_same_subject_and_queries_are_one_row_each(tmp_path: Path) -> None:
    with Store(tmp_path / "r.db") as store:
        for _ in range(2):
            store.add_items(store.add_subject(SUBJECT), [item(0), item(1)])
        assert len(list(store.results())) == 2


def _write(path: Path, first: int) -> None:
    with Store(path) as store:
        number = store.add_subject(SUBJECT)
        for position in range(first, first + 200):
            store.add_items(number, [item(position)])
            store.add(f"query {position}", SETTINGS, verdict(Outcome.ROBUST), LIMITS)


def test_two_processes_write_one_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(tmp_path / "r.db", first)) for first in (0, 100)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    with Store(tmp_path / "r.db") as store:
        assert sorted(result.position for result in store.results()) == list(range(300))
        assert {result.outcome for result in store.results()} == {Outcome.ROBUST}


def _stored(path: Path, count: int) -> None:
    with Store(path) as store:
        store.add_items(store.add_subject(SUBJECT), [item(position) for position in range(count)])


def test_other_files_and_damaged_ones_are_refused_and_left_alone(tmp_path: Path) -> None:
    import sqlite3

    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    text = tmp_path / "text.db"
    text.write_text("no database at all, but longer than a header of SQLite would be\n" * 100)
    _stored(tmp_path / "whole.db", 300)
    content = (tmp_path / "whole.db").read_bytes()
    truncated = tmp_path / "truncated.db"
    truncated.write_bytes(content[: len(content) // 2])
    newer = tmp_path / "newer.db"
    newer.write_bytes(content)
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for path, words in (
        (foreign, "not made by bvverify"),
        (text, "not a results file"),
        (truncated, "damaged"),
        (newer, "another version"),
        (tmp_path, "cannot be used"),
        (tmp_path / "none" / "r.db", "cannot be used"),
    ):
        before = path.read_bytes() if path.is_file() else None
        with pytest.raises(UsageError, match=words) as caught:
            Store(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert before is None or path.read_bytes() == before


def test_a_file_that_is_not_there_is_told_to_readers(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such results file"):
        Store(tmp_path / "r.db", create=False)
    assert not (tmp_path / "r.db").exists()
    (tmp_path / "empty.db").touch()
    with pytest.raises(UsageError, match="not made by bvverify"):
        Store(tmp_path / "empty.db", create=False)
    assert (tmp_path / "empty.db").stat().st_size == 0


def test_a_write_protected_file_can_be_read(tmp_path: Path) -> None:
    _stored(tmp_path / "r.db", 3)
    (tmp_path / "r.db").chmod(0o444)
    before = (tmp_path / "r.db").read_bytes()
    with Store(tmp_path / "r.db", create=False) as store:
        assert len(list(store.results())) == 3
    assert (tmp_path / "r.db").read_bytes() == before


FILLING = """
import resource, sys
from pathlib import Path
from bvverify.errors import UsageError
from bvverify.runs.store import Store
from bvverify.search import Outcome
from tests.runs.test_store import LIMITS, SETTINGS, SUBJECT, item, verdict
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
with Store(Path(sys.argv[1])) as store:
    number = store.add_subject(SUBJECT)
    for position in range(100_000):
        try:
            store.add_items(number, [item(position)])
            store.add(f"query {position}", SETTINGS, verdict(Outcome.VIOLATED), LIMITS)
        except UsageError as error:
            print(position, error)
            break
"""


def test_a_full_disk_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk."""
    path = tmp_path / "r.db"
    run = subprocess.run([sys.executable, "-c", FILLING, path], capture_output=True, text=True)
    count, _, message = run.stdout.strip().partition(" ")
    assert "make room and run again" in message
    assert "\n" not in message
    assert int(count) >= 10
    with Store(path) as store:
        decided = [result for result in store.results() if result.outcome is not None]
        assert len(decided) == int(count)
        store.add("query 0", SETTINGS, verdict(Outcome.VIOLATED), LIMITS)
