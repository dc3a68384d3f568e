"""The command line: verdicts, files, exit codes, and one line for every mistake a user can make."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from bvverify.cli import commands
from bvverify.errors import InternalError
from bvverify.exit_codes import ExitCode
from bvverify.solvers import check_smtlib

ROOT = Path(__file__).parents[2]
EQV = ROOT / "benchmarks" / "eqv"
FC1, CNN1, IMAGES = EQV / "models" / "FC1-100.pt", EQV / "models" / "CNN1.pt", EQV / "images.npz"
DIGITS = ROOT / "tests" / "data"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(commands.app, [str(argument) for argument in arguments])


def images(folder: Path, **arrays: np.ndarray) -> Path:
    path = folder / "inputs.npz"
    np.savez(path, **arrays)
    return path


def assert_one_line(result: Result, *words: str) -> None:
    assert result.exit_code == ExitCode.USAGE, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def test_verify_decides_by_intervals_and_writes_json(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    result = run("verify", FC1, "--inputs", IMAGES, "--indices", "28-30", "--radius", "1,2", "--json", out)
    assert result.exit_code == ExitCode.ALL_ROBUST, result.output
    written = json.loads(out.read_text())
    rows = written["results"]
    assert [(row["index"], row["radius"]) for row in rows] == [(i, r) for i in range(28, 31) for r in (1, 2)]
    assert {(row["verdict"], row["stage"]) for row in rows} == {("robust", "intervals")}
    for row in rows:
        assert {"target", "solver", "seconds", "reason", "label", "prediction", "replay"} <= row.keys()
        assert row["target"] == written["target"]


def test_a_wrong_label_is_a_replayed_violation_of_stage_misclassified(tmp_path: Path) -> None:
    with np.load(IMAGES) as file:
        path = images(tmp_path, images=file["images"][:1], labels=(file["labels"][:1] + 1) % 10)
    out = tmp_path / "out.json"
    result = run("verify", FC1, "--inputs", path, "--target", "qnnpack", "--json", out)
    assert result.exit_code == ExitCode.SOME_VIOLATED
    (row,) = json.loads(out.read_text())["results"]
    assert (row["verdict"], row["stage"], row["replay"]) == ("violated", "misclassified", "replayed")
    assert len(row["witness"]["input"]) == 784


QUICK = ("--stages", "intervals,bitvector", "--timeout", 0.2)


def test_an_undecided_query_is_reported_with_its_reason(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    result = run("verify", FC1, "--inputs", IMAGES, "--indices", 8, "--radius", 3, *QUICK, "--json", out)
    assert result.exit_code == ExitCode.SOME_UNKNOWN
    (row,) = json.loads(out.read_text())["results"]
    assert (row["verdict"], row["stage"], row["reason"]) == ("unknown", "bitvector", "time: 0.2 s")


def test_without_labels_the_question_is_whether_the_prediction_can_change(tmp_path: Path) -> None:
    with np.load(IMAGES) as file:
        path = images(tmp_path, images=file["images"][:1])
    result = run("verify", FC1, "--inputs", path)
    assert result.exit_code == ExitCode.ALL_ROBUST, result.output


def test_float_regions_take_fractions(tmp_path: Path) -> None:
    options = ["--inputs", DIGITS / "digits.npz", "--indices", 0, "--region", "floats", "--radius", "1/255"]
    assert run("verify", DIGITS / "digits.pt", *options).exit_code == ExitCode.ALL_ROBUST


def test_a_convolutional_model_takes_the_images_as_one_channel() -> None:
    assert run("verify", CNN1, "--inputs", IMAGES, "--indices", 0, "--radius", 0).exit_code == ExitCode.ALL_ROBUST


def test_a_contradicting_kernel_is_an_internal_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def contradict(*_: object) -> None:
        raise InternalError("the kernel's bytes differ")

    monkeypatch.setattr("bvverify.evidence.Replayer.confirm", contradict)
    result = run("verify", FC1, "--inputs", IMAGES, "--indices", 0)
    assert result.exit_code == ExitCode.INTERNAL_ERROR
    assert "the kernel's bytes differ" in result.stderr


def test_an_interrupt_keeps_what_was_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bvverify.verify import Verifier

    original, calls = Verifier.verify, []

    def interrupted(self: Verifier, query: object) -> object:
        calls.append(query)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, query)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(Verifier, "verify", interrupted)
    out = tmp_path / "out.json"
    result = run("verify", FC1, "--inputs", IMAGES, "--indices", "0-9", "--json", out)
    assert result.exit_code == ExitCode.INTERRUPTED
    written = json.loads(out.read_text())
    assert written["interrupted"] is True
    assert len(written["results"]) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--indices", "0-200"], ["index 100", "0 to 99"]),
        (["--indices", "3-1"], ["3-1"]),
        (["--indices", "x"], ["0-9,12"]),
        (["--radius", "1.5"], ["whole grey levels"]),
        (["--radius", "-1"], ["negative"]),
        (["--radius", "two"], ["two"]),
        (["--target", "cuda"], ["cuda", "fbgemm/avx512_vnni"]),
        (["--target", "qnnpack/avx2"], ["qnnpack", "sse2"]),
        (["--solver", "yices"], ["yices", "bitwuzla"]),
        (["--region", "floats", "--radius", "0.1", "--clip", "0.5,1"], ["outside"]),
        (["--region", "floats", "--radius", "0.1", "--clip", "1"], ["LOW,HIGH"]),
        (["--factory", "nowhere:nothing"], ["nowhere"]),
    ],
)
def test_wrong_options_are_one_line(options: list[str], words: list[str]) -> None:
    assert_one_line(run("verify", FC1, "--inputs", IMAGES, *options), *words)


def test_wrong_models_are_one_line(tmp_path: Path) -> None:
    truncated = tmp_path / "truncated.pt"
    truncated.write_bytes(FC1.read_bytes()[:5000])
    text = tmp_path / "text.pt"
    text.write_text("no model")
    for path, word in [(tmp_path / "missing.pt", "No such file"), (truncated, "truncated.pt"), (text, "TorchScript")]:
        assert_one_line(run("verify", path, "--inputs", IMAGES), word)
        assert_one_line(run("inspect", path), word)


def test_wrong_inputs_are_one_line(tmp_path: Path) -> None:
    good = np.zeros((2, 28, 28), dtype=np.uint8)
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"PK\x03\x04 no archive")
    nan = np.zeros((1, 784), dtype=np.float32)
    nan[0, 3] = np.nan
    for path, words in [
        (tmp_path / "missing.npz", ["missing.npz", "No such file"]),
        (bad, ["bad.npz", "npz"]),
        (images(tmp_path, pixels=good), ["images", "pixels"]),
    ]:
        assert_one_line(run("verify", FC1, "--inputs", path), *words)
    for arrays, words in [
        ({"images": np.zeros((2, 5, 5), dtype=np.uint8)}, ["(5, 5)"]),
        ({"images": nan}, ["image 0", "NaN"]),
        ({"images": good.astype(np.int32)}, ["int32"]),
        ({"images": good, "labels": np.zeros(3, dtype=int)}, ["labels", "2 integers"]),
        ({"images": good, "labels": np.array([0.5, 1])}, ["labels"]),
        ({"images": good, "labels": np.array([0, 11])}, ["label 11", "10 outputs"]),
        ({"images": np.full((1, 784), 0.1)}, ["float64", "float32"]),
        ({"images": np.zeros((1, 784), dtype=np.float32)}, ["uint8", "--region floats"]),
    ]:
        assert_one_line(run("verify", FC1, "--inputs", images(tmp_path, **arrays)), *words)
    assert_one_line(
        run("verify", FC1, "--inputs", images(tmp_path, images=nan * 0 + 2), "--region", "floats"), "image 0", "NaN"
    )
    outside = images(tmp_path, images=np.full((1, 784), 2, dtype=np.float32))
    assert_one_line(run("verify", FC1, "--inputs", outside, "--region", "floats"), "outside", "[0, 1]")


def test_results_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (folder, tmp_path / "missing" / "out.json"):
        result = run("verify", FC1, "--inputs", IMAGES, "--indices", 0, "--json", path)
        assert_one_line(result, "cannot be written")
    assert list(tmp_path.iterdir()) == [folder]


def test_inspect_shows_layers_accumulators_and_targets(tmp_path: Path) -> None:
    out = tmp_path / "facts.json"
    result = run("inspect", CNN1, "--input-shape", "1,28,28", "--json", out)
    assert result.exit_code == ExitCode.ALL_ROBUST, result.output
    facts = json.loads(out.read_text())
    assert [layer["kind"] for layer in facts["layers"]] == [
        "Quantize",
        "Conv2d + ReLU",
        "MaxPool2d",
        "Reshape",
        "Linear",
        "Dequantize",
    ]
    conv, linear = facts["layers"][1], facts["layers"][4]
    assert (conv["output_shape"], conv["pairs"], linear["pairs"]) == ([4, 14, 14], 32, 980)
    assert conv["accumulator"][0] < 0 < conv["accumulator"][1]
    refused = {row["target"] for row in facts["targets"] if row["refusal"]}
    assert refused == {"onednn/avx512", "onednn/avx2"}


def test_inspect_asks_for_the_shape_of_a_convolutional_model() -> None:
    assert_one_line(run("inspect", CNN1), "shape")
    assert_one_line(run("inspect", CNN1, "--input-shape", "1,x,28"), "1,28,28")
    assert_one_line(run("inspect", CNN1, "--input-shape", "3,28,28"), "(1, height, width)")


@pytest.mark.parametrize(("radius", "status"), [(0, "unsat"), (60, "unknown")])
def test_export_writes_a_script_that_names_target_and_status(tmp_path: Path, radius: int, status: str) -> None:
    path = tmp_path / "q.smt2"
    options = ["--inputs", DIGITS / "digits.npz", "--region", "floats", "--clip", "none", "--target", "fbgemm/avx2"]
    result = run("export", DIGITS / "digits.pt", *options, "--radius", f"{radius}/255", "--smtlib", path)
    assert result.exit_code == 0, result.output
    text = path.read_text()
    assert "; target: fbgemm/avx2, torch 2.13.0" in text
    assert f"(set-info :status {status})" in text
    if status == "unsat":
        assert check_smtlib(text, solver="z3", time_limit=20).status.value == "unsat"


def test_targets_lists_all_of_them(tmp_path: Path) -> None:
    out = tmp_path / "targets.json"
    result = run("targets", "--json", out)
    assert result.exit_code == 0
    rows = json.loads(out.read_text())["targets"]
    assert len(rows) == 10
    assert sum(row["default"] for row in rows) <= 1


def test_an_unforeseen_error_ends_with_code_4(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bvverify.cli.commands.app", lambda: 1 / 0)
    monkeypatch.delenv("BVVERIFY_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as stop:
        commands.main()
    assert stop.value.code == ExitCode.INTERNAL_ERROR
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_every_command_has_help() -> None:
    for command in ([], *([name] for name in ("verify", "inspect", "export", "conform", "prove-lowering", "targets"))):
        assert run(*command, "--help").exit_code == 0
