"""The assertion for other people's test suites."""

from pathlib import Path

import numpy as np
import pytest

import bvverify as bv
from bvverify.errors import InputError, UsageError
from bvverify.search import attacks, pipeline
from bvverify.search.attack import Attacked
from bvverify.testing import assert_robust

DATA = Path(__file__).parent / "data"
MODEL = DATA / "digits.pt"
SMALL = {"region": "floats", "radius": "1/1000", "target": "qnnpack"}


@pytest.fixture(scope="module")
def digits() -> dict[str, np.ndarray]:
    with np.load(DATA / "digits.npz") as data:
        return {name: data[name][:5] for name in data}


def test_robust_inputs_pass(digits: dict[str, np.ndarray]) -> None:
    verdicts = assert_robust(MODEL, digits["images"], digits["labels"], **SMALL)
    assert [verdict.outcome for verdict in verdicts] == [bv.Outcome.ROBUST] * 5
    assert len(assert_robust(bv.load_model(MODEL), digits["images"], **SMALL)) == 5


def test_violated_inputs_are_listed(digits: dict[str, np.ndarray]) -> None:
    labels = digits["labels"].tolist()
    labels[3] = (labels[3] + 1) % 10
    with pytest.raises(AssertionError) as caught:
        assert_robust(MODEL, digits["images"], labels, **SMALL)
    first, second = str(caught.value).splitlines()
    assert first == "digits.pt on qnnpack/sse2, radius 1/1000: 1 of 5 inputs are not shown to be robust"
    assert second.startswith(f"  input 3, label {labels[3]}: violated, the input itself is classified as ")
    assert second.endswith("(replayed)")


def test_inputs_that_the_search_violates_are_listed(digits: dict[str, np.ndarray]) -> None:
    with pytest.raises(AssertionError, match=r"input 0, label \d: violated, an input within the radius is classified"):
        assert_robust(MODEL, digits["images"][:1], **(SMALL | {"radius": "1/8"}))


def test_undecided_inputs_fail_unless_they_are_allowed(
    digits: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    hard = SMALL | {"radius": "1/8", "timeout": 0.3}
    monkeypatch.setattr(attacks, "attack", lambda *_, **__: Attacked(None, 1.0))
    for stage in ("_branch", "_ilp"):
        monkeypatch.setattr(pipeline._Pipeline, stage, lambda *_, **__: None)
    with pytest.raises(AssertionError, match=r"input 0: unknown, time: 0\.3 s"):
        assert_robust(MODEL, digits["images"][:1], **hard)
    (verdict,) = assert_robust(MODEL, digits["images"][:1], allow_unknown=True, **hard)
    assert verdict.outcome is bv.Outcome.UNKNOWN


def test_long_lists_are_cut(digits: dict[str, np.ndarray]) -> None:
    images = np.repeat(digits["images"], 3, axis=0)
    with pytest.raises(AssertionError, match="and 5 more"):
        assert_robust(MODEL, images, (np.repeat(digits["labels"], 3) + 1) % 10, **SMALL)


def test_wrong_arguments_are_errors_of_their_own(digits: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError, match="pixel region"):
        assert_robust(MODEL, digits["images"], radius=1)
    with pytest.raises(InputError):
        assert_robust(MODEL, digits["images"][:, :10], **SMALL)
    with pytest.raises(UsageError, match="unknown target"):
        assert_robust(MODEL, digits["images"], **(SMALL | {"target": "nothing"}))
