"""No stage contradicts enumeration, alone or with others, on many small networks of 1 to 8 bits."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from bvverify.network import NetworkBuilder, StepNetwork, Window, shift_rule
from bvverify.queries import LevelBox, Robustness, predicted_class
from bvverify.search import Outcome, Stage, decide
from bvverify.search.bitvector import BitvectorSolver
from bvverify.solvers import installed
from tests.encode.questions import Question
from tests.networks import points_of
from tests.search.test_branch import SMALL, agree, branched

ALONE = (Stage.INTERVALS, Stage.BOUNDS, Stage.ATTACK, Stage.ILP, Stage.BITVECTOR)


def network(random: np.random.Generator) -> StepNetwork:
    """Return a dense or convolutional network of 1 to 8 bits, some with accumulators that saturate."""
    bits = int(random.integers(1, 9))
    levels, reach = 2**bits - 1, max(1, 2 ** (bits - 1) - 1)
    width = int(random.integers(2, 5))
    if convolutional := bool(random.integers(2)):
        builder = NetworkBuilder(lower=np.zeros((1, 3, 3), dtype=int), upper=np.full((1, 3, 3), levels))
        window = Window((2, 2), padding=(1, 1)) if random.integers(2) else Window((2, 2))
        kernel = random.integers(-reach, reach + 1, (2, 1, 2, 2))
        builder.conv2d(kernel, random.integers(-reach, reach + 1, 2) * levels, window=window)
    else:
        builder = NetworkBuilder(lower=[0] * 3, upper=[levels] * 3)
        weight = random.integers(-reach, reach + 1, (width, 3))
        builder.dense(weight, random.integers(-reach, reach + 1, width) * levels // 2)
    channels = 2 if convolutional else width
    if random.integers(2):
        builder.clamp(-reach * levels, reach * levels)
    _requantize(builder, random, channels, bits)
    if convolutional:
        if random.integers(2):
            builder.max_pool2d(Window((2, 2)))
        builder.reshape((builder.layout.size,))
    elif random.integers(2):
        builder.dense(random.integers(-reach, reach + 1, (3, width)), random.integers(-9, 10, 3))
        _requantize(builder, random, 3, bits)
    inputs = builder.layout.shape[-1]
    builder.dense(random.integers(-reach, reach + 1, (3, inputs)), random.integers(-9, 10, 3))
    if random.integers(2):
        _requantize(builder, random, 3, bits)
    return builder.build()


def _requantize(builder: NetworkBuilder, random: np.random.Generator, channels: int, bits: int) -> None:
    multiplier = random.integers(1, 8, channels)
    shift = int(random.integers(max(1, bits - 1), bits + 4))
    zero = int(random.integers(0, 2**bits)) if random.integers(2) else 0
    builder.step(shift_rule(multiplier=multiplier, shift=shift, zero_point=zero, lower=0, upper=2**bits - 1))


def question(random: np.random.Generator) -> Question:
    """Ask about the most frequent class of a box of at most 600 inputs."""
    small = network(random)
    center = random.integers(small.lower, small.upper + 1)
    lower, upper = center.copy(), center.copy()
    for element in random.permutation(center.size).tolist():
        wider = lower.copy(), upper.copy()
        width = int(random.integers(0, 6))
        wider[0].reshape(-1)[element] = max(0, center.reshape(-1)[element] - width)
        wider[1].reshape(-1)[element] = min(small.upper.reshape(-1)[element], center.reshape(-1)[element] + width)
        if np.prod(wider[1] - wider[0] + 1) <= 600:
            lower, upper = wider
    box = LevelBox.of(lower, upper)
    predicted = predicted_class(small.evaluate(points_of(box)))
    return Question(small, box, Robustness(int(np.bincount(predicted).argmax()), small.outputs))


@pytest.fixture(scope="module")
def solver() -> Iterator[BitvectorSolver]:
    with BitvectorSolver(installed()[0]) as solver:
        yield solver


@pytest.mark.parametrize("count", [60, pytest.param(5000, marks=pytest.mark.slow)])
def test_no_stage_contradicts_enumeration(count: int, solver: BitvectorSolver) -> None:
    seen: Counter[tuple[str, Outcome]] = Counter()
    for seed in range(count):
        asked = question(np.random.default_rng(seed))
        truth = Outcome.VIOLATED if asked.violated() else Outcome.ROBUST
        found, split_at_inputs = (branched(asked, replace(SMALL, free_inputs=free)) for free in (0, 64))
        agree(asked, found)
        agree(asked, split_at_inputs)
        seen["branch", Outcome.ROBUST] += found.proved
        for stages in [*((stage,) for stage in ALONE), (Stage.BOUNDS, Stage.ATTACK, Stage.ILP), tuple(Stage)]:
            decision = decide(asked.network, asked.box, asked.property, solver=solver, seconds=60, stages=stages)
            assert decision.outcome in (truth, Outcome.UNKNOWN), (seed, stages)
            assert decision.outcome is truth or stages[-1] not in (Stage.ILP, Stage.BITVECTOR), (seed, stages)
            seen[stages[-1], decision.outcome] += 1
    robust = seen[Stage.BITVECTOR, Outcome.ROBUST]
    assert count / 10 <= robust <= count * 1.9  # the stage alone, and all of them together
    assert seen["branch", Outcome.ROBUST] >= 0.3 * robust / 2
    assert seen[Stage.ATTACK, Outcome.VIOLATED] >= count / 20
