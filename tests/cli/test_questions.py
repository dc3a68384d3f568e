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
    near = ("--indices", 8, "--radius", 3)
    assert verified(tmp_path, *near)[0] == ExitCode.SOME_VIOLATED
    assert verified(tmp_path, *near, "--forbidden", 7)[0] == ExitCode.ALL_ROBUST
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
    for region in ("pixels", "floats"):
        options = ("--indices", 0, "--region", region, "--box", tmp_path / "box.npz")
        assert_one_line(run("verify", FC1, "--inputs", IMAGES, *options), *words)


def test_radius_finds_what_verify_says(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    result = run("radius", FC1, "--inputs", IMAGES, *FAST, "--indices", "0,8", "--max-radius", 20, "--json", out)
    assert result.exit_code == ExitCode.SOME_VIOLATED, result.output
    rows = json.loads(out.read_text())["results"]
    assert [row["index"] for row in rows] == [0, 8]
    for row in rows:
        span = [*range(row["robust"] + 1), *row["undecided"], *range(row["violated"], 21)]
        assert span == list(range(21))
        for radius, verdict in ((row["robust"], "robust"), (row["violated"], "violated")):
            _, (seen,) = verified(tmp_path, "--indices", row["index"], "--radius", radius)
            assert seen["verdict"] == verdict
        changed = np.rint(np.array(row["witness"]["input"]).reshape(28, 28) * 255) - image(row["index"])
        assert abs(changed).max() == row["violated"]
        (last,) = [one for one in row["asked"] if one["radius"] == row["violated"]]
        assert (last["verdict"], last["replay"]) == ("violated", "replayed")


def test_radius_ends_with_the_codes_of_verify() -> None:
    common = ("radius", FC1, "--inputs", IMAGES, *FAST)
    assert run(*common, "--indices", 0, "--max-radius", 3).exit_code == ExitCode.ALL_ROBUST
    assert run(*common, "--indices", 0, "--max-radius", 7).exit_code == ExitCode.SOME_UNKNOWN
    assert run(*common, "--indices", 0, "--max-radius", 7, "--forbidden", 7).exit_code == ExitCode.ALL_ROBUST
    patched = run(*common, "--indices", 0, "--max-radius", 255, "--patch", "0,0,3,3")
    assert patched.exit_code == ExitCode.ALL_ROBUST, patched.output
    floats = run(*common, "--indices", 0, "--max-radius", 30, "--region", "floats", "--unit", "1/2550")
    assert floats.exit_code == ExitCode.ALL_ROBUST, floats.output


def test_an_interrupted_radius_keeps_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bvverify.verify import Verifier

    original = Verifier.verify

    def interrupted(self: Verifier, query):
        if (query.region.image == image(1).reshape(-1)).all():
            raise KeyboardInterrupt
        return original(self, query)

    monkeypatch.setattr(Verifier, "verify", interrupted)
    out = tmp_path / "out.json"
    result = run("radius", FC1, "--inputs", IMAGES, *FAST, "--indices", "0-3", "--max-radius", 2, "--json", out)
    assert result.exit_code == ExitCode.INTERRUPTED
    written = json.loads(out.read_text())
    assert (written["interrupted"], [row["robust"] for row in written["results"]]) == (True, [2])


def test_range_says_what_is_proved_and_what_attained(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = ("--indices", 0, "--outputs", "3,7", "--radius", "0,1", "--json", out)
    result = run("range", FC1, "--inputs", IMAGES, *FAST, *options)
    assert result.exit_code == ExitCode.SOME_UNKNOWN, result.output
    rows = json.loads(out.read_text())["results"]
    assert [(row["output"], row["radius"]) for row in rows] == [(3, 0), (7, 0), (3, 1), (7, 1)]
    for row in rows:
        assert row["proved"][0] <= row["attained"][0] <= row["attained"][1] <= row["proved"][1]
        assert row["exact"] == [row["proved"][end] == row["attained"][end] for end in (0, 1)]
        assert row["replay"] == "replayed"
        moved = np.rint(np.array(row["inputs"]).reshape(2, 28, 28) * 255) - image(0)
        assert abs(moved).max() <= row["radius"]
    assert [row["exact"] for row in rows[:2]] == [[True, True]] * 2
    assert run("range", FC1, "--inputs", IMAGES, *FAST, *options[:4], "--radius", 0).exit_code == ExitCode.ALL_ROBUST


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["radius", "--max-radius", "3", "--region", "floats", "--unit", "0"], ["unit '0'", "positive"]),
        (["radius", "--max-radius", "3", "--region", "floats", "--unit", "x"], ["'x'"]),
        (["radius", "--max-radius", "3", "--patch", "1,2"], ["ROW,COLUMN"]),
        (["radius", "--max-radius", "3", "--forbidden", "12"], ["forbidden class 12"]),
        (["range", "--outputs", "10"], ["outputs '10'", "below 10"]),
        (["range", "--outputs", "x"], ["outputs 'x'", "0-3,7"]),
        (["range", "--box", str(IMAGES)], ["no array 'lower'"]),
    ],
)
def test_wrong_options_of_the_others_are_one_line(arguments: list[str], words: list[str]) -> None:
    command, *options = arguments
    assert_one_line(run(command, FC1, "--inputs", IMAGES, "--indices", 0, *options), *words)
