"""Small random StepNetworks and boxes, and a slow interpreter to compare with: Python integers, one at a time."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bvverify.network import (
    ALWAYS,
    NEVER,
    Affine,
    Clamp,
    Gather,
    IntArray,
    Lookup,
    Max,
    NetworkBuilder,
    Operation,
    Product,
    Step,
    StepNetwork,
    Window,
    shift_rule,
)
from bvverify.queries import LevelBox, Robustness, TieRule

randoms = st.integers(0, 2**32).map(np.random.default_rng)
"""Sources of numbers: zeros, which Hypothesis likes, soon make a network constant, so it draws the structure alone."""


# What a network means.


def reference_values(network: StepNetwork, point: IntArray) -> list[list[int]]:
    """Return every value of the network at one input, flattened; the last one is the output."""
    values = [[int(x) for x in point.reshape(-1)]]
    for node in network.nodes:
        sources = [values[source] for source in node.inputs]
        values.append(_reference(node.operation, sources, network.values[node.inputs[0]].shape))
    return values


def reference(network: StepNetwork, batch: IntArray) -> list[list[int]]:
    """Return the outputs for each input of a batch."""
    return [reference_values(network, point)[-1] for point in batch]


def _reference(operation: Operation, sources: Sequence[list[int]], shape: tuple[int, ...]) -> list[int]:
    first = sources[0]
    match operation:
        case Gather(indices, padding):
            joined = [x for source in sources for x in source]
            return [joined[i] if i >= 0 else padding for i in indices.reshape(-1).tolist()]
        case Affine(weight, offset):
            return _reference_affine(weight.tolist(), offset.tolist(), first)
        case Step(base, thresholds):
            rows = thresholds.tolist()
            return [base + sum(t <= x for t in rows[i % len(rows)]) for i, x in enumerate(first)]
        case Clamp(lower, upper):
            return [lower if x < lower else upper if x > upper else x for x in first]
        case Max():
            return [max(first[start : start + shape[-1]]) for start in range(0, len(first), shape[-1])]
        case Lookup(lower, table):
            rows = table.tolist()
            return [rows[i % len(rows)][x - lower] for i, x in enumerate(first)]
        case Product():
            return [left * right for left, right in zip(first, sources[1], strict=True)]


def _reference_affine(weight: list[list[list[int]]], offset: list[int], x: list[int]) -> list[int]:
    per_group = len(weight[0][0])
    per_row = len(weight) * per_group
    result = []
    for start in range(0, len(x), per_row):
        biases = iter(offset)
        for group, members in enumerate(weight):
            seen = x[start + group * per_group : start + (group + 1) * per_group]
            result += [sum(w * v for w, v in zip(row, seen, strict=True)) + next(biases) for row in members]
    return result


# What a box means.


def levels_of(box: LevelBox) -> list[list[int]]:
    """Return, per element of the flattened input, the levels that a box allows."""
    missing = {(int(element), int(level)) for element, level in box.missing}
    ends = zip(box.lower.reshape(-1).tolist(), box.upper.reshape(-1).tolist(), strict=True)
    return [
        [level for level in range(low, high + 1) if (element, level) not in missing]
        for element, (low, high) in enumerate(ends)
    ]


def points_of(box: LevelBox) -> IntArray:
    """Return all inputs of a box, int64 (n, *shape)."""
    rows = np.array(list(itertools.product(*levels_of(box))), dtype=np.int64)
    return rows.reshape(-1, *box.lower.shape)


def violates(question: Robustness, outputs: Sequence[int]) -> bool:
    """Return whether outputs violate a question, by the words of its tie rule."""
    if question.forbidden is not None:
        firsts = [i for i, y in enumerate(outputs) if y == max(outputs)]
        match question.tie:
            case TieRule.LOWEST_INDEX:
                return firsts[0] == question.forbidden
            case TieRule.ANY_TIE_VIOLATES:
                return question.forbidden in firsts
            case TieRule.NO_TIE_VIOLATES:
                return firsts == [question.forbidden]
    own = outputs[question.label]
    others = [y for rival, y in enumerate(outputs) if rival != question.label]
    match question.tie:
        case TieRule.LOWEST_INDEX:
            return min(i for i, y in enumerate(outputs) if y == max(outputs)) != question.label
        case TieRule.ANY_TIE_VIOLATES:
            return not all(own > y for y in others)
        case TieRule.NO_TIE_VIOLATES:
            return not all(own >= y for y in others)


# Drawing them.


@st.composite
def networks(draw: st.DrawFn, *, max_outputs: int = 4, min_outputs: int = 1, max_blocks: int = 3) -> StepNetwork:
    """Dense and convolutional networks of 1 to 8 bits, with everything a builder can append."""
    builder = NetworkBuilder(**draw(domains()))
    for _ in range(draw(st.integers(0, max_blocks))):
        _append_block(draw, builder)
    builder.reshape((builder.layout.size,))
    _append_dense(draw, builder, draw(st.integers(min_outputs, max_outputs)))
    if draw(st.booleans()):
        builder.step(draw(steps(*builder.bounds)))
    return builder.build()


@st.composite
def single_layers(draw: st.DrawFn) -> StepNetwork:
    """Networks of one layer, so that intervals have nothing to lose."""
    builder = NetworkBuilder(**draw(domains()))
    match draw(st.sampled_from(["dense", "conv2d", "max_pool2d", "clamp", "step"])):
        case "conv2d" if builder.layout.ndim == 3:
            _append_conv(draw, builder)
        case "max_pool2d" if builder.layout.ndim == 3:
            _append_pool(draw, builder)
        case "clamp":
            _append_clamp(draw, builder)
        case "step":
            builder.reshape((builder.layout.size,))
            builder.dense(np.eye(builder.layout.size, dtype=int), np.zeros(builder.layout.size, dtype=int))
            builder.step(draw(steps(*builder.bounds)))
        case _:
            builder.reshape((builder.layout.size,))
            _append_dense(draw, builder, 3)
    return builder.build()


@st.composite
def domains(draw: st.DrawFn) -> dict[str, IntArray]:
    """Input domains of 1 to 8 bits: `lower` and `upper` of a NetworkBuilder."""
    side = st.integers(1, 3)
    shape = draw(st.tuples(st.integers(1, 4)) | st.tuples(st.integers(1, 2), side, side))
    random, top = draw(randoms), 2 ** draw(st.sampled_from([1, 2, 2, 3, 4, 8])) - 1
    lower = random.integers(-top, 5, size=shape)
    span = random.choice([0, top // 2, top, top, top, top], size=shape)
    return {"lower": lower, "upper": lower + span}


@st.composite
def steps(draw: st.DrawFn, lower: IntArray, upper: IntArray) -> Step:
    """Staircases whose thresholds lie in and around the accumulators' range [lower, upper], of shape (P, C)."""
    low, high = lower.min(axis=0), upper.max(axis=0)
    base, bits, random = draw(st.integers(-130, 5)), draw(st.integers(1, 8)), draw(randoms)
    if draw(st.booleans()):
        return _rule(draw, base, base + 2**bits - 1, max(int(np.abs([low, high]).max()), 1), len(low))
    # Sums are rarely far from the middle of their range, so that is where most thresholds go.
    margin = (high - low)[:, None] // draw(st.sampled_from([3, 4, 1_000_000]))
    shape = (len(low), 2**bits - 1)
    drawn = random.integers(low[:, None] + margin - 1, high[:, None] - margin + 2, size=shape)
    special = random.choice([ALWAYS, NEVER, 0], size=shape)
    return Step(base, np.sort(np.where(random.random(shape) < draw(st.sampled_from([0, 0.2])), special, drawn), axis=1))


