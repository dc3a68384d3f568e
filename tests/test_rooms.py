"""The house keeps its rules: which room imports which, and which processes do without torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bvverify"
ALLOWED = {
    "errors": set(),
    "closing": set(),
    "child": {"closing"},
    "model": {"errors"},
    "network": {"errors"},
    "torchscript": {"errors"},
    "oracle": {"errors", "closing", "child", "model", "torchscript"},
    "load": {"errors", "model", "network", "torchscript"},
    "kernels": {"errors", "model", "network"},
    "queries": {"errors", "network"},
    "bounds": {"errors", "network"},
    "encode": {"errors", "network", "queries", "solvers"},
    "solvers": {"errors"},
    "search": {"errors", "closing", "child", "network", "queries", "bounds", "encode", "solvers"},
    "proofs": {"errors", "closing", "child", "model", "network", "kernels", "solvers"},
    "runs": {"errors", "closing", "child", "evidence", "kernels", "load", "network", "queries", "search", "solvers"},
    "measure": {"errors", "bounds", "evidence", "network", "queries", "search"},
    "compare": {"errors", "evidence", "kernels", "load", "model", "network", "queries", "search", "verify"},
    "evidence": {"errors", "closing", "oracle", "kernels", "load", "network", "queries", "search"},
}
ANY = {"verify", "testing", "report", "cli", "exit_codes", "__init__", "__main__"}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        rooms |= {name.split(".")[1] for name in names if name.startswith("bvverify.")}
    return rooms


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_to_its_left(path: Path) -> None:
    here = room(path)
    if here not in ANY:
        assert imported_rooms(path) - {here} <= ALLOWED[here]


def test_every_room_is_in_the_architecture() -> None:
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    for path in PACKAGE.iterdir():
        if path.is_dir() and any(path.glob("*.py")):
            assert f"`{path.name}/`" in text


def test_solver_processes_do_without_torch() -> None:
    code = "import sys; import bvverify.search.bitvector_worker, bvverify.solvers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
