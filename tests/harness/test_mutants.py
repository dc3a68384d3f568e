"""Mutants: every one still applies; some are noticed, a harmless one is not, and the report says so."""

import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from typer import Typer
from typer.testing import CliRunner

from bvverify.errors import InputError, InternalError
from harness.mutants import command, runner
from harness.mutants.checks import all_checks
from harness.mutants.generated import generated_cases
from harness.mutants.mutant import Edit, Mutant, load_mutants
from harness.mutants.page import page
from harness.mutants.planting import plant
from harness.mutants.recorded import Recorded, corpus_records
from harness.mutants.runner import Fate, run_mutants

MUTANTS = load_mutants()
TELLING = ("fbgemm-125", "rounding-half", "fbgemm-bias-is-fused", "relu-cuts", "tie-parity")


def mutant(file: str, old: str, new: str, name: str = "planted") -> Mutant:
    return Mutant(name, "tests", file, "a mistake", (Edit(old, new),))


HARMLESS = mutant(
    "bvverify/kernels/float32.py",
    "    wide = np.rint(value.astype(np.float64))\n    inside = (wide >= INT32_MIN) & (wide <= INT32_MAX)\n"
    "    return np.where(inside, wide, float(INT32_MIN)).astype(np.int64)",
    "    whole = np.rint(value.astype(np.float64))\n    inside = (whole >= INT32_MIN) & (whole <= INT32_MAX)\n"
    "    return np.where(inside, whole, float(INT32_MIN)).astype(np.int64)",
    "harmless",
)


@pytest.fixture(scope="module")
def records() -> list[Recorded]:
    """Return a part of the corpus: its bytes are recorded in its files."""
    return [record for record in corpus_records() if record.name.removeprefix("corpus ").startswith(TELLING)]


def test_there_are_many_mutants_of_every_room() -> None:
    files = Counter(Path(mutant.file).parts[1] for mutant in MUTANTS)
    assert len(MUTANTS) >= 70
    assert min(files[room] for room in ("kernels", "network", "encode", "search", "queries")) >= 2


@pytest.mark.parametrize("planted", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_applies_and_is_python(planted: Mutant) -> None:
    source = planted.source()
    assert source != (runner.ROOT / planted.file).read_text(encoding="utf-8")
    compile(source, planted.file, "exec")


NOTICED = ("round half up", "fbgemm bias not fused", "fused relu against 0", "pairs never saturate", "x86 is fbgemm")


def test_mistakes_are_noticed_and_what_changes_nothing_is_not(records: list[Recorded]) -> None:
    chosen = [next(mutant for mutant in MUTANTS if mutant.name == name) for name in NOTICED]
    *fates, harmless = run_mutants([*chosen, HARMLESS], records, jobs=2)
    assert [fate.mutant.name for fate in fates] == list(NOTICED)
    assert all(fate.killer.startswith("corpus ") and fate.reason for fate in fates)
    assert (harmless.killer, harmless.reason) == ("", "")
    assert harmless.checks == len(list(all_checks(records, networks_first=False)))


def test_unmutated_code_that_fails_stops_the_run(records: list[Recorded]) -> None:
    wrong = Recorded("wrong", records[0].target, records[0].model, records[0].inputs, "an unheard-of refusal")
    with pytest.raises(InternalError, match=r"code without a mutant fails wrong on .*: lowered, but should be refused"):
        list(run_mutants([HARMLESS], [wrong]))


def test_a_mutant_that_cannot_be_imported_is_an_error(records: list[Recorded]) -> None:
    broken = mutant("bvverify/kernels/x86.py", "_MOST_ONEDNN_GROUPS = 100", "_MOST_ONEDNN_GROUPS = nothing")
    with pytest.raises(InputError, match="mutant planted: cannot be imported: NameError"):
        list(run_mutants([broken], records[:1]))


@pytest.mark.parametrize(
    ("planted", "message"),
    [
        (mutant("bvverify/kernels/x86.py", "no such text", ""), "'no such text' occurs 0 times in bvverify/kernels"),
        (mutant("bvverify/kernels/x86.py", "import", "export"), r"'import' occurs \d+ times"),
        (mutant("bvverify/kernels/absent.py", "a", "b"), "bvverify/kernels/absent.py does not exist"),
        (mutant("bvverify/kernels/x86.py", "_MOST_ONEDNN_GROUPS = 100", "= 100"), "is not Python: invalid syntax"),
    ],
)
def test_a_mutant_that_does_not_apply_is_named(planted: Mutant, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(run_mutants([planted], []))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[mutant]", "is not TOML"),
        ('[[mutant]]\nname = "a"', "key 'description' is missing"),
        ('[[mutant]]\nname = "a"\nfile = "b"\ndescription = "c"', r"edit\[0\].old: expected a text, got null"),
        ('[[mutant]]\nname = 1\nfile = "b"\ndescription = "c"\nold = ""\nnew = ""', "name: expected a text, got 1"),
        ('[[mutant]]\nname = "a"\nfile = "b"\ndescription = "c"\nold = ""\nnew = ""\n' * 2, "'a' is there twice"),
    ],
)
def test_malformed_tables_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "room.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_mutants(tmp_path)


