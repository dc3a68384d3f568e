"""The attack finds most violations of small networks, returns only violations, and follows true gradients."""

import math
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import bvverify as bv
from bvverify.network import Gather, NetworkBuilder, StepNetwork
from bvverify.queries import LevelBox
from bvverify.search.attack import AttackBudget, Near, _Attack, attack
from bvverify.search.surrogate import Surrogate
from tests.encode.questions import Question, questions
from tests.networks import violates

from .digits import digits, edges

DATA = Path(__file__).parents[1] / "data"


def attacked(question: Question, **budget: int) -> tuple[bool, np.ndarray | None]:
    found = attack(
        question.network,
        question.box,
        question.property,
        budget=AttackBudget(**budget),
        deadline=time.monotonic() + 60,
    )
    return found.witness is not None, found.witness


def test_what_it_returns_violates_and_it_finds_most() -> None:
    violated = found = 0

    @given(questions())
    @settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    def run(question: Question) -> None:
        nonlocal violated, found
        hit, witness = attacked(question)
        if witness is not None:
            assert question.box.contains(witness)
            assert violates(question.property, question.network.evaluate(witness[None])[0].tolist())
        violated += question.violated()
        found += hit

    run()
    assert violated >= 50
    assert found >= 0.9 * violated


def test_it_finds_violations_at_the_edge_of_robustness() -> None:
    """Boxes of up to three free elements that are just large enough to hold a violation."""
    violated = [edge for edge in edges(60) if edge.violated]
    deadline = time.monotonic() + 600
    hits = [
        attack(digits().network, edge.box, edge.question, budget=AttackBudget(), deadline=deadline).witness
        for edge in violated
    ]
    assert sum(hit is not None for hit in hits) >= 0.8 * len(violated)


def test_equal_seeds_give_equal_answers() -> None:
    edge = next(edge for edge in edges(60) if edge.violated)
    runs = [
        attack(
            digits().network, edge.box, edge.question, budget=AttackBudget(seed=seed), deadline=time.monotonic() + 60
        )
        for seed in (3, 3)
    ]
    assert runs[0].closest == runs[1].closest
    assert np.array_equal(runs[0].witness, runs[1].witness)


@pytest.mark.parametrize("spread", [0.02, 0.2])
def test_starts_are_spread_around_given_points(spread: float) -> None:
    """The first is the point, the last nearly as far from it as asked: relative to the width of the box."""
    edge = edges(1)[0]
    box = LevelBox.of(np.zeros_like(edge.box.lower), np.full_like(edge.box.upper, 100))
    near = [Near(np.full(box.lower.shape, 50, dtype=np.float32), edge.question.ways()[0][0].winner)]
    budget = AttackBudget(starts=50, spread=spread)
    starts = _Attack(digits().network, box, edge.question, budget, math.inf, near)._starts_near()
    furthest = np.abs(starts - 50).reshape(50, -1).max(axis=1)
    assert furthest[0] == 0
    assert 0.8 * 100 * spread < furthest[-1] <= 100 * spread


def test_the_deadline_is_kept() -> None:
    edge = next(edge for edge in edges(10) if not edge.violated)
    started = time.monotonic()
    budget = AttackBudget(sign_steps=10**6, smooth_steps=10**6, integer_steps=10**6)
    found = attack(digits().network, edge.box, edge.question, budget=budget, deadline=time.monotonic() + 0.3)
    assert found.witness is None
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("name", ["digits.pt", "digits_conv.pt"])
@pytest.mark.parametrize("roughness", [0.0, 0.7])
def test_gradients_are_those_of_differences(name: str, roughness: float) -> None:
    shape = (1, 8, 8) if name == "digits_conv.pt" else None
    network: StepNetwork = bv.lower(
        bv.load_model(DATA / name, input_shape=shape).model, bv.Target.parse("qnnpack")
    ).network
    surrogate = Surrogate(network)
    random = np.random.default_rng(1)
    point = random.uniform(20, 100, (1, *network.input_shape)).astype(np.float32)
    wanted = random.normal(size=(1, network.outputs)).astype(np.float32)
    values = surrogate.values(point, roughness=roughness)
    gradient = surrogate.input_gradient(values, wanted, roughness=roughness).reshape(-1)
    step = 0.02
    near = []
    for element in range(network.lower.size):
        ends = []
        for sign in (1, -1):
            moved = point.copy()
            moved.reshape(-1)[element] += sign * step
            ends.append(float((surrogate.outputs(surrogate.values(moved, roughness=roughness)) * wanted).sum()))
        near.append((ends[0] - ends[1]) / (2 * step))
    # A difference that crosses a kink (a ReLU, a maximum) may be off: nearly all elements cross none.
    error = np.abs(np.array(near) - gradient) / (np.abs(gradient).max() + 1e-9)
    assert (error < 0.05).mean() > 0.9


def test_exact_values_are_the_networks() -> None:
    network = digits().network
    inputs = np.random.default_rng(2).integers(0, 128, (5, *network.input_shape))
    values = Surrogate(network).exact_values(inputs)
    assert (values[-1].reshape(5, -1) == network.evaluate(inputs)).all()
    assert (np.rint(Surrogate(network).outputs(values)).clip(0, 255) == network.evaluate(inputs)).mean() > 0.95


@pytest.mark.parametrize("indices", [[0, 3, 3, -1, 3, 1, 0], [-1, -1, 2], [4, 4, 4, 4, 4, 4]])
def test_gradients_of_wiring_count_every_reader(indices: list[int]) -> None:
    builder = NetworkBuilder(lower=[0] * 5, upper=[9] * 5)
    builder.append(Gather(np.array(indices), padding=2), builder.value)
    builder.dense(np.eye(len(indices), dtype=int), [0] * len(indices))
    surrogate, point = Surrogate(builder.build()), np.ones((1, 5), dtype=np.float32)
    wanted = 2.0 ** np.arange(len(indices), dtype=np.float32)[None]
    gradient = surrogate.input_gradient(surrogate.values(point, roughness=0.0), wanted, roughness=0.0)
    read = np.array(indices)[:, None] == np.arange(5)
    np.testing.assert_array_equal(gradient, wanted @ read)
