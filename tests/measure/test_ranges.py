"""Ranges of outputs: proved ends enclose, attained values are attained, and a solver makes both meet."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bvverify as bv
from bvverify.errors import InputError, InternalError, UsageError
from bvverify.measure import output_ranges
from bvverify.network import NetworkBuilder, StepNetwork
from bvverify.queries import LevelBox
from bvverify.search import ALL_STAGES, BitvectorSolver, Decision, Outcome, Stage
from bvverify.solvers import installed
from tests.models import small_dense
from tests.networks import boxes, networks, points_of

QUICK = (Stage.INTERVALS, Stage.BOUNDS, Stage.ATTACK)


@pytest.fixture(scope="module")
def solver() -> Iterator[BitvectorSolver]:
    with BitvectorSolver(installed()[0]) as opened:
        yield opened


@st.composite
def cases(draw: st.DrawFn) -> tuple[StepNetwork, LevelBox]:
    network = draw(networks())
    return network, draw(boxes(network, max_points=200))


@pytest.mark.parametrize("stages", [(Stage.INTERVALS,), QUICK, ALL_STAGES])
def test_ranges_are_those_of_enumeration(stages: tuple[Stage, ...], solver: BitvectorSolver) -> None:
    ends = met = 0

    @given(cases())
    @settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    def agrees(case: tuple[StepNetwork, LevelBox]) -> None:
        nonlocal ends, met
        network, box = case
        outputs = network.evaluate(points_of(box))
        for one in output_ranges(network, box, solver=solver, seconds=60, stages=stages):
            least, greatest = int(outputs[:, one.output].min()), int(outputs[:, one.output].max())
            assert one.proved[0] <= least <= one.attained[0] <= one.attained[1] <= greatest <= one.proved[1]
            for levels, value in zip(one.levels, one.attained, strict=True):
                assert box.contains(levels)
                assert network.evaluate(levels[None])[0, one.output] == value
            if stages == ALL_STAGES:
                assert one.exact == (True, True)
            ends += 2
            met += (one.attained[0] == least) + (one.attained[1] == greatest)

    agrees()
    if Stage.ATTACK in stages:
        assert met >= 0.8 * ends


def branching() -> tuple[StepNetwork, LevelBox]:
    """Return the outputs (|x|, x) of x in -4 to 6, where intervals know no better than -10 to 10 for the first one."""
    builder = NetworkBuilder(lower=[-4], upper=[6])
    builder.dense([[1], [-1], [1]], [0, 0, 0])
    builder.clamp(0, 10)
    builder.dense([[1, 1, 0], [0, 0, 1]], [0, 0])
    return builder.build(), LevelBox.of([-4], [6])


def test_chosen_outputs_come_in_their_order(solver: BitvectorSolver) -> None:
    stages = (Stage.INTERVALS, Stage.ATTACK, Stage.BITVECTOR)
    found = output_ranges(*branching(), outputs=[1, 0], solver=solver, seconds=60, stages=stages)
    assert [(one.output, one.proved, one.attained) for one in found] == [(1, (0, 6), (0, 6)), (0, (0, 6), (0, 6))]
    assert found[1].levels[0].tolist() == [0]
    assert found[1].solver.startswith(installed()[0])
    assert found[0].solver == ""


def test_without_time_for_the_solver_the_ends_stay_apart(solver: BitvectorSolver) -> None:
    (one,) = output_ranges(*branching(), outputs=[0], solver=solver, seconds=60, stages=[Stage.INTERVALS])
    assert one.proved == (0, 10)
    assert not one.exact[1]


def test_what_is_no_output_is_refused(solver: BitvectorSolver) -> None:
    with pytest.raises(UsageError, match="output 2 is not one of the 2 outputs"):
        output_ranges(*branching(), outputs=[2], solver=solver, seconds=1)
    with pytest.raises(InputError, match="shape"):
        output_ranges(branching()[0], LevelBox.of([0, 0], [1, 1]), solver=solver, seconds=1)


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (Decision(Outcome.VIOLATED, "bitvector", "liar 1.0", witness=np.array([1])), "liar"),
        (Decision(Outcome.VIOLATED, "bitvector", "liar 1.0", witness=np.array([7])), "liar"),
        (Decision(Outcome.VIOLATED, "bitvector", "liar 1.0"), "liar"),
    ],
)
def test_a_solver_that_lies_is_an_internal_error(lie: Decision, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BitvectorSolver, "decide", lambda *_, **__: lie)
    with BitvectorSolver(installed()[0]) as liar, pytest.raises(InternalError, match=words):
        output_ranges(*branching(), outputs=[0], solver=liar, seconds=1, stages=[Stage.INTERVALS, Stage.BITVECTOR])


def test_attained_values_are_the_kernels() -> None:
    image = np.array([10, 200, 30, 90, 0, 255], dtype=np.uint8)
    region = bv.PixelBall(image, 1)
    with bv.Verifier(bv.load_model(small_dense()), target=bv.Target.parse("qnnpack"), seconds=30) as verifier:
        found = verifier.output_ranges(region)
        outputs = verifier.lowered.network.evaluate(points_of(verifier.box(region)))
        assert found.replay == "replayed"
        assert found.inputs.shape == (3, 2, 6)
        for one, inputs in zip(found.ranges, found.inputs, strict=True):
            column = outputs[:, one.output]
            assert one.proved == one.attained == (column.min(), column.max())
            pixels = np.rint(inputs * 255).astype(int)
            assert (abs(pixels - image.astype(int)) <= 1).all()
            levels = verifier.lowered.quantizer.levels(inputs)
            assert verifier.lowered.network.evaluate(levels)[:, one.output].tolist() == list(one.attained)
        with pytest.raises(InputError, match="takes inputs of shape"):
            verifier.output_ranges(bv.PixelBall(image[:5], 1))