@st.composite
def boxes(draw: st.DrawFn, network: StepNetwork, *, max_points: int = 400) -> LevelBox:
    """Boxes inside a network's domain with at most `max_points` inputs, some of them with missing levels."""
    random, room = draw(randoms), max_points
    lower = random.integers(network.lower, network.upper + 1)
    upper = lower.copy()
    missing = []
    widest = draw(st.sampled_from([4, 8, 12, 1]))
    for element in random.permutation(lower.size).tolist():
        width = min(room, widest, int(network.upper.flat[element] - network.lower.flat[element]) + 1)
        lower.flat[element] = min(int(lower.flat[element]), int(network.upper.flat[element]) - width + 1)
        upper.flat[element] = lower.flat[element] + width - 1
        inside = range(int(lower.flat[element]) + 1, int(upper.flat[element]))
        missing += [(element, level) for level in inside if random.random() < 0.1]
        room //= int(upper.flat[element] - lower.flat[element]) + 1
    return LevelBox(lower, upper, np.array(missing, dtype=np.int64).reshape(-1, 2))


@st.composite
def batches(draw: st.DrawFn, network: StepNetwork, *, min_size: int = 0, max_size: int = 5) -> IntArray:
    """Draw inputs of a network, the corners of its domain among them."""
    n = draw(st.integers(min_size, max_size))
    random = draw(randoms)
    batch = random.integers(network.lower, network.upper + 1, size=(n, *network.input_shape))
    corner = draw(st.sampled_from(["none", "lower", "upper"]))
    if n and corner != "none":
        batch[0] = network.lower if corner == "lower" else network.upper
    return batch


