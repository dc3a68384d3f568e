"""The pysmt formula of a question, put to constants and to solvers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pysmt.environment import Environment, reset_env
from pysmt.fnode import FNode

from bvverify.encode import Encoding, PysmtTerms, encode
from bvverify.network import NetworkBuilder, Step
from bvverify.queries import LevelBox, Robustness, TieRule
from bvverify.solvers import Status, check, installed
from tests.networks import points_of, violates

from .questions import Question, questions


def formula_of(question: Question, environment: Environment) -> tuple[FNode, list[FNode], Encoding]:
    terms = PysmtTerms(environment)
    encoding = encode(question.network, question.box, question.property, terms)
    manager = environment.formula_manager
    return manager.And([*encoding.domain, encoding.violation]), _symbols(question, encoding, terms), encoding


def _symbols(question: Question, encoding: Encoding, terms: PysmtTerms) -> list[FNode]:
    box = question.box
    return [
        terms.symbol(name, int(box.upper.flat[element] - base).bit_length())
        for name, (element, base) in encoding.inputs.items()
    ]


def answered(question: Question, solver: str) -> Status:
    """Return a solver's answer; check its witness."""
    formula, symbols, encoding = formula_of(question, reset_env())
    answer = check(formula, solver=solver, values=symbols)
    if answer.model is not None:
        witness = encoding.input_levels(question.box, dict(answer.model))
        assert question.box.contains(witness)
        assert violates(question.property, question.network.evaluate(witness[None])[0].tolist())
    return answer.status


@given(questions(max_points=60), st.data())
@settings(max_examples=60)
def test_words_put_to_constants_are_the_networks_outputs(question: Question, data: st.DataObject) -> None:
    environment = reset_env()
    formula, symbols, encoding = formula_of(question, environment)
    points = points_of(question.box)
    point = points[data.draw(st.integers(0, len(points) - 1))]
    outputs = question.network.evaluate(point[None])[0].tolist()
    manager = environment.formula_manager
    constants = {
        symbol: manager.BV(int(point.flat[element]) - base, symbol.bv_width())
        for symbol, (element, base) in zip(symbols, encoding.inputs.values(), strict=True)
    }
    for word, expected in zip(encoding.outputs, outputs, strict=True):
        if word.term is None:
            assert word.lower == expected
        else:
            assert word.lower + word.term.substitute(constants).simplify().constant_value() == expected
    assert formula.substitute(constants).simplify().is_true() == violates(question.property, outputs)


@pytest.mark.parametrize("solver", installed())
@given(question=questions())
@settings(max_examples=150)
def test_solvers_agree_with_enumeration(solver: str, question: Question) -> None:
    assert answered(question, solver) is (Status.SAT if question.violated() else Status.UNSAT)


@pytest.mark.parametrize("tie", TieRule)
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("gap", [-1, 0, 1])
def test_constant_outputs_are_compared_by_the_tie_rule(tie: TieRule, label: int, gap: int) -> None:
    builder = NetworkBuilder(lower=[0], upper=[3])
    builder.dense([[0], [0]], [5, 5 + gap])
    question = Question(builder.build(), LevelBox.of([0], [3]), Robustness(label, 2, tie))
    for solver in installed():
        assert answered(question, solver) is (Status.SAT if question.violated() else Status.UNSAT)


@pytest.mark.parametrize("tie", TieRule)
def test_a_single_point_needs_no_free_word(tie: TieRule) -> None:
    builder = NetworkBuilder(lower=[-3, 0], upper=[3, 3])
    builder.dense([[1, 2], [2, 1], [0, 0]], [0, 0, 1])
    network = builder.build()
    for point in points_of(LevelBox.of(network.lower, network.upper)):
        for label in range(3):
            question = Question(network, LevelBox.of(point, point), Robustness(label, 3, tie))
            formula, symbols, _ = formula_of(question, reset_env())
            assert symbols == []
            assert formula.simplify().is_true() == question.violated()


@pytest.mark.parametrize("solver", installed())
@pytest.mark.parametrize("missing", [[], [4], [3], [5], [3, 4], [3, 5]])
def test_a_witness_at_a_missing_level_is_excluded(solver: str, missing: list[int]) -> None:
    builder = NetworkBuilder(lower=[0], upper=[9])
    builder.dense([[1], [1]], [0, 0])
    builder.step(Step(0, [[4], [5]]))
    builder.dense([[1, -1], [0, 0]], [0, 0])  # the first output is 1 at 4, and 0 elsewhere
    gaps = np.array([(0, level) for level in missing], dtype=np.int64).reshape(-1, 2)
    box = LevelBox(np.array([0]), np.array([9]), gaps)
    question = Question(builder.build(), box, Robustness(1, 2, TieRule.NO_TIE_VIOLATES))
    assert answered(question, solver) is (Status.UNSAT if 4 in missing else Status.SAT)