def test_planting_changes_a_module_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "planted_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "module.py").write_text("ANSWER = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    plant("planted_package.module", "ANSWER = 43\n")
    module = _imported("planted_package.module")
    assert module.ANSWER == 43
    assert (package / "module.py").read_text() == "ANSWER = 42\n"
    assert not list(package.rglob("module*.pyc"))
    with pytest.raises(ImportError, match="was imported before its mutant was planted"):
        plant("planted_package.module", "")


def _imported(name: str) -> ModuleType:
    __import__(name)
    return sys.modules[name]


def test_generated_cases_are_the_same_in_every_run() -> None:
    first, second = list(generated_cases()), list(generated_cases())
    assert [name for name, _, _ in first] == [name for name, _, _ in second]
    assert len({name for name, _, _ in first}) == len(first)
    assert all((one[2] == other[2]).all() for one, other in zip(first, second, strict=True))


def test_the_page_lists_what_noticed_each_mutant() -> None:
    fates = [Fate(HARMLESS, "", "", 9, 1.0), Fate(MUTANTS[0], "corpus x on y", "bytes differ", 2, 0.25)]
    text = "\n".join(page(fates))
    assert "1 of 2 mutants are noticed" in text
    assert "| harmless | a mistake | `bvverify/kernels/float32.py` | **nothing** | 1.0 |" in text
    assert f"| {MUTANTS[0].name} | {MUTANTS[0].description} | `{MUTANTS[0].file}` | corpus x on y | 0.2 |" in text


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Typer:
    """Give the command, with two mutants, of which one is not noticed."""
    noticed = next(mutant for mutant in MUTANTS if mutant.name == "truncate")

    def fates(mutants: list[Mutant], records: object, *, jobs: int) -> list[Fate]:
        killers = {"truncate": "corpus a case", "harmless": ""}
        return [Fate(mutant, killers[mutant.name], "bytes differ", 1, 0.5) for mutant in mutants]

    monkeypatch.setattr(command, "load_mutants", lambda: [noticed, HARMLESS])
    monkeypatch.setattr(command, "record", lambda pool: [])
    monkeypatch.setattr(command, "run_mutants", fates)
    typer = Typer()
    typer.command()(command.main)
    return typer


def test_the_command_reports_survivors_and_fails(app: Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--out", str(tmp_path / "page.md")])
    assert result.exit_code == 1
    assert "truncate (0.5 s): noticed by corpus a case: bytes differ" in result.output
    assert "harmless (0.5 s): NOT NOTICED" in result.output
    assert "1 of 2 mutants noticed" in result.output
    assert "truncate" in (tmp_path / "page.md").read_text(encoding="utf-8")


def test_the_command_runs_only_what_is_asked_for(app: Typer) -> None:
    result = CliRunner().invoke(app, ["--only", "trunc"])
    assert result.exit_code == 0
    assert "1 of 1 mutants noticed" in result.output
    assert CliRunner().invoke(app, ["--only", "absent"]).exit_code == 2