def _append_block(draw: st.DrawFn, builder: NetworkBuilder) -> None:
    kind = draw(
        st.sampled_from(
            [
                "dense",
                "dense-step",
                "conv2d",
                "conv2d-step",
                "max_pool2d",
                "clamp",
                "lookup",
                "product",
                "sum",
                "one-row",
            ]
        )
    )
    image = builder.layout.ndim == 3
    if kind.startswith("conv2d") and image:
        _append_conv(draw, builder)
    elif kind == "max_pool2d" and image:
        _append_pool(draw, builder)
    elif kind == "clamp":
        _append_clamp(draw, builder)
    elif kind == "lookup":
        _append_lookup(draw, builder)
    elif kind in ("product", "sum"):
        _append_branches(draw, builder, kind)
    elif kind == "one-row":
        _append_one_row(draw, builder)
    else:
        builder.reshape((builder.layout.size,))
        _append_dense(draw, builder, draw(st.integers(1, 4)))
    if kind.endswith("step") and len(builder.bounds[0].shape) == 2:
        builder.step(draw(steps(*builder.bounds)))


def _append_lookup(draw: st.DrawFn, builder: NetworkBuilder) -> None:
    """Append a table for the whole range of the value: one row for all elements, or one per channel."""
    lower, upper = builder.bounds
    low, high = int(lower.min()), int(upper.max())
    if high - low > 300:
        return
    rows = lower.shape[1] if lower.ndim == 2 and draw(st.booleans()) else 1
    random, size = draw(randoms), draw(st.sampled_from([1, 3, 100]))
    table = random.integers(-size, size + 1, size=(rows, high - low + 1 + draw(st.integers(0, 2))))
    builder.lookup(Lookup(low, np.sort(table, axis=1) if draw(st.booleans()) else table))


def _append_branches(draw: st.DrawFn, builder: NetworkBuilder, kind: str) -> None:
    """Append the product or the sum of the value with a clamped copy of itself."""
    value, layout = builder.value, builder.layout
    _append_clamp(draw, builder)
    clamped = builder.value
    shape = builder.shape_of(value)
    size = int(np.prod(shape))
    if max(abs(int(end)) for bound in builder.bounds for end in (bound.min(), bound.max())) > 2**20:
        return
    if kind == "product":
        builder.append(Product(), value, clamped)
    else:
        pairs = builder.append(Gather(np.arange(2 * size).reshape(2, size).T), value, clamped)
        builder.append(Affine([[[draw(st.integers(-3, 3)), draw(st.integers(-3, 3))]]], [0]), pairs)
        builder.append(Gather(np.arange(size).reshape(shape)), builder.value)
    builder.resume(builder.value, layout)


