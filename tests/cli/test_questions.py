"""Questions beside robustness in a ball, from the command line: forbidden classes, patches and boxes."""

import json
from pathlib import Path

import numpy as np
import pytest

from bvverify.exit_codes import ExitCode
from tests.cli.test_commands import DIGITS, FC1, IMAGES, assert_one_line, run

FAST = ("--target", "fbgemm", "--stages", "intervals,bounds,attack")


def verified(folder: Path, *arguments: object) -> tuple[int, list[dict]]:
    out = folder / "out.json"
    result = run("verify", FC1, "--inputs", IMAGES, *FAST, *arguments, "--json", out)
    assert out.exists(), result.output
    return result.exit_code, json.loads(out.read_text())["results"]


def image(index: int) -> np.ndarray:
    with np.load(IMAGES) as file:
        return file["images"][index]


def test_only_the_patch_changes(tmp_path: Path) -> None:
    code, (row,) = verified(tmp_path, "--indices", 0, "--radius", 255, "--patch", "8,8,12,10")
    assert (code, row["verdict"], row["replay"]) == (ExitCode.SOME_VIOLATED, "violated", "replayed")
    changed = np.rint(np.array(row["witness"]["input"]).reshape(28, 28) * 255) != image(0)
    assert changed[8:20, 8:18].any()
    changed[8:20, 8:18] = False
    assert not changed.any()
    assert verified(tmp_path, "--indices", 0, "--radius", 255, "--patch", "0,0,3,3")[0] == ExitCode.ALL_ROBUST


def test_a_box_gives_every_pixel_its_ends(tmp_path: Path) -> None:
    with np.load(IMAGES) as file:
        images = file["images"]
    lower, upper = images.copy(), images.copy()
    lower[1, 8:20, 8:18], upper[1, 8:20, 8:18] = 0, 255
    np.savez(tmp_path / "box.npz", lower=lower, upper=upper)
    for region in ("pixels", "floats"):
        code, rows = verified(tmp_path, "--indices", "0,1", "--box", tmp_path / "box.npz", "--region", region)
        assert code == ExitCode.SOME_VIOLATED
        assert [(row["verdict"], row["radius"]) for row in rows] == [("robust", None), ("violated", None)]


def test_a_forbidden_class_is_asked_of_all_other_labels(tmp_path: Path) -> None:
    patch = ("--radius", 255, "--patch", "8,8,12,10", "--indices", "0,1")  # labels 7 and 2
    code, rows = verified(tmp_path, *patch)
    taken = [int(np.argmax(row["witness"]["outputs"])) for row in rows]
    for number, label in enumerate((7, 2)):
        code, rows = verified(tmp_path, *patch, "--forbidden", taken[number])
        assert code == ExitCode.SOME_VIOLATED
        row = next(row for row in rows if row["index"] == number)
        assert int(np.argmax(row["witness"]["outputs"])) == taken[number]
        assert row["label"] == label
    code, rows = verified(tmp_path, "--indices", "0,1", "--forbidden", 7)
    assert (code, [row["index"] for row in rows]) == (ExitCode.ALL_ROBUST, [1])


def test_a_run_keeps_patches_apart(tmp_path: Path) -> None:
    from bvverify.runs.store import Store

    common = ("run", "--model", FC1, "--inputs", IMAGES, "--indices", 0, "--radius", 255, "--store", tmp_path / "r.db")
    for patch, code in (("0,0,3,3", ExitCode.ALL_ROBUST), ("8,8,12,10", ExitCode.SOME_VIOLATED)):
        result = run(*common, *FAST, "--patch", patch)
        assert result.exit_code == code, result.output
    with Store(tmp_path / "r.db") as store:
        found = {result.region: str(result.outcome) for result in store.results()}
    assert found == {"pixels patch 0,0,3,3": "robust", "pixels patch 8,8,12,10": "violated"}
    assert_one_line(run(*common, "--patch", "20,0,9,1"), "28 rows and 28 columns")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--patch", "1,2,3"], ["ROW,COLUMN,HEIGHT,WIDTH"]),
        (["--patch", "0,20,1,9"], ["leaves the image", "28 columns"]),
        (["--forbidden", "10"], ["forbidden class 10", "10 outputs"]),
        (["--box", "nowhere.npz"], ["nowhere.npz", "No such file"]),
        (["--box", str(IMAGES)], ["no array 'lower'", "images, labels"]),
        (["--box", str(IMAGES), "--patch", "0,0,1,1"], ["leave out"]),
        (["--box", str(IMAGES), "--radius", "3"], ["leave out"]),
    ],
)
def test_wrong_options_are_one_line(options: list[str], words: list[str]) -> None:
    assert_one_line(run("verify", FC1, "--inputs", IMAGES, *options), *words)


def test_a_patch_of_flat_inputs_is_one_line() -> None:
    result = run("verify", DIGITS / "digits.pt", "--inputs", DIGITS / "digits.npz", "--patch", "0,0,1,1")
    assert_one_line(result, "(64,)", "no images")


@pytest.mark.parametrize(
    ("lower", "words"),
    [
        (np.zeros((100, 784), dtype=np.uint8), ["'lower'", "(100, 784)", "(100, 28, 28)"]),
        (np.zeros((100, 28, 28), dtype=np.float32), ["float32", "uint8"]),
        (np.full((100, 28, 28), 200, dtype=np.uint8), ["outside of its ends"]),
    ],
)
def test_ends_that_do_not_fit_are_one_line(lower: np.ndarray, words: list[str], tmp_path: Path) -> None:
    np.savez(tmp_path / "box.npz", lower=lower, upper=np.full((100, 28, 28), 255, dtype=np.uint8))
    assert_one_line(run("verify", FC1, "--inputs", IMAGES, "--indices", 0, "--box", tmp_path / "box.npz"), *words)
