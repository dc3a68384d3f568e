"""Killing workers, solvers and the run itself, at random moments: nothing decided is lost, nothing is decided twice."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from bvverify.runs.store import Store
from bvverify.search import Outcome

from .processes import descendants, is_alive, module_of

DATA = Path(__file__).parents[1] / "data"


def command(store: Path, inputs: Path, *options: str) -> list[str]:
    return [
        *(sys.executable, "-m", "bvverify", "run", "--model", str(DATA / "digits.pt"), "--inputs", str(inputs)),
        *("--region", "floats", "--radius", "1/1000,1/800,1/600,1/400,1/200", "--target", "fbgemm", "--timeout", "5"),
        *("--store", str(store), *options),
    ]


def is_laid_out(store: Path) -> bool:
    """Return whether the run has come as far as to create its tables."""
    with closing(sqlite3.connect(f"file:{store}?mode=rw", uri=True)) as connection:
        return bool(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])


def decided(store: Path, *, within: float = float("inf")) -> dict[tuple[int, str], Outcome]:
    """Return the queries that a store holds and that were decided `within` some seconds, by position and radius."""
    if not store.exists() or not is_laid_out(store):
        return {}
    with Store(store, create=False) as opened:
        return {
            (result.position, result.radius): result.outcome
            for result in opened.results()
            if result.outcome in (Outcome.ROBUST, Outcome.VIOLATED) and result.seconds < within
        }


def inputs(path: Path, count: int) -> Path:
    """Write `count` digits, each a little different, so that no two queries are one."""
    with np.load(DATA / "digits.npz") as data:
        images = np.tile(data["images"], (-(-count // 200), 1))[:count]
        labels = np.tile(data["labels"], -(-count // 200))[:count]
    images[:, 0] = np.linspace(0, 1, count, dtype=np.float32)
    np.savez(path, images=images, labels=labels)
    return path


def storm(store: Path, data: Path, *, seed: int, pause: float) -> int:
    """Run until the run ends by itself, killing one of its processes every now and then; return how many died."""
    generator = random.Random(seed)
    kills, known = 0, decided(store)
    while True:
        run = subprocess.Popen(command(store, data), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert run.stderr is not None
        while run.poll() is None:
            time.sleep(generator.uniform(0, pause))
            below = [child for child in descendants(run.pid) if module_of(child).startswith("bvverify.")]
            victim = generator.choice([run.pid, *below, *below])
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
            kills += 1
        message = run.stderr.read()
        run.stderr.close()
        for child in below:  # nothing outlives the run by more than a moment
            deadline = time.monotonic() + 10
            while is_alive(child) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not is_alive(child)
        now = decided(store)
        assert now.items() >= known.items()
        known = now
        if run.returncode >= 0:
            assert run.returncode in (0, 1, 2, 3), message
            assert "Traceback" not in message
            if run.returncode != 2:  # 2: the kernel process of the run itself was killed
                return kills
        pause *= 2


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_a_run_survives_kills_of_its_workers_and_of_itself(tmp_path: Path, count: int) -> None:
    data = inputs(tmp_path / "digits.npz", count)
    undisturbed = subprocess.run(command(tmp_path / "calm.db", data), capture_output=True, text=True)
    assert undisturbed.returncode in (0, 1, 3), undisturbed.stderr
    kills = storm(tmp_path / "storm.db", data, seed=count, pause=1.2)
    assert kills >= 3
    calm = decided(tmp_path / "calm.db")
    subprocess.run(command(tmp_path / "storm.db", data), capture_output=True, check=False)  # asks crashed queries again
    stormy = decided(tmp_path / "storm.db")
    assert stormy.keys() >= decided(tmp_path / "calm.db", within=0.5).keys()  # the others may meet their time limit
    assert all(stormy[query] is calm[query] for query in stormy.keys() & calm.keys())
    assert len(stormy) >= 4 * count


def test_an_interrupt_ends_all_processes_and_the_next_run_goes_on(tmp_path: Path) -> None:
    """Whole images free by several levels, and no attack: the run is long from done when the interrupt comes."""
    data, store = inputs(tmp_path / "digits.npz", 200), tmp_path / "results.db"
    endless = command(store, data, "--radius", "1/1000,1/8", "--stages", "intervals,bitvector", "--timeout", "60")
    run = subprocess.Popen(endless, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(decided(store)) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    below = descendants(run.pid)
    run.send_signal(signal.SIGINT)
    try:
        _, message = run.communicate(timeout=60)
    finally:
        run.kill()  # a run that does not end would go on for hours
    assert run.returncode == 130
    assert "the same command goes on from there" in message
    assert "Traceback" not in message
    assert below
    time.sleep(0.5)
    assert not any(is_alive(child) for child in below)
    before = decided(store)
    assert 5 <= len(before) < 400
    again = subprocess.run(command(store, data, "--radius", "1/1000"), capture_output=True, text=True)
    assert again.returncode in (0, 1, 3), again.stderr
    assert decided(store).items() >= before.items()
