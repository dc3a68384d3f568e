"""`bvverify compare`: exit codes, files, and one line for every mistake a user can make."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from bvverify.cli import commands
from bvverify.evidence import Subject, Verdict
from bvverify.exit_codes import ExitCode
from bvverify.search import Outcome
from bvverify.verify import Verifier
from tests.compare.planted import COUNT, DATA, HERE, dense, inputs, layer_bytes, save

DIGITS = ["--inputs", DATA / "digits.npz"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(commands.app, ["compare", *map(str, arguments)], env={"COLUMNS": "160"})


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    """Two models that differ, and their inputs."""
    images = inputs(labels=True)
    np.savez(tmp_path / "inputs.npz", images=images.images, labels=images.labels)
    models = [save(dense(), tmp_path / "before.pt"), save(dense(changed=20), tmp_path / "after.pt")]
    return [*models, tmp_path / "inputs.npz"]


def test_nothing_differs_from_itself(tmp_path: Path) -> None:
    model, path = DATA / "digits.pt", tmp_path / "out.json"
    result = run(model, model, *DIGITS, "--target", "fbgemm", "--json", path)
    assert result.exit_code == ExitCode.ALL_ROBUST, result.output
    assert "No difference: 200 images, the same output bytes and predictions." in result.stdout
    assert result.stdout.count("every byte of every layer confirmed on the real kernel") == 2
    written = json.loads(path.read_text())
    assert (written["differs"], written["count"], written["images"], written["verdicts"]) == (False, 200, [], None)
    assert written["first"] == written["second"]
    assert written["first"]["confirmed"] is True


def test_a_planted_difference_is_written_with_its_images_and_bytes(pair: list[Path], tmp_path: Path) -> None:
    before, after, npz = pair
    path, folder = tmp_path / "out.json", tmp_path / "new" / "folder"
    result = run(before, after, "--inputs", npz, "--target", HERE, "--json", path, "--out", folder)
    assert result.exit_code == ExitCode.SOME_VIOLATED, result.output
    written = json.loads(path.read_text())
    assert json.loads((folder / "comparison.json").read_text()) == written
    assert sorted(one.name for one in folder.iterdir()) == ["comparison.json", "index.html"]
    images = inputs(labels=True)
    bytes_ = {"first": layer_bytes(dense(), images.real), "second": layer_bytes(dense(changed=20), images.real)}
    first, second = bytes_["first"][-1], bytes_["second"][-1]
    assert {row["index"] for row in written["images"]} == set(np.flatnonzero((first != second).any(axis=1)).tolist())
    assert images.labels is not None
    for row in written["images"]:
        index = row["index"]
        assert (row["label"], row["largest"]) == (images.labels[index], np.abs(first - second)[index].max())
        for side, found in bytes_.items():
            expected = {"prediction": int(found[-1][index].argmax()), "bytes": found[-1][index].tolist()}
            assert row[side] == expected
    counts = written["output_bytes"], written["predictions"]["images"]
    differing = first != second
    assert counts == (
        {
            "compared": True,
            "reason": None,
            "images": int(differing.any(axis=1).sum()),
            "bytes": int(differing.sum()),
            "largest": int(np.abs(first - second).max()),
        },
        int((first.argmax(axis=1) != second.argmax(axis=1)).sum()),
    )
    assert [(layer["name"], layer["images"]) for layer in written["layers"]] == [
        ("0", 0),
        ("1", 0),
        ("2", counts[0]["images"]),
    ]
    assert f"Of {COUNT} images, {counts[0]['images']} give other output bytes" in result.stdout


@pytest.mark.usefixtures("no_kernels")
def test_indices_are_those_of_the_file(pair: list[Path], tmp_path: Path) -> None:
    before, after, npz = pair
    path = tmp_path / "out.json"
    run(before, after, "--inputs", npz, "--target", HERE, "--json", path, "--indices", "100-119")
    written = json.loads(path.read_text())
    assert written["count"] == 20
    assert written["images"]
    assert all(100 <= row["index"] < 120 for row in written["images"])


def test_one_model_on_two_targets(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    model = DATA / "digits.pt"
    result = run(model, *DIGITS, "--target", "fbgemm/avx2", "--other-target", "qnnpack", "--json", path)
    written = json.loads(path.read_text())
    assert [written[side]["target"] for side in ("first", "second")] == ["fbgemm/avx2", "qnnpack/sse2"]
    assert written["first"]["model"] == written["second"]["model"]
    assert result.exit_code == (ExitCode.SOME_VIOLATED if written["differs"] else ExitCode.ALL_ROBUST)
    assert "digits.pt: fbgemm/avx2 and qnnpack/sse2" in result.stdout


@pytest.mark.usefixtures("no_kernels")
def test_what_is_not_confirmed_or_not_compared_is_said(pair: list[Path], tmp_path: Path) -> None:
    other = save(dense(zero_point=121), tmp_path / "other.pt")
    result = run(pair[0], other, "--inputs", pair[2], "--target", HERE)
    assert result.exit_code == ExitCode.ALL_ROBUST, result.output
    assert result.stdout.count(f"not confirmed on this machine: no {HERE}") == 2
    assert "output bytes mean different numbers" in result.stdout
    assert "layer 2 not compared; quantization" in result.stdout
    assert f"Of {COUNT} images, none gets another prediction." in result.stdout


@pytest.mark.usefixtures("no_kernels")
def test_bytes_inside_alone_are_a_difference(pair: list[Path], tmp_path: Path) -> None:
    images, other = inputs(), dense(bias=0.3)
    (bytes_, changed) = (layer_bytes(module, images.real) for module in (dense(), other))
    hidden = (bytes_[1] != changed[1]).any(axis=1) & ~(bytes_[2] != changed[2]).any(axis=1)
    index = int(np.flatnonzero(hidden)[0])
    after = save(other, tmp_path / "other.pt")
    result = run(pair[0], after, "--inputs", pair[2], "--target", HERE, "--indices", index)
    assert result.exit_code == ExitCode.SOME_VIOLATED, result.output
    assert "none gives other output bytes and none gets another prediction; bytes inside differ, in layers 1." in (
        result.stdout
    )


@pytest.mark.usefixtures("no_kernels")
def test_verdicts_that_differ(pair: list[Path], tmp_path: Path) -> None:
    before, after, npz = pair
    images, path = inputs(labels=True), tmp_path / "out.json"
    classes = layer_bytes(dense(changed=20), images.real)[-1].argmax(axis=1)
    index = int(np.flatnonzero(classes != images.labels)[0])
    options = ["--region", "floats", "--radius", "0,1/10000", "--json", path, "--indices", index]
    result = run(before, after, "--inputs", npz, "--target", HERE, *options)
    assert result.exit_code == ExitCode.SOME_VIOLATED, result.output
    verdicts = json.loads(path.read_text())["verdicts"]
    assert (verdicts["questions"], verdicts["differ"], verdicts["undecided"]) == (2, 2, 0)
    assert [(row["index"], row["radius"], row["differs"]) for row in verdicts["results"]] == [
        (index, 0, True),
        (index, "1/10000", True),
    ]
    for row in verdicts["results"]:
        assert (row["first"]["verdict"], row["second"]["verdict"]) == ("robust", "violated")
        assert int(np.argmax(row["witness"]["second"])) == classes[index]
    assert "Of 2 questions, 2 have verdicts that differ" in result.stdout


@pytest.mark.usefixtures("no_kernels")
def test_an_undecided_question_leaves_open_whether_something_differs(
    pair: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Verifier.verify

    def unknown(self: Verifier, query: object) -> Verdict:
        return replace(original(self, query), outcome=Outcome.UNKNOWN)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(Verifier, "verify", unknown)
    options = ["--target", HERE, "--indices", "0", "--region", "floats", "--radius", "0"]
    result = run(pair[0], pair[0], "--inputs", pair[2], *options)
    assert result.exit_code == ExitCode.SOME_UNKNOWN, result.output
    assert "Of 1 question, none has verdicts that differ, and 1 is undecided on a side." in result.stdout


def assert_one_line(result: Result, *words: str) -> None:
    assert result.exit_code == ExitCode.USAGE, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def test_wrong_calls_are_one_line(pair: list[Path], tmp_path: Path) -> None:
    before, after, npz = pair
    file = tmp_path / "file"
    file.touch()
    four = save(dense(outputs=4), tmp_path / "four.pt")
    same = [before, after, "--inputs", npz, "--target", HERE]
    for arguments, words in [
        ([before, "--inputs", npz], ["second model", "--other-target"]),
        ([before, four, "--inputs", npz], ["3 outputs", "4", "four.pt"]),
        ([before, after, *DIGITS], ["(64,)", "do not fit"]),
        ([before, DATA / "digits.pt", "--inputs", npz], ["(6,)", "do not fit"]),
        ([before, tmp_path / "missing.pt", "--inputs", npz], ["missing.pt"]),
        ([*same, "--other-target", "cuda"], ["cuda", "known"]),
        ([*same, "--indices", "0-120"], ["index 120"]),
        ([*same, "--radius", "x"], ["radius 'x'"]),
        ([*same, "--radius", "1"], ["uint8", "--region floats"]),
        ([*same, "--out", file], ["file", "cannot be written"]),
        ([*same, "--out", file / "below"], ["below", "cannot be written"]),
        ([*same, "--json", tmp_path], [tmp_path.name, "cannot be written"]),
        ([*same, "--json", tmp_path / "no" / "out.json"], ["cannot be written"]),
    ]:
        assert_one_line(run(*arguments), *words)
    assert {one.name for one in tmp_path.iterdir()} == {"before.pt", "after.pt", "inputs.npz", "file", "four.pt"}


def test_places_that_cannot_be_written_are_noticed_before_the_work(
    pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bvverify.compare.compare_subjects", lambda *_, **__: pytest.fail("too late"))
    options = ["--inputs", pair[2], "--target", HERE]
    for path in (tmp_path, tmp_path / "no" / "out.json"):
        assert_one_line(run(*pair[:2], *options, "--json", path), "cannot be written")
    assert_one_line(run(*pair[:2], *options, "--out", pair[2]), "cannot be written")


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def _interrupted_page(*_: object) -> Iterator[str]:
    yield "<!doctype html>"
    raise KeyboardInterrupt


@pytest.mark.usefixtures("no_kernels")
@pytest.mark.parametrize(
    ("place", "stop"),
    [
        ("bvverify.evidence.Subject.predictions", _interrupt),
        ("bvverify.verify.Verifier.verify", _interrupt),
        ("bvverify.report.comparison.comparison_page", _interrupted_page),
        ("bvverify.cli.output.json.dumps", _interrupt),
    ],
)
def test_an_interrupt_leaves_earlier_files_as_they_were(
    pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, stop: Callable[..., object]
) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "index.html").write_text("earlier")
    before, after, npz = pair
    monkeypatch.setattr(place, stop)
    options = ["--indices", "0-3", "--out", folder, "--region", "floats", "--radius", "0"]
    result = run(before, after, "--inputs", npz, "--target", HERE, *options)
    assert result.exit_code == ExitCode.INTERRUPTED, result.output
    assert [(one.name, one.read_text()) for one in folder.iterdir()] == [("index.html", "earlier")]


def test_a_kernel_that_contradicts_ends_with_code_4(pair: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    original = Subject.__init__

    def wrong(self: Subject, *arguments: object, **options: object) -> None:
        original(self, *arguments, **options)  # type: ignore[arg-type]  # passed through
        layer = self.lowered.layers[-1]
        moved = (*self.lowered.layers[:-1], replace(layer, layout=layer.layout[::-1]))
        self._replayer._lowered = replace(self.lowered, layers=moved)

    monkeypatch.setattr(Subject, "__init__", wrong)
    before, after, npz = pair
    result = run(before, after, "--inputs", npz, "--target", HERE, "--reproducers", before.parent / "kept")
    assert result.exit_code == ExitCode.INTERNAL_ERROR
    assert "reproducer in" in result.stderr
    assert list((before.parent / "kept").iterdir())


def test_the_command_has_help() -> None:
    assert run("--help").exit_code == 0