def _append_one_row(draw: st.DrawFn, builder: NetworkBuilder) -> None:
    """Append a staircase with one row of thresholds for every element."""
    ends = [np.array([[end]]) for end in (builder.bounds[0].min(), builder.bounds[1].max())]
    builder.step(draw(steps(*ends)))


def _append_dense(draw: st.DrawFn, builder: NetworkBuilder, outputs: int) -> None:
    weight = draw(_weights((outputs, builder.layout.shape[-1]), builder))
    middle = (builder.bounds[0] + builder.bounds[1]).reshape(-1)[builder.layout] // 2
    builder.dense(weight, _offset(draw, weight @ middle))


def _append_conv(draw: st.DrawFn, builder: NetworkBuilder) -> None:
    channels, height, width = builder.layout.shape
    groups = draw(st.sampled_from([g for g in (1, 2) if channels % g == 0]))
    kernel = draw(st.integers(1, min(height, 2))), draw(st.integers(1, min(width, 2)))
    window = Window(kernel, draw(_pairs(1, 2)), draw(_pairs(0, 1)))
    outputs = groups * draw(st.integers(1, 2))
    weight = draw(_weights((outputs, channels // groups, *kernel), builder))
    middle = int((builder.bounds[0] + builder.bounds[1]).mean()) // 2
    offset = _offset(draw, weight.sum(axis=(1, 2, 3)) * middle)
    builder.conv2d(weight, offset, window=window, groups=groups, padding_value=draw(st.integers(-3, 9)))


def _offset(draw: st.DrawFn, middle: IntArray) -> IntArray:
    """Return an offset that brings the middle of the range near zero, most of the time."""
    noise = draw(randoms).integers(-40, 41, size=middle.shape)
    return noise - middle * draw(st.sampled_from([1, 1, 1, 0]))


def _append_pool(draw: st.DrawFn, builder: NetworkBuilder) -> None:
    _, height, width = builder.layout.shape
    kernel = draw(st.integers(1, min(height, 3))), draw(st.integers(1, min(width, 3)))
    padding = draw(st.integers(0, kernel[0] // 2)), draw(st.integers(0, kernel[1] // 2))
    builder.max_pool2d(Window(kernel, draw(_pairs(1, 2)), padding, ceil_mode=draw(st.booleans())))


def _append_clamp(draw: st.DrawFn, builder: NetworkBuilder) -> None:
    low, high = (int(end) for end in (builder.bounds[0].min(), builder.bounds[1].max()))
    ends = sorted(draw(st.tuples(st.integers(low - 2, high + 2), st.integers(low - 2, high + 2))))
    builder.clamp(*ends)


def _weights(shape: tuple[int, ...], builder: NetworkBuilder) -> st.SearchStrategy[IntArray]:
    reach = max(abs(int(end)) for bound in builder.bounds for end in (bound.min(), bound.max()))
    sizes = [w for w in (1, 2, 7, 127, 40_000) if w * reach < 2**32] or [1]  # later sums must stay below 2**60
    seeded = st.builds(lambda random, w: random.integers(-w, w + 1, size=shape), randoms, st.sampled_from(sizes))
    few = min(sizes[-1], 9)
    return seeded | seeded | arrays(np.int64, shape, elements=st.integers(-few, few))


def _pairs(least: int, greatest: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(least, greatest), st.integers(least, greatest))


def _rule(draw: st.DrawFn, lower: int, upper: int, reach: int, channels: int) -> Step:
    shift = draw(st.integers(0, 20))
    typical = max(1, ((upper - lower) << shift) // (2 * reach))
    multiplier = draw(arrays(np.int64, channels, elements=st.integers(math.ceil(typical / 2), 2 * typical)))
    zero_point = draw(st.integers(lower, upper))
    return shift_rule(multiplier=multiplier, shift=shift, zero_point=zero_point, lower=lower, upper=upper)
