"""One model in every format in which it may be deployed is one QuantizedModel."""

import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao import quantization
from torch.ao.quantization import quantize_fx

from bvverify.load import load_model
from bvverify.model import Conv2d, Dequantize, Linear, MaxPool2d, Quantize, QuantizedModel, QuantParams, Relu, Reshape
from tests.models import conv2d, converted, linear, quantized_weight, small_convolutional, small_dense

from .compare import assert_same

IMAGE = (2, 6, 5)
BUILDERS = {"dense": (small_dense, (6,)), "convolutional": (small_convolutional, IMAGE)}


@pytest.fixture(params=BUILDERS, ids=str)
def built(request: pytest.FixtureRequest) -> tuple[Callable[..., nn.Sequential], tuple[int, ...]]:
    return BUILDERS[request.param]


def images(count: int, shape: tuple[int, ...] = IMAGE) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).uniform(0, 2, (count, *shape)).astype(np.float32))


def test_a_model_is_read_as_it_was_written() -> None:
    hidden = quantized_weight([[1, -128], [127, 3]], scale=[0.25, 0.75], zero_point=[0, 2])
    output = quantized_weight([[-5, 6]], scale=0.125, zero_point=-7)
    kernel = quantized_weight(np.arange(12).reshape(2, 1, 3, 2), scale=0.5)
    module = converted(
        conv2d(
            kernel,
            [1.5, -2.5],
            scale=0.7,
            zero_point=9,
            relu=True,
            stride=(2, 1),
            padding=(1, 0),
            dilation=(1, 2),
            groups=2,
        ),
        nn.ReLU(),
        nn.MaxPool2d((1, 2), stride=(2, 3), padding=(0, 1), dilation=(2, 1), ceil_mode=True),
        linear(hidden, scale=1 / 3, zero_point=255, relu=True),
        linear(output, [1e-3], scale=2.0),
        nn.Flatten(),
        input_scale=0.1,
        input_zero_point=4,
    )
    model = load_model(module, input_shape=(2, 4, 6)).model
    quantize, conv, relu, pool, first, second, flatten, dequantize = model.layers
    assert quantize == Quantize(quantize.name, QuantParams(float(np.float32(0.1)), 4))
    assert isinstance(conv, Conv2d)
    assert conv.relu
    assert conv.weight.values.tolist() == np.arange(12).reshape(2, 1, 3, 2).tolist()
    assert (conv.weight.scales.tolist(), conv.weight.zero_points.tolist(), conv.weight.per_channel) == (
        [0.5],
        [0],
        False,
    )
    assert conv.bias is not None
    assert conv.bias.tolist() == [1.5, -2.5]
    assert conv.output == QuantParams(0.7, 9)
    assert (conv.stride, conv.padding, conv.dilation, conv.groups) == ((2, 1), (1, 0), (1, 2), 2)
    assert isinstance(relu, Relu)
    assert pool == MaxPool2d(pool.name, (1, 2), (2, 3), (0, 1), (2, 1), True)
    assert isinstance(first, Linear)
    assert first.weight.values.tolist() == [[1, -128], [127, 3]]
    assert (first.weight.scales.tolist(), first.weight.zero_points.tolist()) == ([0.25, 0.75], [0, 2])
    assert first.bias is None or not first.bias.any()
    assert (first.weight.per_channel, first.relu, first.output) == (True, True, QuantParams(1 / 3, 255))
    assert isinstance(second, Linear)
    assert (second.weight.zero_points.tolist(), second.relu, second.output) == ([-7], False, QuantParams(2.0, 0))
    assert flatten == Reshape(flatten.name, (2,))
    assert isinstance(dequantize, Dequantize)


def test_a_scripted_file_is_the_module(tmp_path: Path, built) -> None:
    build, shape = built
    path = tmp_path / "scripted.pt"
    torch.jit.save(torch.jit.script(build()), path)
    assert_same(load_model(path, input_shape=shape).model, load_model(build(), input_shape=shape).model)


def test_a_traced_file_is_the_module_but_for_names(tmp_path: Path, built) -> None:
    build, shape = built
    path = tmp_path / "traced.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # quantized modules convert their scale to a number
        torch.jit.save(torch.jit.trace(build(), images(3, shape)), path)
    assert_same(load_model(path, input_shape=shape).model, load_model(build(), input_shape=shape).model, names=False)


def test_a_frozen_file_is_the_module_but_for_names(tmp_path: Path) -> None:
    path = tmp_path / "frozen.pt"
    torch.jit.save(torch.jit.freeze(torch.jit.script(small_dense())), path)
    assert_same(load_model(path, input_shape=(6,)).model, load_model(small_dense()).model, names=False)


def test_a_script_module_in_memory_is_the_module(built) -> None:
    build, shape = built
    scripted = torch.jit.script(build())
    assert_same(load_model(scripted, input_shape=shape).model, load_model(build(), input_shape=shape).model)


