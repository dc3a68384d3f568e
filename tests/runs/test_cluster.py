"""Runs on a Dask cluster give the verdicts of local runs, also when workers are lost and jobs hang."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from bvverify.errors import UsageError
from bvverify.runs.cluster import Cluster, start_workers
from bvverify.runs.job import Limits
from bvverify.runs.run import run
from bvverify.search import Obstacle, Outcome

from .processes import descendants, is_alive
from .test_run import EASY, HARD, results
from .test_survival import decided, inputs

pytest.importorskip("distributed", reason="the extra bvverify[cluster] is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster({"system": "local", "jobs": 3}) as started:
        yield started


def busy_workers() -> list[int]:
    """Return the cluster's processes that have a child which searches."""
    above = descendants(os.getpid())
    return [process for process in above if descendants(process)]


@pytest.mark.parametrize("count", [40, pytest.param(334, marks=pytest.mark.slow)])
def test_the_verdicts_are_those_of_a_local_run_though_a_worker_is_killed(
    cluster: Cluster, tmp_path: Path, count: int
) -> None:
    plan = replace(
        EASY,
        inputs=inputs(tmp_path / "digits.npz", count),
        indices="",
        radii=(Fraction(1, 1000), Fraction(1, 500), Fraction(1, 200)),
        limits=Limits(seconds=5),
    )
    run(plan, store=tmp_path / "local.db")
    killed: list[int] = []

    def kill_one(done: int) -> None:
        if done > count and not killed and (busy := busy_workers()):
            killed.append(busy[-1])
            os.kill(busy[-1], signal.SIGKILL)

    summary = run(
        plan, store=tmp_path / "dask.db", workforce=cluster.workforce(), progress=lambda tally: kill_one(tally.done)
    )
    assert killed
    assert summary.total == sum((summary.robust, summary.violated, summary.unknown)) == 3 * count
    local, remote = decided(tmp_path / "local.db"), decided(tmp_path / "dask.db")
    assert remote.keys() >= decided(tmp_path / "local.db", within=0.5).keys()  # the others may meet their time limit
    assert all(remote[query] is local[query] for query in remote.keys() & local.keys())


def test_a_job_that_hangs_meets_its_limit_and_the_worker_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    workforce = cluster.workforce()
    stopped: list[int] = []

    def stop_searches() -> None:
        """Stop the searching processes, so that they cannot keep their own limit."""
        deadline = time.monotonic() + 30
        while not stopped and time.monotonic() < deadline:
            time.sleep(0.2)
            for process in descendants(os.getpid()):
                command = Path(f"/proc/{process}/cmdline")
                if is_alive(process) and b"bvverify.search.bitvector_worker" in command.read_bytes():
                    os.kill(process, signal.SIGSTOP)
                    stopped.append(process)

    stopper = threading.Thread(target=stop_searches)
    stopper.start()
    run(replace(HARD, limits=Limits(seconds=2)), store=tmp_path / "hung.db", workforce=workforce)
    stopper.join()
    assert stopped
    for process in stopped:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    (result,) = results(tmp_path / "hung.db")
    assert (result.outcome, result.obstacle) == (Outcome.UNKNOWN, Obstacle.TIME)
    run(EASY, store=tmp_path / "easy.db", workforce=workforce)
    assert {result.outcome for result in results(tmp_path / "easy.db")} == {Outcome.ROBUST}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"system": "slrum"}, "expected local, slurm, pbs, lsf"),
        ({"system": "slurm", "jobs": 1, "cores": 1}, "'memory' is missing"),
        ("none.json", "cluster none.json"),
        ("nonsense://host:1", "cluster nonsense"),
    ],
)
def test_clusters_that_cannot_be_are_told_in_one_line(settings: object, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        Cluster(settings)  # type: ignore[arg-type]  # any of the two kinds
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("system", "words"),
    [("slurm", "#SBATCH -p night"), ("pbs", "#PBS -q night"), ("lsf", "#BSUB -q night")],
)
def test_batch_systems_are_told_what_the_settings_say(system: str, words: str) -> None:
    """The job script is made without the batch system."""
    options = {"queue": "night", "cores": 1, "memory": "4GB", "walltime": "01:00:00", "jobs": 0}
    cluster = start_workers({"system": system, **options})
    try:
        script = cluster.job_script()
    finally:
        cluster.close()
    assert words in script
    assert "distributed.cli.dask_worker" in script
