"""From a deployed file or module to a QuantizedModel.

TorchScript files, like pickles, run code of their own when they are read: load only files that you trust.  A
state_dict is data only.
"""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bvverify.errors import InputError, ModelFileError, UsageError
from bvverify.load.deployed import DeployedModel
from bvverify.load.inputs import Images
from bvverify.model.quantized import Shape

if TYPE_CHECKING:  # torch takes seconds to import, and who only reads results does without it
    import torch

__all__ = ["DeployedModel", "load_model", "load_model_for"]


def load_model(
    source: "str | Path | torch.nn.Module",
    *,
    input_shape: Shape | None = None,
    factory: "Callable[[], torch.nn.Module] | None" = None,
) -> DeployedModel:
    """Return the model behind `source`: a TorchScript file, a state_dict file with a `factory`, or a converted module.

    `input_shape` is the shape of one input, without the batch dimension; a model that begins with a linear layer
    does not need it. `factory` returns the converted module that a state_dict belongs to.

    Raises `ModelFileError` for files that are missing, corrupt or of another kind, `UnsupportedLayer` for layers
    that are not modelled, `InputError` if the layers do not accept `input_shape`.
    """
    import torch

    from bvverify.load.module import script_module
    from bvverify.load.torchscript import read_torchscript

    if isinstance(source, torch.nn.Module):
        name = type(source).__name__
        content = script_module(source, name=name)
    else:
        path = Path(source)
        name = path.name
        content = _read(path, factory)
    return DeployedModel(name, read_torchscript(content, name=name, input_shape=input_shape), content)


def load_model_for(
    source: "str | Path | torch.nn.Module", images: Images, *, factory: "Callable[[], torch.nn.Module] | None" = None
) -> tuple[DeployedModel, Images]:
    """Return the model behind `source` and the images in the shape that it takes.

    Shapes are tried in turn: as stored, as images of one channel, flat.  Raises what `load_model` raises.
    """
    failure: InputError | None = None
    for shape in images.shapes():
        try:
            deployed = load_model(source, input_shape=shape, factory=factory)
        except InputError as error:
            failure = failure or error
        else:
            return deployed, images.shaped(shape)
    raise InputError(f"{images.name}: inputs of shape {images.images.shape[1:]} do not fit the model: {failure}")


def _read(path: Path, factory: "Callable[[], torch.nn.Module] | None") -> bytes:
    from bvverify.load.engine import packing_engine
    from bvverify.load.module import load_state_dict, script_module

    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror or error}") from error
    if _is_torchscript(path):
        if factory is not None:
            raise UsageError(f"{path}: a TorchScript file holds its own module; leave the factory out")
        return content
    if factory is None:
        raise ModelFileError(
            f"{path}: not a TorchScript file; save the model with torch.jit.save, or give a factory to load it as a "
            "state_dict"
        )
    with packing_engine():
        return script_module(load_state_dict(path, factory), name=path.name)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in entry for entry in archive.namelist())
