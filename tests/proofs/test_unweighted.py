"""Additions, multiplications and averages are proved on every engine, and no fault that is planted escapes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bvverify.kernels.arithmetic import AtenAdd, QnnpackAdd, mul_rule
from bvverify.kernels.conversion import Lane
from bvverify.kernels.lower import LoweredModel, lower
from bvverify.kernels.target import Target
from bvverify.model import (
    Activation,
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    Contiguous,
    Function,
    Layer,
    Mean,
    Mul,
    Quantize,
    QuantizedModel,
    QuantParams,
)
from bvverify.network import ALWAYS, NEVER, Lookup, Node, Step, StepNetwork
from bvverify.proofs import Proof, obligations

from . import layers

FBGEMM, AVX2, QNNPACK = (Target.parse(name) for name in ("fbgemm/avx512_vnni", "fbgemm/avx2", "qnnpack/sse2"))
TARGETS = [FBGEMM, AVX2, QNNPACK]
LEFT, RIGHT = QuantParams(0.0173, 130), QuantParams(0.0311, 60)


def pair(layer: Add | Mul, size: int = 3, left: QuantParams = LEFT, right: QuantParams = RIGHT) -> QuantizedModel:
    """Return `layer` on the input and on a function of it."""
    activation = Activation("leaky", Function.LEAKY_RELU, (0.3,), right)
    return QuantizedModel((size,), (Quantize("quantize", left), activation, layer), ((0,), (1,), (1, 2)))


def addition_of(*, relu: bool = False, scale: float = 1.71, zero_point: int = 3) -> Add:
    return Add("join", relu, QuantParams(scale, zero_point))


def multiplication_of(*, relu: bool = False, scale: float = 1.1, zero_point: int = 3) -> Mul:
    return Mul("join", relu, QuantParams(scale, zero_point))


def image(layer: Layer, *, channels: int, channels_last: bool, size: int = 2) -> QuantizedModel:
    """Return `layer` on an image."""
    order = Contiguous("order", channels_last)
    return QuantizedModel((channels, size, size), (Quantize("quantize", QuantParams(0.0173, 30)), order, layer))


def pool(*, padding: int = 0, divisor: int | None = None) -> AvgPool2d:
    return AvgPool2d("pool", (2, 2), (1, 1), (padding, padding), False, True, divisor)


def proofs_of(model: QuantizedModel, target: Target, lowered: LoweredModel | None = None) -> list[Proof]:
    return layers.proved(obligations(model, target, lowered=lowered))


def statuses(proofs: list[Proof]) -> set[str]:
    return {proof.entry.status for proof in proofs}


def forms(proofs: list[Proof]) -> set[str]:
    return {proof.obligation.form for proof in proofs}


def with_node(lowered: LoweredModel, kind: type, change: Callable[[np.ndarray], None], which: int = 0) -> LoweredModel:
    """Return `lowered` with another table or other thresholds in the node that is number `which` of its kind."""
    network = lowered.network
    nodes = list(network.nodes)
    number = [index for index, node in enumerate(nodes) if isinstance(node.operation, kind)][which]
    name = "table" if kind is Lookup else "thresholds"
    numbers = getattr(nodes[number].operation, name).copy()
    change(numbers)
    nodes[number] = Node(replace(nodes[number].operation, **{name: numbers}), nodes[number].inputs)
    return replace(lowered, network=StepNetwork(network.lower, network.upper, tuple(nodes)))


def finite(thresholds: np.ndarray) -> np.ndarray:
    return (thresholds > ALWAYS) & (thresholds < NEVER)


def later(thresholds: np.ndarray) -> None:
    """Put off a level in the middle of each row by one."""
    for row in thresholds:
        (inner,) = np.nonzero(finite(row))
        row[inner[len(inner) // 2]] += 1


def earlier(thresholds: np.ndarray) -> None:
    for row in thresholds:
        (inner,) = np.nonzero(finite(row))
        row[inner[len(inner) // 2]] -= 1


@pytest.mark.parametrize(
    ("target", "relu"), [(FBGEMM, False), (AVX2, True), (QNNPACK, False), (QNNPACK, True)], ids=str
)
def test_additions_are_proved(target: Target, relu: bool) -> None:
    proofs = proofs_of(pair(addition_of(relu=relu)), target)
    assert statuses(proofs) == {"unsat"}
    assert forms(proofs) <= ({"fixed point"} if target is QNNPACK else {"vector lane", "scalar lane"})


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("relu", [False, True])
def test_multiplications_are_proved(target: Target, relu: bool) -> None:
    (proof,) = proofs_of(pair(multiplication_of(relu=relu)), target)
    assert proof.entry.status == "unsat"


TIE = QuantParams(0.1, 0)


def tied(size: int) -> QuantizedModel:
    """Return an addition whose lanes differ: 0.1 + 0.1 -> 0.4 has ties."""
    return pair(addition_of(scale=0.4, zero_point=1), size, TIE, TIE)


def test_each_lane_has_a_program_of_its_own() -> None:
    model = tied(67)
    lowered = lower(model, FBGEMM)
    assert [rounding.lanes for rounding in lowered.roundings] == [(Lane.VECTOR,), (Lane.SCALAR,)]
    assert statuses(proofs_of(model, FBGEMM, lowered)) == {"unsat"}
    first, second = lowered.roundings
    swapped = replace(lowered, roundings=(replace(first, lanes=second.lanes), replace(second, lanes=first.lanes)))
    proofs = proofs_of(model, FBGEMM, swapped)
    assert forms(proofs) == {"vector lane", "scalar lane"}
    for proof in proofs:
        own = Lane(proof.obligation.form.removesuffix(" lane"))
        check_addition(proof, model, next(lane for lane in Lane if lane is not own), computed_by=own)


def check_addition(proof: Proof, model: QuantizedModel, claimed_by: Lane, computed_by: Lane) -> None:
    """Check the two bytes of a counterexample by the kernel's numpy code."""
    example = proof.entry.counterexample
    assert example is not None
    assert example.operands is not None
    left, right = (np.array([operand]) for operand in example.operands)
    kernel = AtenAdd(model.layers[-1], model.layers[0].output, model.layers[1].output)
    assert kernel.bytes_of(left, right, claimed_by).tolist() == [example.claimed]
    assert kernel.bytes_of(left, right, computed_by).tolist() == [example.computed]
    assert example.claimed != example.computed


