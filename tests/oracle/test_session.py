from collections.abc import Iterator

import numpy as np
import pytest
import torch

from bvverify.errors import NotExact, TargetUnavailable
from bvverify.kernels.lower import lower
from bvverify.kernels.target import Engine, Isa, Target
from bvverify.load import DeployedModel, load_model
from bvverify.oracle import KernelSession
from tests.models import conv2d, converted, linear, quantized_weight, small_convolutional, small_dense

RUNTIME = "2.13.0"
RNG = np.random.default_rng(5)


def session(deployed: DeployedModel, target: Target, *, runtime: str = RUNTIME) -> KernelSession:
    return KernelSession(deployed.script, engine=target.engine.value, environment=target.environment(), runtime=runtime)


@pytest.fixture(scope="module")
def dense() -> DeployedModel:
    return load_model(small_dense())


@pytest.fixture(scope="module")
def on_fbgemm(dense: DeployedModel) -> Iterator[KernelSession]:
    with session(dense, Target.parse("fbgemm")) as opened:
        yield opened


@pytest.mark.parametrize("text", ["fbgemm/avx2", "x86", "onednn", "qnnpack"])
def test_a_run_gives_each_layers_bytes_as_lowering_predicts(dense: DeployedModel, text: str) -> None:
    target = Target.parse(text)
    if (reason := target.unavailable()) is not None:
        pytest.skip(reason)
    x = RNG.uniform(-0.5, 2.5, (20, 6)).astype(np.float32)
    lowered = lower(dense.model, target)
    expected = lowered.layer_bytes(lowered.quantizer.levels(x))
    with session(dense, target) as opened:
        run = opened.run(x)
    assert list(run.layers) == list(expected) == [layer.name for layer in dense.model.layers[:-1]]
    assert all((run.layers[name] == expected[name]).all() for name in expected)


@pytest.mark.parametrize("engine", ["fbgemm", "x86", "onednn", "qnnpack"])
def test_a_convolutional_model_gives_the_predicted_bytes(engine: str) -> None:
    target = Target.parse(engine)
    deployed = load_model(small_convolutional(), input_shape=(2, 6, 5))
    if target.engine is Engine.ONEDNN and target.isa is not Isa.AVX512_VNNI:
        with pytest.raises(NotExact, match="convolutions pair saturating products is not modelled"):
            lower(deployed.model, target)
        return
    x = RNG.uniform(-0.1, 2.1, (20, 2, 6, 5)).astype(np.float32)
    lowered = lower(deployed.model, target)
    expected = lowered.layer_bytes(lowered.quantizer.levels(x))
    with session(deployed, target) as opened:
        run = opened.run(x)
    assert set(expected) <= set(run.layers)
    assert all((run.layers[name] == expected[name]).all() for name in expected)


def test_the_output_is_what_the_model_itself_returns(dense: DeployedModel, on_fbgemm: KernelSession) -> None:
    x = RNG.uniform(-0.5, 2.5, (20, 6)).astype(np.float32)
    run = on_fbgemm.run(x)
    last = run.layers[dense.model.layers[-2].name]
    params = dense.model.layers[-2].output
    assert run.output.dtype == np.float32
    assert (run.output == (last.astype(np.float32) - params.zero_point) * np.float32(params.scale)).all()
    assert (run.output == small_dense()(torch.from_numpy(x)).numpy()).all()


def test_each_run_answers_for_its_own_inputs(on_fbgemm: KernelSession) -> None:
    x = RNG.uniform(-0.5, 2.5, (3, 6)).astype(np.float32)
    together = on_fbgemm.run(x)
    one_by_one = [on_fbgemm.run(x[i : i + 1]) for i in range(3)]
    assert (together.output == np.concatenate([run.output for run in one_by_one])).all()


def test_inputs_need_not_be_contiguous(on_fbgemm: KernelSession) -> None:
    x = RNG.uniform(-0.5, 2.5, (6, 4)).astype(np.float32)
    assert (on_fbgemm.run(x.T).output == on_fbgemm.run(np.ascontiguousarray(x.T)).output).all()


def test_inputs_that_the_kernels_reject_are_told_and_the_session_goes_on(on_fbgemm: KernelSession) -> None:
    with pytest.raises(TargetUnavailable, match="the fbgemm kernels failed on this input: ") as failure:
        on_fbgemm.run(np.zeros((1, 7), dtype=np.float32))
    assert "\n" not in str(failure.value)
    assert on_fbgemm.run(np.zeros((1, 6), dtype=np.float32)).output.shape == (1, 3)


def test_another_version_of_torch_is_refused(dense: DeployedModel) -> None:
    with pytest.raises(TargetUnavailable, match=r"torch 2\.13\.0 is installed; the kernels of torch 1\.0\.0"):
        session(dense, Target.parse("qnnpack"), runtime="1.0.0")


def test_a_model_that_the_engine_cannot_load_is_told() -> None:
    weight = quantized_weight([[1, 2]], scale=1.0, zero_point=1)
    deployed = load_model(converted(linear(weight)))
    with pytest.raises(TargetUnavailable, match="engine onednn cannot load this model: ") as failure:
        session(deployed, Target.parse("onednn"))
    assert "\n" not in str(failure.value)


def test_content_that_is_no_model_is_told() -> None:
    with pytest.raises(TargetUnavailable, match="engine fbgemm cannot load this model"):
        KernelSession(b"no model", engine="fbgemm", environment={}, runtime=RUNTIME)


def test_the_session_s_engine_decides_not_the_engine_under_which_the_model_was_saved() -> None:
    """An FBGEMM depthwise convolution saturates; the same file under QNNPACK does not."""
    weight = quantized_weight(np.full((8, 1, 3, 3), 127), scale=1.0)
    before = torch.backends.quantized.engine
    results = {}
    try:
        for saved_under, engine in (("fbgemm", "qnnpack"), ("qnnpack", "fbgemm")):
            torch.backends.quantized.engine = saved_under
            depthwise = converted(conv2d(weight, scale=1500.0, padding=(1, 1), groups=8))
            deployed = load_model(depthwise, input_shape=(8, 3, 3))
            with session(deployed, Target.parse(engine)) as opened:
                output = opened.run(np.full((1, 8, 3, 3), 255, dtype=np.float32)).output
            results[engine] = float(output[0, 0, 1, 1]) / 1500
    finally:
        torch.backends.quantized.engine = before
    assert results == {"fbgemm": 109, "qnnpack": 194}
