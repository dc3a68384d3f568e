"""What the documentation says works: its examples run, its commands exist, its links lead somewhere."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import typer
from nbclient import NotebookClient

from bvverify.cli.commands import app

ROOT = Path(__file__).parents[1]
EQV = ROOT / "benchmarks" / "eqv"
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """Return the words of every command of bvverify in the page's shell blocks."""
    lines = [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("bvverify ")]


def test_the_quick_start_leads_to_a_report(tmp_path: Path) -> None:
    page = ROOT / "docs" / "quickstart.md"
    (script,) = blocks(page, "python")
    (tmp_path / "make_model.py").write_text(script)
    subprocess.run([sys.executable, "make_model.py"], cwd=tmp_path, check=True)
    for words in commands(page):
        done = subprocess.run([sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode in (0, 1, 3), (words, done.stderr)
    for made in ("report/index.html", "report/results.csv", "report/results.json", "report/junit.xml"):
        assert (tmp_path / made).stat().st_size > 0
    assert (tmp_path / "certificate" / "index.html").exists()


@pytest.mark.parametrize("name", ["howto-questions.md", "howto-runs.md", "howto-networks.md", "howto-pytest.md"])
def test_the_examples_of_the_guides_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "FC1-100.pt").symlink_to(EQV / "models" / "FC1-100.pt")
    (tmp_path / "images.npz").symlink_to(EQV / "images.npz")
    monkeypatch.chdir(tmp_path)
    for block in blocks(ROOT / "docs" / name, "python"):
        names: dict[str, object] = {}
        exec(block, names)
        for test in [value for key, value in names.items() if key.startswith("test_")]:
            assert callable(test)
            test()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_exist(page: Path) -> None:
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    for words in commands(page):
        assert words[1] in known, words
        options = {option for parameter in known[words[1]].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, words


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])
def test_relative_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert all((ROOT / link).exists() for link in links), links


def test_the_notebook_runs_from_top_to_bottom() -> None:
    path = ROOT / "examples" / "tour.ipynb"
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": path.parent}}).execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []) if "text" in output
    )
    assert "robust by intervals" in printed
    assert "RunSummary(total=32" in printed
