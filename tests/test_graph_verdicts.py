"""Residual and MobileNet blocks, end to end: verdicts are those of enumeration, and violations are replayed."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from bvverify.kernels.target import Target
from bvverify.load import DeployedModel, load_model
from bvverify.queries import LevelBox, PixelBall, Query, Robustness, predicted_class
from bvverify.verify import Verifier, verify_network
from tests.load.graphs import MODELS

REACH = 4
SIDE = 2 * REACH + 1
TARGETS = [Target.parse(name) for name in ("fbgemm/avx512_vnni", "fbgemm/avx2", "qnnpack/sse2")]


@pytest.fixture(scope="module", params=MODELS)
def deployed(request: pytest.FixtureRequest) -> DeployedModel:
    build, shape = MODELS[request.param]
    return load_model(build().eval(), input_shape=shape)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_verdicts_are_those_of_enumeration(deployed: DeployedModel, target: Target, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    outcomes = set()
    with Verifier(deployed, target=target, reproducers=tmp_path) as verifier:
        network = verifier.lowered.network
        for _ in range(3):
            center = rng.integers(40, 200, network.input_shape)
            free = rng.choice(center.size, 2, replace=False)
            lower, upper = center.copy(), center.copy()
            lower.flat[free] -= REACH
            upper.flat[free] += REACH
            points = np.repeat(center[None], SIDE**2, axis=0).reshape(SIDE**2, -1)
            points[:, free] += np.array(list(itertools.product(range(-REACH, REACH + 1), repeat=2)))
            classes = predicted_class(network.evaluate(points.reshape(-1, *network.input_shape)))
            for label in {int(classes[0]), (int(classes[0]) + 1) % network.outputs}:
                question = Robustness(label, network.outputs)
                decision = verify_network(network, LevelBox.of(lower, upper), question, seconds=120)
                assert str(decision.outcome) == ("robust" if (classes == label).all() else "violated")
                outcomes.add(str(decision.outcome))
    assert outcomes == {"robust", "violated"}


def test_a_violation_of_a_graph_is_replayed(tmp_path: Path) -> None:
    build, shape = MODELS["residual"]
    deployed = load_model(build().eval(), input_shape=shape)
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    with Verifier(deployed, target=Target.parse("fbgemm"), reproducers=tmp_path) as verifier:
        label = int(verifier.predictions(image[None].astype(np.float32) / 255)[0])
        wrong = (label + 1) % 3
        verdict = verifier.verify(Query(PixelBall(image, 0), Robustness(wrong, 3)))
    assert (str(verdict.outcome), verdict.prediction) == ("violated", label)
    assert verdict.witness is not None
    assert verdict.witness.replayed
