"""Small networks that tell targets apart: they must verify differently, as the real kernels decide."""

import numpy as np
import pytest

from bvverify.errors import NotExact
from bvverify.kernels.availability import unavailable
from bvverify.kernels.lower import lower
from bvverify.kernels.target import TARGETS, Target
from bvverify.queries import LevelBox, Robustness, predicted_class
from bvverify.verify import verify_network
from harness.detectors import DETECTORS, Detector
from harness.pool import KernelPool

detectors = pytest.mark.parametrize("detector", DETECTORS, ids=lambda detector: detector.name)


def outcome(detector: Detector, lowered_for: Target) -> str:
    """Return the verdict on the class that most targets give."""
    network = lower(detector.model, lowered_for).network
    question = Robustness(detector.usual, network.outputs)
    box = LevelBox.of(detector.lower, detector.upper)
    return str(verify_network(network, box, question, seconds=60).outcome)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@detectors
def test_the_verdict_is_the_targets(detector: Detector, target: Target) -> None:
    try:
        found = outcome(detector, target)
    except NotExact as refusal:
        message = str(refusal)
    else:
        assert found == ("violated" if target in detector.concerned else "robust")
        return
    assert "convolutions pair saturating products" in message


@pytest.mark.parametrize("target", TARGETS, ids=str)
@detectors
def test_the_kernel_decides_so(pool: KernelPool, detector: Detector, target: Target) -> None:
    if (reason := target.unavailable() or unavailable(detector.model, target)) is not None:
        pytest.skip(reason)
    corners = np.stack([detector.lower, detector.upper]).astype(np.uint8)
    (result,) = pool.run(target, [(detector.model, corners)])
    assert not isinstance(result, str), result
    outputs = list(result.values())[-1].reshape(2, -1).astype(np.int64)
    assert (predicted_class(outputs) == detector.expected(target)).all()


@detectors
def test_a_verifier_that_ignores_the_target_is_found_out(detector: Detector) -> None:
    verdicts = {outcome(detector, target) for target in (*detector.concerned, Target.parse("x86/avx512_vnni"))}
    assert verdicts == {"robust", "violated"}
