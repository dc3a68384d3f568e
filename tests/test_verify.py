"""The whole corridor: verdicts of Verifier and verify_network."""

from pathlib import Path

import numpy as np
import pytest

import bvverify as bv
from bvverify.errors import InputError
from bvverify.load.inputs import read_images
from bvverify.verify import summary

DATA = Path(__file__).parent / "data"
TARGETS = ["fbgemm", "x86", "onednn", "qnnpack"]


@pytest.fixture(scope="module")
def model() -> bv.DeployedModel:
    return bv.load_model(DATA / "digits.pt")


def query(model: bv.DeployedModel, index: int, radius: str, tie: bv.TieRule = bv.TieRule.LOWEST_INDEX) -> bv.Query:
    from fractions import Fraction

    data = read_images(DATA / "digits.npz")
    assert data.labels is not None
    ball = bv.FloatBall(data.real[index], Fraction(radius), (Fraction(0), Fraction(1)))
    return bv.Query(ball, bv.Robustness(int(data.labels[index]), 10, tie))


@pytest.mark.parametrize("engine", TARGETS)
def test_every_engine_confirms_predictions_and_decides(model: bv.DeployedModel, engine: str) -> None:
    target = bv.Target.parse(engine)
    with bv.Verifier(model, target=target, seconds=10) as verifier:
        assert verifier.replay_refusal is None
        verifier.predictions(read_images(DATA / "digits.npz").real)
        verdict = verifier.verify(query(model, 0, "1/1000"))
    assert (verdict.outcome, verdict.target) == (bv.Outcome.ROBUST, str(target))


@pytest.mark.parametrize("stage", [bv.Stage.ATTACK, bv.Stage.BITVECTOR])
def test_a_violation_that_a_stage_finds_is_replayed(model: bv.DeployedModel, stage: bv.Stage) -> None:
    """One free pixel over its whole range, on an image that it can flip: the region is given through `clip`."""
    data = read_images(DATA / "digits.npz")
    assert data.labels is not None
    target = bv.Target.parse("qnnpack")
    with bv.Verifier(model, target=target, seconds=30, stages=(stage,)) as verifier:
        lowered = verifier.lowered
        levels = lowered.quantizer.levels(data.real)
        found = _flippable(lowered, levels, data.labels)
        region = _FreePixels(data.real[found.index], found.pixels)
        verdict = verifier.verify(bv.Query(region, bv.Robustness(int(data.labels[found.index]), 10)))
    assert verdict.outcome is bv.Outcome.VIOLATED
    assert verdict.stage == stage
    assert verdict.witness is not None
    assert verdict.witness.replayed
    unchanged = np.ones(64, dtype=bool)
    unchanged[list(found.pixels)] = False
    assert (verdict.witness.real[unchanged] == data.real[found.index][unchanged]).all()


class _FreePixels:
    """A region of a user's own: some pixels take any level, the others keep theirs."""

    def __init__(self, image: np.ndarray, pixels: tuple[int, ...]) -> None:
        self._image, self._pixels = image, list(pixels)

    def center(self) -> np.ndarray:
        return self._image

    def levels(self, quantization: object, /) -> bv.LevelBox:
        own = quantization.levels(self._image)
        lower, upper = own.copy(), own.copy()
        lower[self._pixels], upper[self._pixels] = quantization.levels(np.array([0, 1], dtype=np.float32))
        return bv.LevelBox.of(lower, upper)

    def real_input(self, levels: np.ndarray, quantization: object, /) -> np.ndarray:
        grid = np.arange(0, 1.0001, 1 / 4096, dtype=np.float32)
        real = self._image.copy()
        for pixel in self._pixels:
            real[pixel] = grid[np.argmax(quantization.levels(grid) == levels[pixel])]
        return real


class _Found:
    def __init__(self, index: int, pixels: tuple[int, ...]) -> None:
        self.index, self.pixels = index, pixels


