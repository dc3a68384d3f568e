"""Every layer of the committed networks against the real kernels, on every target that this machine can force."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bvverify.kernels.lower import LoweredModel
from bvverify.kernels.target import TARGETS, Engine, Isa, Target
from bvverify.load import load_model_for
from bvverify.load.inputs import read_images
from harness import model_bytes

EQV = Path(__file__).parents[2] / "benchmarks" / "eqv"
NETWORKS = ["FC1-100", "FC2-100", "FC2-256", "FC2-512", "FC3-100", "CNN1", "CNN2"]
IMAGES = 20
CORNERS = 60


def compared(network: str, target: Target) -> model_bytes.Comparison:
    deployed, images = load_model_for(EQV / "models" / f"{network}.pt", read_images(EQV / "images.npz"))
    corners = model_bytes.corners(CORNERS, deployed.model.input_shape, seed=1)
    return model_bytes.compare(deployed, target, np.concatenate([images.real[:IMAGES], corners]))


def assert_equal(result: model_bytes.Comparison) -> None:
    if not result.refusal:
        assert result.different == 0, result.first_difference
        assert result.compared > (IMAGES + CORNERS) * 784


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("engine", ["fbgemm", "x86", "onednn", "qnnpack"])
def test_every_layer_has_the_kernels_bytes(network: str, engine: str) -> None:
    target = Target.parse(engine)
    result = compared(network, target)
    if network.startswith("CNN") and target.engine is Engine.ONEDNN and target.isa is not Isa.AVX512_VNNI:
        assert "convolutions pair saturating products is not modelled" in result.refusal
    else:
        assert not result.refusal
        assert_equal(result)


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_every_layer_has_the_kernels_bytes_on_every_instruction_set(network: str, target: Target) -> None:
    assert_equal(compared(network, target))


def test_a_wrong_prediction_is_counted_and_located(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    honest = LoweredModel.layer_bytes

    def wrong(self: LoweredModel, inputs: np.ndarray) -> dict[str, np.ndarray]:
        predicted = honest(self, inputs)
        predicted["fc2"][3, 7] += 1
        return predicted

    monkeypatch.setattr(LoweredModel, "layer_bytes", wrong)
    monkeypatch.setattr(model_bytes, "TARGETS", (Target.parse("qnnpack"),))
    page = tmp_path / "page.md"
    arguments = [EQV / "models" / "FC1-100.pt", "--inputs", EQV / "images.npz", "--out", page]
    app = model_bytes.typer.Typer()
    app.command()(model_bytes.main)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 1
    assert "1 different, first at image 3, layer fc2" in result.output
    assert "| FC1-100.pt | qnnpack/sse2 | 100 | 89,400 | 1 |" in page.read_text()