def test_a_state_dict_fills_the_module_of_the_factory(tmp_path: Path, built) -> None:
    build, shape = built
    path = tmp_path / "state.pt"
    torch.save(build(seed=3).state_dict(), path)
    loaded = load_model(path, input_shape=shape, factory=lambda: build(seed=4)).model
    expected = load_model(build(seed=3), input_shape=shape).model
    torch.save(build(seed=4).state_dict(), path)
    other = load_model(path, input_shape=shape, factory=lambda: build(seed=4)).model
    assert_same(loaded, load_from_state(build(seed=3).state_dict(), build, shape, tmp_path))
    assert weights(loaded) == weights(expected) != weights(other)


def load_from_state(state, build, shape, folder: Path) -> QuantizedModel:
    torch.save(state, folder / "again.pt")
    return load_model(folder / "again.pt", input_shape=shape, factory=build).model


def weights(model: QuantizedModel) -> list[bytes]:
    return [layer.weight.values.tobytes() for layer in model.layers if isinstance(layer, Linear | Conv2d)]


def test_the_script_of_a_loaded_model_loads_as_the_same_model(tmp_path: Path, built) -> None:
    build, shape = built
    deployed = load_model(build(), input_shape=shape)
    path = tmp_path / "again.pt"
    path.write_bytes(deployed.script)
    again = load_model(path, input_shape=shape)
    assert_same(again.model, deployed.model)
    assert again.digest == deployed.digest
    assert (again.name, deployed.name) == ("again.pt", "Sequential")


class Trained(nn.Module):
    """A float network whose forward uses functions, not only modules."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn(self.conv(x)))
        x = torch.nn.functional.max_pool2d(x, (2, 1), stride=1, padding=(1, 0))
        x = torch.nn.functional.max_pool2d(x, (4, 1))
        return self.fc(self.drop(x.view(x.size(0), -1)))


@pytest.mark.filterwarnings("ignore:The TorchScript type system doesn't support instance-level annotations:UserWarning")
def test_eager_and_fx_quantization_of_one_network_agree() -> None:
    float_model, x = Trained().eval(), images(20)
    config = quantization.get_default_qconfig("x86")
    fx = quantize_fx.prepare_fx(float_model, quantization.QConfigMapping().set_global(config), (x,))
    fx(x)
    fx = quantize_fx.convert_fx(fx)
    eager = nn.Sequential(
        OrderedDict(quant=quantization.QuantStub(), body=Trained(), dequant=quantization.DeQuantStub())
    ).eval()
    quantization.fuse_modules(eager, [["body.conv", "body.bn", "body.relu"]], inplace=True)
    eager.qconfig = config
    quantization.prepare(eager, inplace=True)
    eager(x)
    quantization.convert(eager, inplace=True)
    assert isinstance(fx, torch.fx.GraphModule)
    models = [load_model(module.eval(), input_shape=IMAGE).model for module in (fx, eager)]
    assert_same(*models, names=False)
    assert [type(layer) for layer in models[0].layers] == [
        Quantize,
        Conv2d,
        MaxPool2d,
        MaxPool2d,
        Reshape,
        Linear,
        Dequantize,
    ]


def test_names_are_the_paths_of_modules() -> None:
    module = nn.Sequential(OrderedDict(outer=small_dense())).eval()
    names = [layer.name for layer in load_model(module).model.layers]
    assert names[1:3] == ["outer.1", "outer.2"]
    assert len(set(names)) == len(names)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = converted(linear(quantized_weight([[1, 2], [3, 4]], scale=0.5)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        quantized = self.body[0](x)
        return self.body[2](self.body[1](self.body[1](quantized)))


def test_a_module_used_twice_gives_two_layers_of_distinct_names() -> None:
    names = [layer.name for layer in load_model(Twice().eval()).model.layers]
    assert len(names) == len(set(names)) == 4
    assert names[1:3] == ["body.1", "body.1_2"]


@pytest.mark.parametrize("scale", [0.1, [0.1, 0.3]], ids=["per tensor", "per channel"])
@pytest.mark.parametrize("of_convolution", [False, True], ids=["linear", "convolution"])
def test_weight_scales_are_read_with_all_the_bits_that_the_file_holds(
    tmp_path: Path, scale, of_convolution: bool
) -> None:
    """FBGEMM rounds scales to float32 when it packs them; what QNNPACK and oneDNN compute depends on every bit."""
    values = np.ones((2, 1, 1, 1) if of_convolution else (2, 1))
    path = tmp_path / "model.pt"
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "qnnpack"  # packs scales as they are
    try:
        layer = (conv2d if of_convolution else linear)(quantized_weight(values, scale=scale))
        torch.jit.save(torch.jit.script(converted(layer)), path)
    finally:
        torch.backends.quantized.engine = before
    model = load_model(path, input_shape=(1, 1, 1) if of_convolution else (1,)).model
    assert model.layers[1].weight.scales.tolist() == np.atleast_1d(scale).tolist()


def test_a_model_may_end_quantized() -> None:
    module = small_dense()[:-1].eval()
    assert isinstance(load_model(module).model.layers[-1], Linear)
