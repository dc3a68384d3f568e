"""`prove-lowering` from the command line: table, files, exit codes, and one line for every mistake."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from bvverify.cli.prove_lowering import prove_lowering
from bvverify.exit_codes import ExitCode
from bvverify.load import DeployedModel
from bvverify.proofs import qnnpack
from bvverify.proofs.pipeline import saturation

from . import layers

app = typer.Typer()
app.command()(prove_lowering)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the name of a file that holds a layer of two channels."""
    deployed = DeployedModel("tiny.pt", layers.model(layers.linear(per_channel=True)), b"")
    monkeypatch.setattr("bvverify.load.load_model", lambda *_, **__: deployed)
    return "tiny.pt"


def test_a_proved_model_and_its_store(model: str, tmp_path: Path) -> None:
    store, out = tmp_path / "store.jsonl", tmp_path / "out.json"
    options = [model, "--target", "fbgemm/avx512,qnnpack", "--target", "x86/avx512", "--store", store]
    result = run(*options, "--json", out)
    assert result.exit_code == ExitCode.ALL_ROBUST, result.output
    assert "tiny.pt on qnnpack/sse2" in result.stdout
    written = json.loads(out.read_text())
    assert written["model"]["name"] == "tiny.pt"
    rows = written["results"]
    assert [row["target"] for row in rows] == [
        name for name in ("fbgemm/avx512", "qnnpack/sse2", "x86/avx512") for _ in range(2)
    ]
    assert {row["status"] for row in rows} == {"unsat"}
    # Both run FBGEMM.
    assert [row["stored"] for row in rows] == [False] * 4 + [True] * 2
    assert [sorted(row["channel"] for row in rows[start : start + 2]) for start in (0, 2, 4)] == [[0, 1]] * 3
    assert run(*options, "--json", out).exit_code == ExitCode.ALL_ROBUST
    assert all(row["stored"] for row in json.loads(out.read_text())["results"])


def test_a_counterexample_is_shown(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qnnpack, "saturation", lambda zero_point, *, relu: saturation(zero_point + 1, relu=relu))
    out = tmp_path / "out.json"
    result = run(model, "--target", "qnnpack", "--json", out)
    assert result.exit_code == ExitCode.SOME_VIOLATED
    for row in json.loads(out.read_text())["results"]:
        example = row["counterexample"]
        assert example["computed"] == example["claimed"] + 1
        assert (
            f"layer fc, channel {row['channel']}: for accumulator {example['accumulator']} the pipeline gives "
            f"{example['computed']}, the thresholds {example['claimed']}"
        ) in result.stdout


def test_what_is_not_decided_has_its_reason(model: str) -> None:
    result = run(model, "--target", "qnnpack", "--timeout", 0.001)
    assert result.exit_code == ExitCode.SOME_UNKNOWN
    assert "layer fc, channel 1: unknown (time: 0.001 s)" in result.stdout


def test_an_interrupt_keeps_what_was_found(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    store, out = tmp_path / "store.jsonl", tmp_path / "out.json"
    monkeypatch.setattr("rich.progress.Progress.advance", interrupted)
    result = run(model, "--target", "qnnpack", "--target", "x86/avx512", "--store", store, "--json", out)
    assert result.exit_code == ExitCode.INTERRUPTED
    written = json.loads(out.read_text())
    assert written["interrupted"]
    assert len(written["results"]) == len(store.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--target", "qnnpack,tpu"], "unknown target 'tpu'"),
        (["--target", "qnnpack", "--input-shape", "1,x"], "input shape '1,x'"),
        (["--target", "qnnpack", "--solver", "boolector"], "solver 'boolector' is not known"),
        (["--target", "qnnpack", "--store", "."], "the store cannot be opened"),
    ],
)
def test_mistakes_are_one_line(model: str, options: list[str], words: str) -> None:
    result = run(model, *options)
    assert result.exit_code == ExitCode.USAGE, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert words in line


def test_without_a_target_nothing_is_guessed(model: str) -> None:
    assert run(model).exit_code == ExitCode.USAGE
