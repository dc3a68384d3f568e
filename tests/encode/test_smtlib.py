"""The SMT-LIB script of a question says what its pysmt formula says."""

import io
import warnings

import pytest
from hypothesis import given, settings
from pysmt.environment import reset_env
from pysmt.smtlib.parser import SmtLibParser

from bvverify.encode import smtlib_lines
from bvverify.solvers import Status, check, check_smtlib, installed
from tests.networks import violates

from .questions import Question, questions


def script_of(question: Question, *, status: str = "unknown", comments: tuple[str, ...] = ()) -> str:
    lines = smtlib_lines(question.network, question.box, question.property, status=status, comments=comments)
    return "\n".join(lines) + "\n"


def expected(question: Question) -> Status:
    return Status.SAT if question.violated() else Status.UNSAT


@pytest.mark.parametrize("solver", installed())
@given(question=questions())
@settings(max_examples=80)
def test_every_solver_reads_the_script_and_agrees_with_enumeration(solver: str, question: Question) -> None:
    box = question.box
    names = {f"x{e}": e for e in range(box.lower.size) if box.lower.flat[e] < box.upper.flat[e]}
    answer = check_smtlib(script_of(question), solver=solver, values=list(names))
    assert answer.status is expected(question)
    if answer.model is not None:
        witness = box.lower.copy()
        for name, element in names.items():
            witness.reshape(-1)[element] += answer.model[name]
        assert box.contains(witness)
        assert violates(question.property, question.network.evaluate(witness[None])[0].tolist())


@given(questions())
@settings(max_examples=60)
def test_pysmts_own_parser_reads_the_same_formula(question: Question) -> None:
    environment = reset_env()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        script = SmtLibParser(environment).get_script(io.StringIO(script_of(question)))
    commands = [command.name for command in script.commands]
    assert commands[-2:] == ["check-sat", "exit"]
    assert script.count_command_occurrences("check-sat") == 1
    formula = script.get_last_formula()
    assert check(formula, solver=installed()[0]).status is expected(question)


@given(questions(max_points=10))
@settings(max_examples=30)
def test_the_header_names_the_status_and_every_comment(question: Question) -> None:
    comments = ("target: fbgemm/avx512_vnni", "two\nlines (and \t tabs)")
    lines = script_of(question, status="sat", comments=comments).splitlines()
    assert lines[:2] == ["; target: fbgemm/avx512_vnni", "; two lines (and tabs)"]
    commands = [line for line in lines if not line.startswith(";")]
    assert commands[:2] == ["(set-info :status sat)", "(set-logic QF_BV)"]
    assert commands[-2:] == ["(check-sat)", "(exit)"]
    assert all(line.startswith(("(declare-const", "(define-fun", "(assert")) for line in commands[2:-2])
    for name, element, low in free_words(question):
        assert f"; {name} = input element {element} minus {low}" in lines


@pytest.mark.parametrize("status", ["sat", "unsat", "unknown"])
@given(question=questions(max_points=3))
@settings(max_examples=3)
def test_the_status_is_the_callers(status: str, question: Question) -> None:
    assert f"(set-info :status {status})\n" in script_of(question, status=status)


def free_words(question: Question) -> list[tuple[str, int, int]]:
    ends = zip(question.box.lower.flat, question.box.upper.flat, strict=True)
    return [(f"x{element}", element, int(low)) for element, (low, high) in enumerate(ends) if low < high]
