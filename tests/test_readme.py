"""The examples of the README run."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


def test_the_model_example_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT / "benchmarks" / "eqv" / "models")
    with np.load(ROOT / "benchmarks" / "eqv" / "images.npz") as file:
        image = file["images"][17].reshape(-1)  # a 7 that intervals decide on every target
    exec(BLOCKS[0].replace("model.pt", "FC1-100.pt"), {"image": image})
    assert capsys.readouterr().out.startswith("robust intervals")


def test_the_example_built_by_hand_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(BLOCKS[1], {})
    assert capsys.readouterr().out == "violated [[2 1]]\n"


def test_there_are_no_other_examples() -> None:
    assert len(BLOCKS) == 2
