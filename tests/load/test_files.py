import io
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from bvverify.errors import BvverifyError, ModelFileError, UsageError
from bvverify.load import load_model
from tests.models import linear, quantized_weight, small_dense


def scripted() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(small_dense()), buffer)
    return buffer.getvalue()


def failure(path: Path, expected: type[BvverifyError] = ModelFileError, **options: object) -> str:
    with pytest.raises(expected) as error:
        load_model(path, **options)
    message = str(error.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    assert "No such file" in failure(tmp_path / "missing.pt")


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    assert "directory" in failure(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x00", b"not a model\n", b"PK\x03\x04", bytes(range(256)) * 10])
@pytest.mark.parametrize("factory", [None, small_dense], ids=["no factory", "factory"])
def test_files_of_another_kind_are_told(tmp_path: Path, content: bytes, factory) -> None:
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    failure(path, factory=factory)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files_are_told(tmp_path: Path, share: float) -> None:
    content = scripted()
    path = tmp_path / "truncated.pt"
    path.write_bytes(content[: int(len(content) * share)])
    failure(path)


@pytest.mark.parametrize("entry", ["data.pkl", "constants.pkl", "version", "code/", "data/"])
def test_files_that_lack_a_part_are_told(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "partial.pt"
    with zipfile.ZipFile(io.BytesIO(scripted())) as full, zipfile.ZipFile(path, "w") as partial:
        for record in full.infolist():
            if f"/{entry}" not in record.filename or record.filename.endswith(".debug_pkl"):
                partial.writestr(record, full.read(record))
    failure(path)


def test_damaged_weights_are_told(tmp_path: Path) -> None:
    content = bytearray(scripted())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        record = next(record for record in archive.infolist() if record.filename.endswith("data.pkl"))
    start = content.index(b"\x80\x02", record.header_offset)
    content[start : start + 40] = bytes(40)
    path = tmp_path / "damaged.pt"
    path.write_bytes(content)
    failure(path)


def test_pickles_are_not_run(tmp_path: Path) -> None:
    path, witness = tmp_path / "evil.pt", tmp_path / "witness"

    class Evil:
        def __reduce__(self):
            return Path.touch, (witness,)

    path.write_bytes(pickle.dumps(Evil(), protocol=2))
    failure(path)
    failure(path, factory=small_dense)
    torch.save(Evil(), path)
    failure(path)
    failure(path, factory=small_dense)
    assert not witness.exists()


def test_a_whole_module_saved_with_pickle_is_no_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "module.pt"
    torch.save(nn.Linear(2, 2), path)
    assert "save the model with torch.jit.save, or give a factory" in failure(path)
    assert "no state_dict that torch can read with weights_only=True" in failure(path, factory=small_dense)


def test_a_state_dict_without_factory_is_told(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save(small_dense().state_dict(), path)
    assert "give a factory to load it as a state_dict" in failure(path)


def test_a_torchscript_file_needs_no_factory(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(scripted())
    assert "leave the factory out" in failure(path, UsageError, factory=small_dense)


@pytest.mark.parametrize(
    "state",
    [{}, {"weight": torch.ones(2)}, nn.Linear(2, 2).state_dict(), [1, 2], 7, None],
    ids=["empty", "other names", "float", "list", "number", "nothing"],
)
def test_contents_that_do_not_fit_the_factorys_module_are_told(tmp_path: Path, state: object) -> None:
    path = tmp_path / "state.pt"
    torch.save(state, path)
    assert "the state_dict does not fit the factory's module" in failure(path, factory=small_dense)


def test_a_state_dict_of_a_larger_model_is_told(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    larger = small_dense().append(linear(quantized_weight([[1]], scale=1.0)))
    torch.save(larger.state_dict(), path)
    failure(path, factory=small_dense)


@pytest.mark.parametrize("as_text", [True, False])
def test_paths_may_be_text(tmp_path: Path, as_text: bool) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(scripted())
    deployed = load_model(str(path) if as_text else path)
    assert deployed.name == "model.pt"
    assert deployed.script == path.read_bytes()
    assert len(deployed.digest) == 64
