"""The command `bvverify run`: plans, exit codes, and one line for every mistake."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from bvverify.cli.commands import app
from bvverify.exit_codes import ExitCode
from bvverify.runs.queries import Section
from bvverify.runs.store import Store
from bvverify.search import Outcome

DATA = Path(__file__).parents[1] / "data"
EASY = ("--model", DATA / "digits.pt", "--inputs", DATA / "digits.npz", "--indices", "0-3", "--region", "floats")


@pytest.fixture(autouse=True)
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the inputs unconfirmed, which starts no kernel process."""
    monkeypatch.setattr(Section, "confirm", lambda *_: None)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["run", *(str(argument) for argument in arguments)])


def assert_one_line(result: Result, *words: str) -> None:
    assert result.exit_code == ExitCode.USAGE, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def test_options_are_a_plan_and_the_summary_is_written(tmp_path: Path) -> None:
    store, summary = tmp_path / "r.db", tmp_path / "s.json"
    result = run(*EASY, "--radius", "1/1000", "--target", "fbgemm,qnnpack", "--store", store, "--json", summary)
    assert result.exit_code == ExitCode.ALL_ROBUST, result.output
    assert "8 of 8 queries: 8 robust, 0 violated, 0 unknown; 0 were known" in result.stdout
    found = json.loads(summary.read_text())
    assert (found["total"], found["robust"], found["problems"]) == (8, 8, [])
    assert "8 were known" in run(*EASY, "--radius", "1/1000", "--target", "fbgemm,qnnpack", "--store", store).stdout


def test_a_file_is_a_plan_and_options_win(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(
        f'models = "{DATA / "digits.pt"}"\ninputs = "{DATA / "digits.npz"}"\nindices = "0-3"\nregion = "floats"\n'
        'radius = "1/1000"\ntarget = "fbgemm"\nstore = "r.db"\nworkers = 1\n'
    )
    assert run(plan, "--indices", "0").exit_code == ExitCode.ALL_ROBUST
    with Store(tmp_path / "r.db") as store:
        assert [result.outcome for result in store.results()] == [Outcome.ROBUST]


def test_exit_codes_say_what_was_found(tmp_path: Path) -> None:
    with np.load(DATA / "digits.npz") as data:
        np.savez(tmp_path / "wrong.npz", images=data["images"][:1], labels=(data["labels"][:1] + 1) % 10)
    common = (*EASY[:2], "--region", "floats", "--target", "fbgemm", "--store", tmp_path / "r.db")
    violated = run(*common, "--inputs", tmp_path / "wrong.npz", "--radius", "1/1000")
    assert violated.exit_code == ExitCode.SOME_VIOLATED, violated.output
    right = (*common, "--inputs", DATA / "digits.npz", "--indices", "0")
    unknown = run(*right, "--radius", "1/20", "--stages", "intervals")
    assert unknown.exit_code == ExitCode.SOME_UNKNOWN, unknown.output
    refused = run(*right, "--radius", "1/1000", "--model", DATA / "digits_conv.pt")
    assert refused.exit_code == ExitCode.USAGE
    assert "not run: digits_conv.pt: " in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "'models' is missing"),
        (EASY[:2], "'inputs' is missing"),
        ((*EASY, "--radius", "x"), "radius 'x'"),
        ((*EASY, "--target", "fbgem"), "unknown target 'fbgem'"),
        ((*EASY, "--timeout", "0"), "'timeout' must be a positive number"),
        ((*EASY, "--stages", "luck"), "stage 'luck'"),
        ((*EASY, "--solver", "yices"), "yices"),
        ((*EASY, "--indices", "999"), "index 999"),
        ((*EASY, "--cluster", "none.json"), "no such scheduler file"),
        (("--factory", "a:b", "--inputs", "x.npz"), "--factory belongs to --model"),
        (("none.toml",), "No such file"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[object, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_one_line(run(*arguments), words)
    assert not list(tmp_path.iterdir())


def test_files_that_cannot_be_used_are_one_line_and_left_alone(tmp_path: Path) -> None:
    broken = tmp_path / "plan.toml"
    broken.write_text("models = [")
    assert_one_line(run(broken), str(broken), "not TOML")
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    content = foreign.read_bytes()
    assert_one_line(run(*EASY, "--store", foreign), "not made by bvverify")
    assert foreign.read_bytes() == content
    assert_one_line(run(*EASY, "--store", tmp_path / "none" / "r.db"), "check its folder")
    assert_one_line(run(*EASY, "--model", tmp_path / "none.pt", "--store", tmp_path / "r.db"), "no such model file")
    assert not (tmp_path / "r.db").exists()
