"""The step that lowering puts in place of a float32 pipeline equals the pipeline, accumulator by accumulator."""

import numpy as np
import pytest

from bvverify.kernels import fbgemm, onednn, qnnpack
from bvverify.kernels.requantize import Requantization, WeightedLayer
from bvverify.kernels.target import Isa
from bvverify.model import Linear, QuantParams
from bvverify.network import step_of_rule
from harness.generate import weighted as cases


def pipelines(layer: WeightedLayer, source: QuantParams) -> dict[str, Requantization]:
    return {
        "fbgemm": fbgemm.FbgemmRequantization.of(layer, source),
        "onednn": onednn.OneDnnRequantization.of(layer, source, avx2=False),
        "onednn, scales premultiplied": onednn.OneDnnRequantization.of(layer, source, avx2=True),
        "qnnpack": qnnpack.QnnpackRequantization.of(layer, source),
    }


@pytest.mark.parametrize("seed", range(25))
def test_steps_equal_their_pipelines_and_pipelines_do_not_decrease(seed: int) -> None:
    rng = np.random.default_rng([seed, 2])
    model = cases.linear_model(rng)
    layer = next(layer for layer in model.layers if isinstance(layer, Linear))
    reach = np.abs(layer.weight.centered).sum(axis=1) * 255
    for name, pipeline in pipelines(layer, model.layers[0].output).items():
        if pipeline.refusal(-reach, reach) is not None:
            continue
        step = step_of_rule(pipeline.bytes_of, lower=-reach, upper=reach, base=0, top=255)
        ends = -reach[:, None], reach[:, None]
        near = np.clip(step.thresholds, *ends)[:, :, None] + np.arange(-2, 2)
        near = np.clip(near.reshape(len(reach), -1), *ends)
        anywhere = rng.integers(-reach[:, None], reach[:, None] + 1, (len(reach), 3000))
        accumulators = np.sort(np.concatenate([near, anywhere], axis=1), axis=1)
        expected = pipeline.bytes_of(accumulators)
        assert (np.diff(expected, axis=1) >= 0).all(), name
        assert (expected == step.apply(accumulators.T).T).all(), name


def test_vnni_is_the_only_instruction_set_with_exact_sums_in_fbgemm() -> None:
    layer = next(layer for layer in cases.linear_model(np.random.default_rng(0)).layers if isinstance(layer, Linear))
    exact = {isa: fbgemm.kernel(layer, QuantParams(1.0, 0), isa).accumulation.value for isa in Isa}
    assert exact.pop(Isa.AVX512_VNNI) == "exact"
    assert set(exact.values()) == {"saturating pairs"}