def computed(model: QuantizedModel, proof: Proof, target: Target) -> int:
    """Return the byte that the kernel's numpy code gives to a counterexample."""
    example = proof.entry.counterexample
    assert example is not None
    layer, (left, right) = model.layers[-1], (each.output for each in model.layers[:2])
    if isinstance(layer, Mul):
        return int(mul_rule(layer, left, right)(np.array([example.accumulator]))[0])
    assert example.operands is not None
    bytes_ = [np.array([operand]) for operand in example.operands]
    if target is QNNPACK:
        kernel = QnnpackAdd.of(layer, left, right)
        total = sum(factor * level for factor, level in zip(kernel.multipliers, bytes_, strict=True)) + kernel.offset
        return int(kernel.bytes_of_sum(total)[0])
    lane = Lane(proof.obligation.form.removesuffix(" lane"))
    return int(AtenAdd(layer, left, right).bytes_of(*bytes_, lane)[0])


@pytest.mark.parametrize("target", [FBGEMM, QNNPACK], ids=str)
@pytest.mark.parametrize("make", [addition_of, multiplication_of])
def test_the_arithmetic_of_another_layer_is_found(target: Target, make: Callable[..., Add | Mul]) -> None:
    model = pair(make())
    lowered = lower(model, target)
    for other in (make(relu=True), make(zero_point=4), make(scale=1.75)):
        wrong = pair(other)
        for proof in proofs_of(wrong, target, lowered):
            example = proof.entry.counterexample
            assert example is not None
            assert example.computed == computed(wrong, proof, target)
            assert example.claimed == computed(model, proof, target) != example.computed


@pytest.mark.parametrize("target", [FBGEMM, QNNPACK], ids=str)
@pytest.mark.parametrize("make", [addition_of, multiplication_of])
def test_a_threshold_that_is_off_is_found(target: Target, make: Callable[..., Add | Mul]) -> None:
    # One scale, one product or sum in many is at a threshold.
    scales = QuantParams(0.0173, 30)
    model = pair(make(), 3, scales, scales)
    for change in (earlier, later):
        proofs = proofs_of(model, target, with_node(lower(model, target), Step, reached(change)))
        assert statuses(proofs) == {"sat"}
        for proof in proofs:
            assert proof.entry.counterexample is not None
            assert computed(model, proof, target) == proof.entry.counterexample.computed