def _flippable(lowered: bv.LoweredModel, levels: np.ndarray, labels: np.ndarray) -> _Found:
    outputs = lowered.network.evaluate(levels)
    for index in range(len(levels)):
        if outputs[index].argmax() != labels[index]:
            continue
        for pixel in range(64):
            changed = np.repeat(levels[index][None], 128, axis=0)
            changed[:, pixel] = np.arange(128)
            if (lowered.network.evaluate(changed).argmax(axis=1) != labels[index]).any():
                return _Found(index, (pixel,))
    raise AssertionError("no image that one pixel can flip")


def test_a_misclassified_input_is_a_violation_of_its_own(model: bv.DeployedModel) -> None:
    data = read_images(DATA / "digits.npz")
    assert data.labels is not None
    with bv.Verifier(model, target=bv.Target.parse("qnnpack")) as verifier:
        predicted = verifier.predictions(data.real)
        wrong = int(np.argmax(predicted != data.labels))
        verdict = verifier.verify(query(model, wrong, "1/255"))
    assert predicted[wrong] != data.labels[wrong]
    assert (verdict.outcome, verdict.stage) == (bv.Outcome.VIOLATED, "misclassified")
    assert verdict.witness is not None
    assert (verdict.witness.real == data.real[wrong]).all()
    assert str(int(predicted[wrong])) in verdict.reason


def test_a_target_that_cannot_run_here_is_verified_without_replay(
    model: bv.DeployedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bvverify.kernels.target.cpu_flags", lambda: frozenset({"sse2"}))
    data = read_images(DATA / "digits.npz")
    with bv.Verifier(model, target=bv.Target.parse("fbgemm/avx2")) as verifier:
        label = (int(verifier.predictions(data.real[:1])[0]) + 1) % 10
        region = query(model, 0, "1/255").region
        verdict = verifier.verify(bv.Query(region, bv.Robustness(label, 10)))
    assert verdict.outcome is bv.Outcome.VIOLATED
    assert verdict.witness is not None
    assert not verdict.witness.replayed
    assert verdict.witness.replay == "not made: this CPU lacks avx2, fma"


def test_shapes_are_checked(model: bv.DeployedModel) -> None:
    with bv.Verifier(model, target=bv.Target.parse("qnnpack")) as verifier:
        with pytest.raises(InputError, match=r"\(64,\)"):
            verifier.verify(bv.Query(bv.PixelBall(np.zeros((8, 8), np.uint8), 1), bv.Robustness(0, 10)))
        with pytest.raises(InputError, match="10 outputs"):
            verifier.verify(bv.Query(bv.PixelBall(np.zeros(64, np.uint8), 1), bv.Robustness(0, 9)))


def test_a_network_built_by_hand_is_decided_for_all_tie_rules() -> None:
    builder = bv.NetworkBuilder(lower=[0], upper=[15])
    builder.dense([[1], [1]], [0, 0])
    builder.step(bv.shift_rule(multiplier=np.array([1, 1]), shift=0, zero_point=0, lower=0, upper=15))
    network, box = builder.build(), bv.LevelBox.of([3], [9])
    outcome = {
        (label, tie): bv.verify_network(network, box, bv.Robustness(label, 2, tie)).outcome
        for label in (0, 1)
        for tie in bv.TieRule
    }
    robust = {key for key, value in outcome.items() if value is bv.Outcome.ROBUST}
    assert robust == {
        (0, bv.TieRule.LOWEST_INDEX),
        (0, bv.TieRule.NO_TIE_VIOLATES),
        (1, bv.TieRule.NO_TIE_VIOLATES),
    }
    with pytest.raises(InputError, match="domain"):
        bv.verify_network(network, bv.LevelBox.of([3], [16]), bv.Robustness(0, 2))
    with pytest.raises(InputError, match="shape"):
        bv.verify_network(network, bv.LevelBox.of([3, 3], [4, 4]), bv.Robustness(0, 2))


def test_summary_counts_outcomes(model: bv.DeployedModel) -> None:
    with bv.Verifier(model, target=bv.Target.parse("qnnpack")) as verifier:
        verdicts = [verifier.verify(query(model, 0, "1/1000"))]
    assert summary(verdicts) == {"robust": 1, "violated": 0, "unknown": 0}
