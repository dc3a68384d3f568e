"""Chains are dense layers, and nothing else is taken for one."""

import numpy as np
from hypothesis import HealthCheck, given, settings

from bvverify.network import Affine, NetworkBuilder, Step
from bvverify.search.chain import Chain
from tests.encode.questions import Question, questions


@given(questions())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_chains_are_dense_layers(question: Question) -> None:
    chain = Chain.of(question.network)
    if chain is not None:
        nodes = question.network.nodes
        assert 2 * (1 + len(chain.layers)) <= len(nodes)
        assert chain.layers[-1][1] is nodes[-1].operation


def test_a_layer_that_serves_two_positions_is_no_dense_one() -> None:
    random = np.random.default_rng(3)
    builder = NetworkBuilder(lower=[0] * 8, upper=[9] * 8)
    builder.dense(random.integers(-9, 10, (6, 8)).tolist(), [0] * 6)
    builder.step(Step(0, np.arange(12)[None] * 17))
    builder.append(Affine(random.integers(-9, 10, (1, 2, 3)), np.zeros(2, np.int64)), builder.value)
    builder.step(Step(0, np.arange(12)[None] * 17))
    network = builder.build()
    assert network.values[-1].lower.shape == (2, 2)
    assert Chain.of(network) is None
