"""Drawn cases: the kernel, evaluation, the bit-vector encoding and the intervals say the same.

`BVVERIFY_PROFILE=thorough pytest tests/harness/test_differential.py` draws many more.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st

from bvverify.errors import NotExact
from bvverify.kernels import fbgemm
from bvverify.kernels.availability import unavailable
from bvverify.kernels.lower import LoweredModel, lower
from bvverify.kernels.target import TARGETS, Target
from bvverify.model import Activation, Add, Function, Quantize, QuantizedModel, QuantParams, Slice
from harness import strategies
from harness.differential.compare import compare, difference
from harness.differential.operations import OPERATIONS, Operation
from harness.pool import KernelPool
from harness.sameness import encoding_fault

HERE = [target for target in TARGETS if target.unavailable() is None]
targets = st.sampled_from(HERE)


def lowered_or_rejected(model: QuantizedModel, target: Target) -> LoweredModel:
    """Lower a drawn model; one that is refused, or cannot run here, is no case."""
    assume(unavailable(model, target) is None)
    try:
        return lower(model, target)
    except NotExact as refusal:
        note(str(refusal))
        assume(False)
        raise


@given(case=strategies.networks(), target=targets)
def test_kernels_compute_what_drawn_networks_say(pool: KernelPool, case: strategies.Case, target: Target) -> None:
    model, inputs = case
    lowered = lowered_or_rejected(model, target)
    for row in range(len(inputs)):
        (real,) = pool.run(target, [(model, inputs[row : row + 1])])
        assert difference(lowered, inputs[row : row + 1], real) is None


@given(case=strategies.networks(), target=targets)
@settings(max_examples=40)
def test_the_encoding_has_one_output_for_a_drawn_input(case: strategies.Case, target: Target) -> None:
    model, inputs = case
    network = lowered_or_rejected(model, target).network
    levels = inputs[0].astype(np.int64)
    expected = network.evaluate(levels[None])[0]
    assert encoding_fault(network, levels, expected) is None


@given(case=strategies.networks(), target=targets, reach=st.integers(0, 255))
def test_intervals_contain_what_drawn_networks_compute(case: strategies.Case, target: Target, reach: int) -> None:
    model, inputs = case
    network = lowered_or_rejected(model, target).network
    center = inputs[0].astype(np.int64)
    box = np.maximum(center - reach, 0), np.minimum(center + reach, 255)
    inside = np.clip(inputs.astype(np.int64), *box)
    numbers = range(len(network.values))
    for value, (lower_end, upper_end) in zip(
        network.evaluate_values(inside, numbers), network.interval(*box), strict=True
    ):
        assert (lower_end <= value).all()
        assert (value <= upper_end).all()


@pytest.mark.parametrize("target", HERE, ids=str)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_random_layers_of_every_operation(pool: KernelPool, operation: Operation, target: Target) -> None:
    if not operation.runs_on(target):
        pytest.skip(f"{target} does not have this operation")
    tally = compare(pool, operation, target, range(6))
    assert tally.mismatches == []
    assert tally.compared + sum(tally.refused.values()) + tally.unavailable == 6


def test_every_operation_is_compared_on_some_target(pool: KernelPool) -> None:
    target = Target.parse("fbgemm")
    compared = {operation.name: compare(pool, operation, target, range(6)).compared for operation in OPERATIONS}
    assert {name for name, count in compared.items() if not count} == {"linear, qint8"}  # oneDNN alone has it


@pytest.mark.slow
@pytest.mark.parametrize("target", HERE, ids=str)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_random_layers_at_length(pool: KernelPool, operation: Operation, target: Target) -> None:
    if operation.runs_on(target):
        assert compare(pool, operation, target, range(1000, 1200)).mismatches == []


@given(case=st.tuples(strategies.seeded, targets))
@settings(max_examples=30)
def test_kernels_compute_what_seeded_models_say(pool: KernelPool, case: tuple[tuple[Operation, int], Target]) -> None:
    (operation, seed), target = case
    model, batch = strategies.seeded_case(operation, seed)
    lowered = lowered_or_rejected(model, target)
    (real,) = pool.run(target, [(model, batch)])
    assert difference(lowered, batch, real) is None


def test_a_wrong_prediction_is_reported_with_its_place(pool: KernelPool, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target.parse("fbgemm")
    monkeypatch.setattr(fbgemm, "rounded_to_bytes", lambda scaled, zero_point, relu: np.full(scaled.shape, 7))
    tally = compare(pool, next(o for o in OPERATIONS if o.name == "linear, ties"), target, range(3))
    assert [mismatch.seed for mismatch in tally.mismatches] == [0, 1, 2]
    assert "bytes differ, first at (0, 0): predicted 7, the kernel computed " in tally.mismatches[0].what


def tie_add(size: int) -> QuantizedModel:
    """Return an add of two scales of 0.1 into 0.4, whose ties vectors and scalars round differently."""
    quantize = Quantize("quantize", QuantParams(0.1, 128))
    slices = [Slice(f"slice{index}", 0, index * size, (index + 1) * size) for index in range(2)]
    layers = (quantize, *slices, Add("add", False, QuantParams(0.4, 127)))
    return QuantizedModel((2 * size,), layers, ((0,), (1,), (1,), (2, 3)))


def test_the_place_of_an_element_decides_a_tie(pool: KernelPool) -> None:
    model, target = tie_add(70), Target.parse("fbgemm")
    lowered = lower(model, target)
    assert lowered.depends_on_place
    ones = np.ones((1, 140), dtype=np.uint8)
    predicted = lowered.layer_bytes(ones.astype(np.int64))["add"][0]
    assert predicted.tolist() == [63] * 64 + [64] * 6
    (real,) = pool.run(target, [(model, ones)])
    assert difference(lowered, ones, real) is None


def test_a_place_that_does_not_matter_is_not_split() -> None:
    model = tie_add(70)
    wide = replace(model, layers=(*model.layers[:-1], Add("add", False, QuantParams(0.3, 127))))
    assert not lower(wide, Target.parse("fbgemm/avx2")).depends_on_place


def test_more_elements_than_one_thread_takes_are_refused_where_places_matter() -> None:
    with pytest.raises(NotExact, match="depend on the number of threads"):
        lower(tie_add(32769), Target.parse("fbgemm/avx2"))


def test_levels_of_floats_and_bytes() -> None:
    lowered = lower(tie_add(1), Target.parse("qnnpack/sse2"))
    assert lowered.levels(np.array([[0.1, -0.1]], dtype=np.float32)).tolist() == [[129, 127]]
    assert lowered.levels(np.array([[129, 127]], dtype=np.uint8)).tolist() == [[129, 127]]


def test_sums_of_scales_that_are_too_far_apart_are_refused() -> None:
    layers = (
        Quantize("quantize", QuantParams(1e-30, 0)),
        Activation("half", Function.SIGMOID, (), QuantParams(1 / 256, 0)),
        Add("add", False, QuantParams(0.1, 0)),
    )
    model = QuantizedModel((2,), layers, ((0,), (1,), (1, 2)))
    with pytest.raises(NotExact, match="too far apart"):
        lower(model, Target.parse("fbgemm/avx2"))


def test_refusals_are_counted_by_reason(pool: KernelPool) -> None:
    mean = next(operation for operation in OPERATIONS if operation.name == "mean")
    tally = compare(pool, mean, Target.parse("fbgemm/avx2"), range(10))
    reasons: Counter[str] = tally.refused
    assert sum(reasons.values()) > 0
    assert all(reason.startswith("this mean goes through floats") for reason in reasons)
