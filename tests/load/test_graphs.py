"""Models that are graphs: what is read, and that every byte of every layer is the kernel's, on every target."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bvverify.errors import NotExact
from bvverify.evidence import Replayer
from bvverify.kernels.availability import unavailable
from bvverify.kernels.lower import lower
from bvverify.kernels.target import TARGETS, Engine, Isa, Target
from bvverify.load import DeployedModel, load_model
from bvverify.model import Add, Cat, Conv2d

from .graphs import MODELS, Branches, Residual


@pytest.fixture(scope="module", params=MODELS)
def deployed(request: pytest.FixtureRequest) -> DeployedModel:
    build, shape = MODELS[request.param]
    return load_model(build().eval(), input_shape=shape)


KNOWN_REFUSAL = "oneDNN's .* convolutions pair saturating"


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_every_byte_is_the_kernels(deployed: DeployedModel, target: Target) -> None:
    if (reason := unavailable(deployed.model, target)) is not None:
        pytest.skip(reason)
    convolves = any(isinstance(layer, Conv2d) for layer in deployed.model.layers)
    if convolves and target.engine is Engine.ONEDNN and target.isa is not Isa.AVX512_VNNI:
        with pytest.raises(NotExact, match=KNOWN_REFUSAL):
            lower(deployed.model, target)
        return
    lowered = lower(deployed.model, target)
    inputs = np.random.default_rng(0).normal(size=(50, *deployed.model.input_shape)).astype(np.float32) * 8
    with Replayer(deployed, lowered, reproducers=Path("unused")) as replayer:
        replayer.confirm(inputs)  # raises if any byte of any layer differs


def test_sources_name_the_values_that_a_layer_reads() -> None:
    model = load_model(Residual().eval(), input_shape=(1, 6, 6)).model
    (index,) = [number for number, layer in enumerate(model.layers) if isinstance(layer, Add)]
    assert [model.layers[source - 1].name for source in model.sources[index]] == ["left", "right"]
    assert len({model.sources[index - 1], model.sources[index - 2]}) == 1  # both branches read the stem


def test_layers_that_do_not_reach_the_output_are_left_out() -> None:
    class Unused(Branches):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(self.quant(x))
            self.leaky(x)
            return self.head(x).dequantize()

    names = [layer.name for layer in load_model(Unused().eval(), input_shape=(12,)).model.layers]
    assert names == ["quant", "first", "head", "dequantize"]


def test_cat_of_one_scale_takes_the_first() -> None:
    class Plain(Branches):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.quant(x)
            return torch.cat([x, x], dim=1).dequantize()

    model = load_model(Plain().eval(), input_shape=(12,)).model
    (cat,) = [layer for layer in model.layers if isinstance(layer, Cat)]
    assert (cat.axis, cat.output.scale) == (0, model.layers[0].output.scale)
