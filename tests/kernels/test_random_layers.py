"""Lowered models against the real kernels of every target that this machine can force, byte for byte."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from bvverify.kernels.target import Engine, Isa, Target
from bvverify.model import QuantizedModel
from harness.generate import weighted as cases

from .agreement import compare
from .conftest import Kernels

QUICK_CASES = 80
SLOW_CASES = 4000
MAKERS = [cases.linear_model, cases.conv_model, cases.tie_linear_model, cases.tie_conv_model]
Maker = Callable[[np.random.Generator], QuantizedModel]


def compare_many(kernels: Kernels, target: Target, make: Maker, seeds: range) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for seed in seeds:
        rng = np.random.default_rng([seed, MAKERS.index(make)])
        model = make(rng)
        try:
            compare(kernels, target, model, cases.inputs_for(rng, model), outcomes)
        except Exception as error:
            error.add_note(f"{make.__name__}, seed {seed}")
            raise
    return outcomes


def least_share(target: Target, make: Maker) -> float:
    """Return the share of random models that at least must have been compared, not refused."""
    if make is cases.tie_linear_model:
        return 0.9
    if make is cases.linear_model:
        return 0.7
    if target.isa in (Isa.AVX2, Isa.AVX512) and target.engine is not Engine.FBGEMM:
        return 0.0  # oneDNN's convolutions there are refused, and for x86 this machine may have no way to run them
    return 0.6


@pytest.mark.parametrize("make", MAKERS)
def test_every_byte_is_as_predicted(kernels: Kernels, target: Target, make: Maker) -> None:
    outcomes = compare_many(kernels, target, make, range(QUICK_CASES))
    assert outcomes["compared"] >= least_share(target, make) * QUICK_CASES, outcomes


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS)
def test_every_byte_is_as_predicted_at_length(kernels: Kernels, target: Target, make: Maker) -> None:
    outcomes = compare_many(kernels, target, make, range(QUICK_CASES, QUICK_CASES + SLOW_CASES))
    assert outcomes["compared"] >= least_share(target, make) * SLOW_CASES, outcomes
