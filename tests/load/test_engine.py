from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bvverify.errors import BvverifyError, TargetUnavailable
from bvverify.load import load_model
from bvverify.load.engine import packing_engine
from tests.models import small_convolutional, small_dense

from .compare import assert_same

IMAGE = (2, 6, 5)


@pytest.fixture(params=["fbgemm", "x86", "onednn", "qnnpack"])
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = request.param
    yield request.param
    torch.backends.quantized.engine = before


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("engine") / "model.pt"
    torch.jit.save(torch.jit.script(small_convolutional()), path)
    return path


def test_what_a_file_says_does_not_depend_on_the_engine(engine: str, saved: Path) -> None:
    loaded = load_model(saved, input_shape=IMAGE).model
    with packing_engine():
        expected = load_model(small_convolutional(), input_shape=IMAGE).model
    assert_same(loaded, expected)


def test_what_a_module_says_does_not_depend_on_the_engine_that_packed_it(engine: str, saved: Path) -> None:
    module = small_convolutional()
    assert_same(load_model(module, input_shape=IMAGE).model, load_model(saved, input_shape=IMAGE).model)


def test_what_a_state_dict_says_does_not_depend_on_the_engine(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save(small_dense().state_dict(), path)
    loaded = load_model(path, factory=small_dense).model
    torch.backends.quantized.engine = "fbgemm"
    assert_same(loaded, load_model(path, factory=small_dense).model)


def test_the_engine_of_the_process_is_restored(engine: str, saved: Path) -> None:
    load_model(saved, input_shape=IMAGE)
    load_model(small_dense())
    assert torch.backends.quantized.engine == engine


def test_the_engine_of_the_process_is_restored_after_a_failure(engine: str, saved: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.pt").write_bytes(saved.read_bytes()[:1000])
    for path, shape in ((saved, (3, 3, 3)), (tmp_path / "broken.pt", IMAGE)):
        with pytest.raises(BvverifyError):
            load_model(path, input_shape=shape)
        assert torch.backends.quantized.engine == engine


def test_a_build_of_torch_without_quantized_engines_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Backend:
        engine, supported_engines = "none", ["none"]

    monkeypatch.setattr(torch.backends, "quantized", Backend)
    with pytest.raises(TargetUnavailable, match="has no quantized engine"), packing_engine():
        pass
