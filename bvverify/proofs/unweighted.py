"""Obligations of the layers that round without weights: additions, multiplications and averages.

What is claimed is read from the lowered network's own nodes: tables, weights of sums, thresholds, and ranges.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np

from bvverify.errors import InternalError
from bvverify.kernels.arithmetic import Rounded
from bvverify.kernels.lower import LoweredModel
from bvverify.kernels.pooling import Averaged
from bvverify.kernels.target import Engine
from bvverify.model import AdaptiveAvgPool2d, Add, AvgPool2d, Mean, Mul, QuantParams
from bvverify.network import Affine, Lookup, Step, StepNetwork
from bvverify.proofs import addition, averages, multiplication
from bvverify.proofs.addition import Program
from bvverify.proofs.obligation import Obligation
from bvverify.proofs.pipeline import Pipeline
from bvverify.proofs.questions import (
    Operand,
    Question,
    Staircase,
    addition_questions,
    direct_question,
    operands_question,
)

Unweighted: TypeAlias = Add | Mul | AvgPool2d | AdaptiveAvgPool2d | Mean


def unweighted_obligations(
    layer: Unweighted, sources: Sequence[QuantParams], lowered: LoweredModel
) -> Iterator[Obligation]:
    """Yield what is to be proved of `layer`, which reads values quantized as `sources`; of equal rows, only one."""
    for rounding in lowered.roundings:
        if rounding.name != layer.name:
            continue
        match layer, rounding:
            case Add(), Rounded():
                yield from _additions(layer, sources, lowered, rounding)
            case Mul(), Rounded():
                product = multiplication.pipeline(layer, sources[0], sources[1])
                yield from _rows(lowered, rounding, partial(_same, product), "")
            case _, Averaged():
                for division in rounding.divisions:
                    form = averages.FORMS[type(division)]
                    yield from _rows(lowered, rounding, partial(averages.pipeline, division, sources[0]), form)


def _same(pipeline: Pipeline, channel: int, channels: int) -> Pipeline:
    return pipeline


def step_at(network: StepNetwork, value: int, layer: str) -> tuple[Step, int]:
    """Return the Step whose result `value` is, and the number of the value that it reads."""
    node = network.nodes[value - 1]
    if not isinstance(node.operation, Step):
        raise InternalError(f"layer {layer}: its result is not that of a Step")
    return node.operation, node.inputs[0]


def _additions(
    layer: Add, sources: Sequence[QuantParams], lowered: LoweredModel, rounding: Rounded
) -> Iterator[Obligation]:
    """Yield the obligations that the nodes which end in a Step compute what the target's program does, for all pairs of
    bytes that they may meet.
    """
    network = lowered.network
    step, total = step_at(network, rounding.value, layer.name)
    affine = network.nodes[total - 1]
    pairs = network.nodes[affine.inputs[0] - 1]
    if not isinstance(affine.operation, Affine):
        raise InternalError(f"layer {layer.name}: its result is not that of a weighted sum")
    fixed_point = lowered.target.engine is Engine.QNNPACK
    left, right = (
        _operand(network, number, weight, has_table=not fixed_point)
        for number, weight in zip(pairs.inputs, affine.operation.weight.reshape(-1).tolist(), strict=True)
    )
    lower, upper = int(network.values[total].lower.min()), int(network.values[total].upper.max())
    staircase = Staircase.of(step.base, step.thresholds[0].tolist(), lower, upper)
    first, second = sources
    offset = int(affine.operation.offset[0])

    def obligation(program: Program, form: str, *faster: Question) -> Obligation:
        direct = operands_question(program, (left, right), offset, staircase)
        return Obligation(layer.name, 0, lower, upper, staircase, faster or (direct,), direct, form)

    if fixed_point:
        yield obligation(addition.qnnpack(layer, first, second), "fixed point")
        return
    exponent = _exponent((left, right), sources)
    for lane in rounding.lanes:
        aten = addition.aten(layer, first, second, lane)
        faster = addition_questions(aten, (left, right), exponent, staircase) if not offset and exponent >= -149 else ()
        yield obligation(aten.program, f"{lane.value} lane", *faster)


def _exponent(operands: tuple[Operand, Operand], sources: Sequence[QuantParams]) -> int:
    """Return the exponent of the power of two that the entries of the tables seem to count; no other can be proved."""
    entries = [
        (abs(entry), abs(params.scale * (level - params.zero_point)))
        for operand, params in zip(operands, sources, strict=True)
        for level, entry in enumerate(operand.table, operand.first)
    ]
    entry, real = max(entries)
    return round(math.log2(real / entry)) if entry and real else 0


def _operand(network: StepNetwork, number: int, weight: int, *, has_table: bool) -> Operand:
    """Return what becomes of the bytes of value `number`, or of those that are looked up to get it."""
    if not has_table:
        value = network.values[number]
        return Operand(int(value.lower.min()), int(value.upper.max()), weight)
    node = network.nodes[number - 1]
    if not isinstance(node.operation, Lookup):
        raise InternalError(f"value {number}: not that of a Lookup")
    value = network.values[node.inputs[0]]
    table = tuple(node.operation.table[0].tolist())
    return Operand(int(value.lower.min()), int(value.upper.max()), weight, table, node.operation.lower)


def _rows(
    lowered: LoweredModel, rounding: Rounded | Averaged, pipeline_of: Callable[[int, int], Pipeline], form: str
) -> Iterator[Obligation]:
    """Yield the obligations of the rows of one Step; `pipeline_of` is told the channel and the number of channels."""
    step, source = step_at(lowered.network, rounding.value, rounding.name)
    rows = step.thresholds.tolist()
    lower, upper = (
        reduce(bound.reshape(-1, len(rows)), axis=0).tolist()
        for reduce, bound in (
            (np.min, lowered.network.values[source].lower),
            (np.max, lowered.network.values[source].upper),
        )
    )
    seen = set()
    for channel, thresholds in enumerate(rows):
        staircase = Staircase.of(step.base, thresholds, lower[channel], upper[channel])
        pipeline = pipeline_of(channel, len(rows))
        if (pipeline, staircase) not in seen:
            seen.add((pipeline, staircase))
            question = direct_question(pipeline, staircase)
            yield Obligation(
                rounding.name, channel, lower[channel], upper[channel], staircase, (question,), question, form
            )
