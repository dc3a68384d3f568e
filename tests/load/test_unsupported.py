"""What is not a chain of supported layers is refused, with the layer's name and type in one line."""

import re
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.ao.nn import quantized as nnq

from bvverify.errors import UnsupportedLayer
from bvverify.load import load_model
from tests.models import conv2d, converted, linear, quantize, quantized_weight, small_dense


def square() -> nn.Module:
    return linear(quantized_weight([[1, 2], [3, 4]], scale=0.5))


class Chain(nn.Module):
    """Quantize, `middle`, dequantize, with a forward that subclasses change."""

    def __init__(self, *middle: nn.Module) -> None:
        super().__init__()
        self.quant = quantize()
        self.first = square()
        self.second = square()
        self.dequant = nnq.DeQuantize()
        self.functional = nnq.QFunctional()


class ScalarAdded(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(self.functional.add_scalar(self.first(self.quant(x)), 1.0))


class SliceWithoutCopy(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(torch.relu(self.first(self.quant(x))[:, 1:]))


class CatOfBatches(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(self.quant(x))
        return self.dequant(torch.cat([x, x], dim=0))


class Broadcast(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(self.quant(x))
        return self.dequant(self.functional.add(x, x[:, :1].contiguous()))


class OneSidedClamp(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(torch.clamp(self.first(self.quant(x)), min=0.0))


class FloatSum(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(self.first(self.quant(x))) + x


class Scaled(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(self.first(self.quant(x * 2.0)))


class Twice(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(self.quant(self.quant(x).dequantize()))


class FloatLinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.chain = small_dense()
        self.head = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.chain(x))


class BranchOnData(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(self.quant(x))
        if bool(x.dequantize().sum() > 0):
            x = self.second(x)
        return self.dequant(x)


class Loop(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.quant(x)
        for _ in range(x.size(1)):
            x = self.first(x)
        return self.dequant(x)


class TwoInputs(Chain):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.dequant(self.first(self.quant(x)))


class TwoOutputs(Chain):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.first(self.quant(x))
        return self.dequant(x), self.dequant(self.second(x))


class NumberOut(Chain):
    def forward(self, x: torch.Tensor) -> int:
        return x.size(1)


class ConstantOut(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, 2)


class ReusedAfterInPlaceRelu(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(self.quant(x))
        torch.relu_(x)
        return self.dequant(self.second(x))


class InPlaceRelu(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(self.second(torch.relu_(self.first(self.quant(x)))))


class OverwrittenThroughView(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(self.quant(x))
        torch.relu_(x.view(-1, 2))
        return self.dequant(self.second(x))


class OverwrittenThroughContiguous(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(self.quant(x))
        torch.relu_(x.contiguous())
        return self.dequant(self.second(x))


class ViewOfOverwritten(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(self.quant(x))
        view = x.flatten(1)
        torch.relu_(x)
        return self.dequant(self.second(view))


class MixesBatch(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(self.first(self.quant(x)).reshape(2, -1))


class JoinsBatch(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(self.first(self.quant(x)).reshape(-1))


class FlattensBatch(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(self.first(self.quant(x)).flatten())


class Transposed(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(self.first(self.quant(x)).t())


def refusal(module: nn.Module, *, shape: tuple[int, ...] = (2,)) -> str:
    with pytest.raises(UnsupportedLayer) as error:
        load_model(module.eval(), input_shape=shape)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("module", "name", "kind"),
    [
        (converted(square(), nn.CELU()), "celu", "celu"),
        (converted(square(), nnq.PReLU(0.1, 0)), "2", "prelu"),
        (converted(square(), nn.Softmax(1)), "softmax", "softmax"),
        (converted(square(), nn.AvgPool1d(2)), "avg_pool1d", "avg_pool1d"),
        (
            converted(nnq.LayerNorm((2,), nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(2)), 1.0, 0)),
            "1(_[0-9])?",
            "layer_norm",
        ),
        (ScalarAdded(), "add_scalar", "add_scalar"),
        (FloatSum(), "add", "add"),
        (Scaled(), "mul", "mul"),
        (FloatLinear(), "head", "linear"),
        (Transposed(), "t", "t"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_operations_without_a_model_are_named(module: nn.Module, name: str, kind: str) -> None:
    shape = (6,) if isinstance(module, FloatLinear) else (2,)
    message = refusal(module, shape=shape)
    assert re.match(f"layer {name}: ", message)
    assert f"::{kind} is not supported here; supported: " in message
    assert "linear_relu, max_pool2d" in message


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (SliceWithoutCopy(), "layer relu: aten::relu on a slice; call .contiguous() on it first"),
        (CatOfBatches(), "layer cat: cat of (batch, 2), (batch, 2) along axis 0 does not fit or mixes images"),
        (
            Broadcast(),
            "layer functional: quantized::add of (batch, 2) and (batch, 1); both must be tensors of one shape",
        ),
        (OneSidedClamp(), "layer clamp: aten::clamp with one end is not modelled; give both"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_forms_of_supported_operations_without_a_model_are_named(module: nn.Module, reason: str) -> None:
    assert refusal(module) == reason


class SharedWeights(Chain):
    """One packed weight, called with two output scales."""

    def __init__(self, second_scale: float) -> None:
        super().__init__()
        self.second_scale = second_scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.ops.quantized.linear(self.quant(x), self.first._packed_params._packed_params, 1.0, 0)
        return torch.ops.quantized.linear(
            x, self.first._packed_params._packed_params, self.second_scale, 0
        ).dequantize()


def test_packed_weights_with_two_output_scales_are_refused() -> None:
    message = refusal(SharedWeights(2.0))
    assert message.startswith("layer first_2: shares its packed weights with layer first, but not its output scale")
    assert len(load_model(SharedWeights(1.0).eval(), input_shape=(2,)).model.layers) == 4


def test_lstm_is_refused() -> None:
    assert refusal(nn.LSTM(2, 2), shape=(3, 2))
    assert refusal(nn.Sequential(nn.LSTM(2, 2)), shape=(3, 2))


@pytest.mark.parametrize(
    "layer", [nn.Linear(2, 2), nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)], ids=lambda layer: type(layer).__name__
)
def test_float_layers_are_refused(layer: nn.Module) -> None:
    shape = (2,) if isinstance(layer, nn.Linear) else (1, 2, 2)
    assert "is not supported here" in refusal(nn.Sequential(OrderedDict(only=layer)), shape=shape)


def test_quantized_layers_without_quantized_input_are_refused() -> None:
    assert refusal(nn.Sequential(square())) == "layer 0: quantized::linear on a float tensor; only bytes are verified"


def test_activations_other_than_bytes_are_refused() -> None:
    module = nn.Sequential(quantize(dtype=torch.qint32), nnq.DeQuantize())
    assert "activations must be 8 bits wide" in refusal(module)


def test_quantizing_bytes_again_is_refused() -> None:
    assert "quantize_per_tensor of a quantized tensor" in refusal(nn.Sequential(quantize(), quantize()))


def test_training_mode_is_refused() -> None:
    module = converted(square()).train()
    with pytest.raises(UnsupportedLayer, match=r"Sequential: the module is in training mode; call \.eval\(\)"):
        load_model(module)
    assert len(load_model(module.eval()).model.layers) == 3


def test_dropout_does_nothing_in_evaluation_mode() -> None:
    module = converted(square(), nn.Dropout(0.5))
    assert len(load_model(module).model.layers) == 3
    assert len(load_model(torch.jit.script(module)).model.layers) == 3


class AlwaysDropout(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(nn.functional.dropout(self.first(self.quant(x)), training=True))


def test_dropout_that_is_always_on_is_refused() -> None:
    assert "dropout" in refusal(AlwaysDropout())


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (TwoInputs(), "the model takes 2 inputs; one image tensor is supported"),
        (TwoOutputs(), "must return one tensor, not tuple"),
        (NumberOut(), "must return one tensor, not int"),
        (ConstantOut(), "the model's result does not depend on its input"),
        (BranchOnData(), "not supported"),
        (Loop(), "prim::Loop in the model's code is not supported"),
        (ReusedAfterInPlaceRelu(), "layer second: reads a tensor that an in-place operation has overwritten"),
        (OverwrittenThroughView(), "layer second: reads a tensor that an in-place operation has overwritten"),
        (OverwrittenThroughContiguous(), "layer second: reads a tensor that an in-place operation has overwritten"),
        (ViewOfOverwritten(), "layer second: reads a tensor that an in-place operation has overwritten"),
        (MixesBatch(), "mixes images of a batch"),
        (JoinsBatch(), "mixes images of a batch"),
        (FlattensBatch(), "mixes images of a batch"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_models_that_are_no_chain_are_refused(module: nn.Module, reason: str) -> None:
    assert reason in refusal(module)


def test_an_in_place_relu_whose_result_is_used_is_a_layer() -> None:
    kinds = [type(layer).__name__ for layer in load_model(InPlaceRelu().eval()).model.layers]
    assert kinds == ["Quantize", "Linear", "Relu", "Linear", "Dequantize"]


def test_a_quantized_layer_after_dequantize_is_refused() -> None:
    kernel = quantized_weight([[[[1]]]], scale=0.5)
    module = nn.Sequential(*converted(conv2d(kernel)), conv2d(kernel))
    assert refusal(module, shape=(1, 2, 2)) == "layer 3: quantized::conv2d on a float tensor; only bytes are verified"


def test_modules_that_cannot_be_scripted_are_refused_in_one_line() -> None:
    class Unscriptable(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return eval("x")

    assert "torch.jit.script cannot express this module" in refusal(Unscriptable())