def reached(change: Callable[[np.ndarray], None]) -> Callable[[np.ndarray], None]:
    """Return `change` in so many steps that it passes a sum that occurs."""

    def repeated(thresholds: np.ndarray) -> None:
        before = thresholds.copy()
        change(thresholds)
        spacing = max(1, int(np.diff(before[finite(before)]).min()) // 2)
        thresholds += (thresholds - before) * (spacing - 1)

    return repeated


@pytest.mark.parametrize("which", [1, 2])
def test_an_entry_of_a_table_that_is_off_is_found(which: int) -> None:
    """The first Lookup is the activation's."""
    model = pair(addition_of())
    lowered = lower(model, FBGEMM)
    steps = [node.operation for node in lowered.network.nodes if isinstance(node.operation, Step)]
    thresholds = steps[0].thresholds
    spacing = int(np.diff(thresholds[finite(thresholds)]).min())
    first = [node.operation for node in lowered.network.nodes if isinstance(node.operation, Lookup)][which].lower

    def change(table: np.ndarray) -> None:
        table[0, 80] += spacing

    proofs = proofs_of(model, FBGEMM, with_node(lowered, Lookup, change, which))
    assert statuses(proofs) == {"sat"}
    for proof in proofs:
        example = proof.entry.counterexample
        assert example is not None
        assert example.operands is not None
        assert example.operands[which - 1] - first == 80
        assert computed(model, proof, FBGEMM) == example.computed != example.claimed


AVERAGES = {
    "first": (image(pool(), channels=2, channels_last=False), {"channels first"}, 1),
    "padded": (image(pool(padding=1, divisor=3), channels=2, channels_last=False), {"channels first"}, 1),
    "last": (image(pool(), channels=17, channels_last=True), {"channels last"}, 2),
    "adaptive first": (
        image(AdaptiveAvgPool2d("pool", (1, 1)), channels=2, channels_last=False),
        {"adaptive, channels first"},
        1,
    ),
    "adaptive last": (
        image(AdaptiveAvgPool2d("pool", (1, 1)), channels=9, channels_last=True),
        {"adaptive, channels last"},
        2,
    ),
    "both": (
        image(AdaptiveAvgPool2d("pool", (1, 1)), channels=1, channels_last=True),
        {"adaptive, channels first", "adaptive, channels last"},
        2,
    ),
    "mean": (image(Mean("pool", (2,), False), channels=2, channels_last=False), {"innermost axes"}, 1),
}


@pytest.mark.parametrize("name", AVERAGES)
def test_averages_are_proved(name: str) -> None:
    model, expected, count = AVERAGES[name]
    proofs = proofs_of(model, FBGEMM)
    assert forms(proofs) == expected
    assert (statuses(proofs), len(proofs)) == ({"unsat"}, count)


@pytest.mark.parametrize("name", ["first", "adaptive last"])
def test_averages_of_qnnpack_are_proved(name: str) -> None:
    (proof,) = proofs_of(AVERAGES[name][0], QNNPACK)
    assert (proof.entry.status, proof.obligation.form) == ("unsat", "QNNPACK")


@pytest.mark.parametrize(("name", "target"), [*((name, FBGEMM) for name in AVERAGES), ("first", QNNPACK)], ids=str)
def test_a_wrong_average_is_found(name: str, target: Target) -> None:
    """A threshold that is off by one, another zero point, and another division."""
    model = AVERAGES[name][0]
    lowered = lower(model, target)
    shifted = QuantizedModel(model.input_shape, (Quantize("quantize", QuantParams(0.0173, 31)), *model.layers[1:]))
    others = tuple(replace(step, divisions=tuple(map(other, step.divisions))) for step in lowered.roundings)
    for wrong, broken in (
        (model, with_node(lowered, Step, later)),
        (shifted, lowered),
        (model, replace(lowered, roundings=others)),
    ):
        proofs = proofs_of(wrong, target, broken)
        assert statuses(proofs) == {"sat"}
        for proof in proofs:
            example = proof.entry.counterexample
            assert example is not None
            assert example.claimed != example.computed


def other(division: object) -> object:
    """Return the division by another number."""
    (name,) = {"divisor", "height", "size"} & set(vars(division))
    return replace(division, **{name: getattr(division, name) + 1})
