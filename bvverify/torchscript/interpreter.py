"""An interpreter of TorchScript's inlined graphs, whose operations can be observed or replaced.

`torch.jit.script` and `torch.jit.trace` both end in such graphs: attributes of the module, constants, lists, calls
of operations, and the branches that remain of Python's checks.  The interpreter follows a branch when its condition
is a plain Python value, which is the case for checks of shapes and attributes.
"""

import operator
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bvverify.errors import InputError, UnsupportedLayer

Values = dict[str, Any]

_PLAIN: dict[str, Callable[..., Any]] = {
    "aten::Bool": bool,
    "aten::__contains__": operator.contains,
    "aten::__getitem__": operator.getitem,
    "aten::__is__": operator.is_,
    "aten::__isnot__": operator.is_not,
    "aten::__not__": operator.not_,
    "aten::add": operator.add,
    "aten::eq": operator.eq,
    "aten::floordiv": operator.floordiv,
    "aten::ge": operator.ge,
    "aten::gt": operator.gt,
    "aten::le": operator.le,
    "aten::len": len,
    "aten::lt": operator.lt,
    "aten::mul": operator.mul,
    "aten::ne": operator.ne,
    "aten::sub": operator.sub,
}
"""Operations of TorchScript on plain Python values, as checks of shapes and attributes use them."""
_CONVERSIONS: dict[str, Callable[..., Any]] = {"aten::Float": float, "aten::Int": int}
"""Conversions of numbers and of one-element tensors, as modules store their scale and zero point."""


@dataclass(frozen=True)
class Site:
    """One call of an operation in a model."""

    kind: str
    """Qualified name, for example `quantized::linear_relu`."""
    label: str
    """Unique within the model: the path of the module that holds its parameters, or the operation's name and a
    number.
    """
    keywords: tuple[str, ...] = ()
    """Names of the last arguments, which the operation takes by keyword only."""


Apply = Callable[[Site, Sequence[Any]], Any]


def call(site: Site, arguments: Sequence[Any]) -> Any:
    """Run the operation of a site for real."""
    operation, _ = torch._C._jit_get_operation(site.kind)
    positional = len(arguments) - len(site.keywords)
    return operation(*arguments[:positional], **dict(zip(site.keywords, arguments[positional:], strict=True)))


def interpret(module: torch.jit.ScriptModule, inputs: Sequence[Any], apply: Apply) -> Any:
    """Return the module's result on `inputs`; every operation goes through `apply`."""
    return _Interpreter(apply).run(module, inputs)


class _Interpreter:
    def __init__(self, apply: Apply) -> None:
        self._apply = apply
        self._paths: dict[str, str] = {}
        self._labels: Counter[str] = Counter()

    def run(self, module: torch.jit.ScriptModule, inputs: Sequence[Any]) -> Any:
        graph = getattr(module, "inlined_graph", None)
        if graph is None:
            raise UnsupportedLayer(f"{module.original_name}: has no forward function that can be read as one graph")
        own, *formals = [value.debugName() for value in graph.inputs()]
        if len(formals) != len(inputs):
            raise UnsupportedLayer(f"the model takes {len(formals)} inputs; one image tensor is supported")
        values: Values = {own: module, **dict(zip(formals, inputs, strict=True))}
        self._paths[own] = ""
        self._block(graph.nodes(), values)
        results = [values[value.debugName()] for value in graph.outputs()]
        return results[0] if len(results) == 1 else tuple(results)

    def _block(self, nodes: Any, values: Values) -> None:
        for node in nodes:
            names = [value.debugName() for value in node.outputs()]
            results = self._node(node, values)
            values.update(zip(names, results, strict=True))

    def _node(self, node: Any, values: Values) -> Sequence[Any]:
        """Return the values of the node's outputs."""
        kind = node.kind()
        names = [value.debugName() for value in node.inputs()]
        arguments = [values[name] for name in names]
        match kind:
            case "prim::Constant":
                return [node.output().toIValue()]
            case "prim::GetAttr":
                attribute = node.s("name")
                self._paths[node.output().debugName()] = f"{self._paths[names[0]]}.{attribute}".lstrip(".")
                return [getattr(arguments[0], attribute)]
            case "prim::ListConstruct":
                return [arguments]
            case "prim::TupleConstruct":
                return [tuple(arguments)]
            case "prim::NumToTensor" | "prim::unchecked_cast":
                return [arguments[0]]
            case "prim::TupleUnpack" | "prim::ListUnpack":
                return list(arguments[0])
            case "prim::If":
                return self._branch(node, arguments[0], values)
            case "prim::RaiseException":
                raise InputError(f"the model raises an error for inputs of this shape: {arguments[0]}")
        if kind.startswith("prim::"):
            raise UnsupportedLayer(
                f"{kind} in the model's code is not supported; a model is a chain of layers without loops"
            )
        if kind in _CONVERSIONS and isinstance(arguments[0], int | float | torch.Tensor):
            self._paths[node.output().debugName()] = self._paths.get(names[0], "")
            return [_CONVERSIONS[kind](arguments[0])]
        if kind in _PLAIN and all(_is_plain(argument) for argument in arguments):
            return [_PLAIN[kind](*arguments)]
        site = Site(kind, self._label(kind, names), _keywords(node))
        result = self._apply(site, arguments)
        return [result] if node.outputsSize() == 1 else list(result or ())

    def _branch(self, node: Any, condition: Any, values: Values) -> Sequence[Any]:
        if not isinstance(condition, bool):
            raise UnsupportedLayer("a branch that depends on the data is not supported")
        taken = list(node.blocks())[0 if condition else 1]
        self._block(taken.nodes(), values)
        return [values[value.debugName()] for value in taken.outputs()]

    def _label(self, kind: str, names: Sequence[str]) -> str:
        owners = (self._paths[name].rpartition(".")[0] for name in names if self._paths.get(name))
        base = next((owner.removesuffix("._packed_params") for owner in owners if owner), kind.partition("::")[2])
        self._labels[base] += 1
        return base if self._labels[base] == 1 else f"{base}_{self._labels[base]}"


def _keywords(node: Any) -> tuple[str, ...]:
    schema = node.schema()
    if schema == "(no schema)":
        return ()
    return tuple(argument.name for argument in torch._C.parse_schema(schema).arguments if argument.kwarg_only)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, int | float | str)
