"""The interpreter gives what TorchScript itself gives, and shows every operation on the way."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from bvverify.errors import InputError, UnsupportedLayer
from bvverify.torchscript.interpreter import Site, call, interpret
from tests.models import linear, quantized_weight, small_convolutional, small_dense


def observed(module: nn.Module, *inputs: Any) -> tuple[Any, list[Site]]:
    """Return the interpreter's result for a scripted module, and the operations it saw."""
    sites: list[Site] = []

    def record(site: Site, arguments: Sequence[Any]) -> Any:
        sites.append(site)
        return call(site, arguments)

    with torch.no_grad():
        return interpret(torch.jit.script(module.eval()), inputs, record), sites


class Branches(nn.Module):
    def __init__(self, wide: bool) -> None:
        super().__init__()
        self.wide = wide

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() != 2 or x.size(1) > 5:
            x = x.flatten(1)
        elif self.wide:
            x = x.repeat(1, 2)
        else:
            x = -x
        return x + 1


class Arithmetic(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = x.shape
        half = columns // 2 + 3 * rows - 1
        sizes = [rows, columns, half]
        return x.reshape(rows, columns) * float(half) + float(len(sizes)) + sizes[2]


class Raises(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() != 7:
            raise ValueError("seven axes, please")
        return x


class Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first, second = self.halves(x)
        return second, first

    def halves(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x[:, :1], x[:, 1:]


@pytest.mark.parametrize("build", [small_dense, small_convolutional])
def test_a_quantized_model_gives_the_result_of_its_own_forward(build) -> None:
    module = build()
    x = torch.rand(4, *((6,) if build is small_dense else (2, 6, 5)), generator=torch.Generator().manual_seed(0))
    result, _ = observed(module, x)
    assert torch.equal(result, module(x))


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("shape", [(2, 3), (2, 9), (2, 3, 2)])
def test_branches_on_shapes_and_attributes_are_followed(wide: bool, shape: tuple[int, ...]) -> None:
    module, x = Branches(wide), torch.rand(shape)
    result, _ = observed(module, x)
    assert torch.equal(result, module(x))


def test_plain_arithmetic_is_done() -> None:
    x = torch.rand(3, 8)
    result, _ = observed(Arithmetic(), x)
    assert torch.equal(result, Arithmetic()(x))


def test_tuples_are_unpacked_and_returned() -> None:
    x = torch.rand(2, 3)
    result, _ = observed(Pair(), x)
    assert isinstance(result, tuple)
    assert all(torch.equal(one, other) for one, other in zip(result, Pair()(x), strict=True))


def test_the_operations_of_a_quantized_model_are_shown_in_order_with_their_modules() -> None:
    _, sites = observed(small_convolutional(), torch.rand(1, 2, 6, 5))
    quantized = [site for site in sites if site.kind.startswith("quantized::")]
    assert [(site.kind, site.label) for site in quantized] == [
        ("quantized::conv2d_relu", "1"),
        ("quantized::linear", "4"),
    ]
    kinds = [site.kind for site in sites]
    assert (
        kinds.index("aten::quantize_per_tensor")
        < kinds.index("quantized::conv2d_relu")
        < kinds.index("aten::max_pool2d")
    )
    assert len({site.label for site in sites}) == len(sites)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.quantize = small_dense()[0]
        self.square = linear(quantized_weight([[1, 2], [3, 4]], scale=0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.square(self.square(self.quantize(x)))


def test_labels_are_the_same_in_every_run_and_unique_for_a_module_used_twice() -> None:
    first = [site.label for site in observed(Twice(), torch.rand(1, 2))[1]]
    assert first == [site.label for site in observed(Twice(), torch.rand(3, 2))[1]]
    assert first[-2:] == ["square", "square_2"]


def test_results_may_be_replaced() -> None:
    def replace(site: Site, arguments: Sequence[Any]) -> Any:
        return "bytes" if site.kind.startswith("quantized::") else call(site, arguments)[0:0]

    module = torch.jit.script(small_dense()[:2].eval())
    assert interpret(module, [torch.rand(1, 6)], replace) == "bytes"


def test_a_wrong_number_of_inputs_is_refused() -> None:
    with pytest.raises(UnsupportedLayer, match="the model takes 1 inputs; one image tensor"):
        observed(small_dense(), torch.rand(1, 6), torch.rand(1, 6))


def test_an_error_that_the_model_raises_is_told() -> None:
    with pytest.raises(InputError, match=r"raises an error for inputs of this shape: .*seven axes, please"):
        observed(Raises(), torch.rand(1, 6))


def test_an_unknown_condition_is_not_guessed() -> None:
    def hide(site: Site, arguments: Sequence[Any]) -> Any:
        return object()

    class OnData(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1 if bool((x > 0).any()) else x

    with pytest.raises(UnsupportedLayer, match="depends on the data"):
        interpret(torch.jit.script(OnData()), [object()], hide)
