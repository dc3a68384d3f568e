"""The command `bvverify report`, from its help to its exit codes."""

import csv
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from bvverify.cli import commands
from bvverify.exit_codes import ExitCode
from bvverify.runs.store import Store
from tests.report.stores import fill, item, realistic, robust, subject

FILES = ["index.html", "junit.xml", "results.csv", "results.json"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(commands.app, ["report", *(str(argument) for argument in arguments)])


def assert_one_line(result: Result, *words: str) -> None:
    assert result.exit_code == ExitCode.USAGE, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def test_all_files_are_written_and_agree(tmp_path: Path) -> None:
    made, out = realistic(tmp_path / "results.db", inputs=5), tmp_path / "deep" / "report"
    result = run(made.path, "--out", out)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == FILES
    for name in FILES:
        assert str(out / name) in result.stdout
    row = [str(made.robust), str(made.violated), str(made.unknown), str(made.unasked)]
    assert any(
        [word for word in line.split("│") if word.strip()][1:] and row == numbers(line) for line in lines(result)
    )
    total = made.robust + made.violated + made.unknown + made.unasked
    assert f"<b>{made.robust:,}</b>" in (out / "index.html").read_text()
    assert json.loads((out / "results.json").read_text())["summary"]["queries"] == total
    with (out / "results.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == total
    assert ElementTree.parse(out / "junit.xml").getroot().get("tests") == str(total)


def lines(result: Result) -> list[str]:
    return [line for line in result.stdout.splitlines() if "│" in line]


def numbers(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("│").split("│")][2:]


def test_an_earlier_report_is_replaced(tmp_path: Path) -> None:
    path, row = tmp_path / "results.db", subject("[bold]a.pt", "qnnpack/sse2")
    image = np.zeros(4, dtype=np.uint8)
    for count in (1, 2):
        fill(path, row, [(item(row, count, "1", image), robust())])
        result = run(path, "--out", tmp_path / "report")
        assert result.exit_code == 0
        assert "[bold]a.pt" in result.stdout
        content = json.loads((tmp_path / "report" / "results.json").read_text())
        assert content["summary"]["robust"] == count


def test_an_empty_file_has_a_report(tmp_path: Path) -> None:
    Store(tmp_path / "results.db").close()
    assert run(tmp_path / "results.db", "--out", tmp_path / "report").exit_code == 0
    assert "No queries yet" in (tmp_path / "report" / "index.html").read_text()


def test_files_that_are_no_results_are_one_line(tmp_path: Path) -> None:
    made = realistic(tmp_path / "results.db", inputs=3)
    foreign, text, truncated = (tmp_path / name for name in ("foreign.db", "text.db", "truncated.db"))
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    text.write_text("no database at all, but long enough to be taken for one\n" * 100)
    truncated.write_bytes(made.path.read_bytes()[:20000])
    for path, word in [
        (tmp_path / "missing.db", "bvverify run"),
        (foreign, "not made by bvverify"),
        (text, "not a results file"),
        (truncated, "damaged"),
        (tmp_path, "no such results file"),
    ]:
        assert_one_line(run(path, "--out", tmp_path / "report"), str(path), word)
    assert not (tmp_path / "report").exists()
    assert not (tmp_path / "missing.db").exists()


def test_folders_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    made, taken = realistic(tmp_path / "results.db", inputs=1), tmp_path / "taken"
    taken.write_text("a file")
    assert_one_line(run(made.path, "--out", taken), "taken", "folder")
    assert_one_line(run(made.path, "--out", taken / "below"), "taken", "folder")
    assert taken.read_text() == "a file"
    (tmp_path / "report" / "index.html").mkdir(parents=True)
    assert_one_line(run(made.path, "--out", tmp_path / "report"), "index.html", "cannot be written")
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["index.html"]


def test_a_report_needs_no_torch(tmp_path: Path) -> None:
    made = realistic(tmp_path / "results.db", inputs=2)
    code = (
        "import sys\nfrom bvverify.cli.report import report\nfrom pathlib import Path\n"
        f"report(Path({str(made.path)!r}), out=Path({str(tmp_path / 'report')!r}))\n"
        "assert 'torch' not in sys.modules, 'torch'"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report" / "junit.xml").is_file()


@pytest.mark.parametrize("word", ["index.html", "results.csv", "results.json", "junit.xml", "--out", "Exit codes"])
def test_help_says_what_is_written(word: str) -> None:
    assert word in run("--help").stdout
