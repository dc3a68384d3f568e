"""Replay: a prediction or a witness that the kernel does not confirm stops everything, and leaves a reproducer."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from bvverify.errors import InternalError
from bvverify.evidence import Replayer
from bvverify.kernels.lower import LoweredModel, lower
from bvverify.kernels.target import Target
from bvverify.load import DeployedModel, load_model
from bvverify.load.inputs import read_images
from bvverify.network import Affine, Node, Step, StepNetwork
from bvverify.queries import Robustness

DATA = Path(__file__).parents[1] / "data"
TARGET = Target.parse("qnnpack")


@pytest.fixture(scope="module")
def deployed() -> DeployedModel:
    return load_model(DATA / "digits.pt")


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    return read_images(DATA / "digits.npz").real[:20]


def with_nodes(lowered: LoweredModel, change: dict[int, object]) -> LoweredModel:
    network = lowered.network
    nodes = tuple(Node(change.get(i, node.operation), node.inputs) for i, node in enumerate(network.nodes))
    return dataclasses.replace(lowered, network=StepNetwork(network.lower, network.upper, nodes))


def shifted(step: Step, amount: int) -> Step:
    finite = np.abs(step.thresholds) < 2**60
    return Step(step.base, np.where(finite, step.thresholds + amount, step.thresholds))


@pytest.fixture
def replayer(deployed: DeployedModel, tmp_path: Path) -> Iterator[Replayer]:
    with Replayer(deployed, lower(deployed.model, TARGET), reproducers=tmp_path) as replayer:
        yield replayer


def test_the_kernel_confirms_what_was_lowered(replayer: Replayer, real: np.ndarray) -> None:
    run = replayer.confirm(real)
    assert run.output.shape == (len(real), 10)


def test_a_wrong_threshold_is_noticed_and_leaves_a_reproducer(
    deployed: DeployedModel, real: np.ndarray, tmp_path: Path
) -> None:
    lowered = lower(deployed.model, TARGET)
    step = lowered.network.nodes[1].operation
    assert isinstance(step, Step)
    wrong = with_nodes(lowered, {1: shifted(step, 60)})
    complaint = pytest.raises(InternalError, match=r"layer fc1.*reproducer in")
    with Replayer(deployed, wrong, reproducers=tmp_path) as replayer, complaint:
        replayer.confirm(real)
    (folder,) = tmp_path.iterdir()
    assert json.loads((folder / "facts.json").read_text())["target"] == "qnnpack/sse2"
    with np.load(folder / "bytes.npz") as arrays:
        assert (arrays["kernel fc1"] != arrays["predicted fc1"]).any()
    assert torch.jit.load(folder / "model.pt")(torch.from_numpy(real)).shape == (len(real), 10)


def test_a_wrong_output_order_is_noticed_even_where_all_layers_agree(
    deployed: DeployedModel, real: np.ndarray, tmp_path: Path
) -> None:
    lowered = lower(deployed.model, TARGET)
    last = lowered.network.nodes[-2].operation
    assert isinstance(last, Affine)
    swapped = Affine(last.weight[:, ::-1], last.offset[::-1])
    wrong = with_nodes(lowered, {len(lowered.network.nodes) - 2: swapped})
    wrong = dataclasses.replace(wrong, layers=wrong.layers[:-1])
    with Replayer(deployed, wrong, reproducers=tmp_path) as replayer, pytest.raises(InternalError, match="order"):
        replayer.confirm(real)


def test_a_witness_that_violates_nothing_on_the_kernel_is_an_internal_error(
    replayer: Replayer, real: np.ndarray
) -> None:
    label = int(replayer.confirm(real[:1]).output.argmax())
    with pytest.raises(InternalError, match="does not violate"):
        replayer.confirm_violation(real[0], Robustness(label, 10))
    replayer.confirm_violation(real[0], Robustness((label + 1) % 10, 10))
