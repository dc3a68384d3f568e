import io
import pickle

import bitwuzla
import pytest
import z3
from hypothesis import HealthCheck, given, settings
from pysmt.exceptions import ConvertExpressionError, SolverReturnedUnknownResultError
from pysmt.logics import QF_BV
from pysmt.shortcuts import BV, BVUGT, BVULT, GE, And, Equals, Int, Not, Symbol
from pysmt.smtlib.script import smtlibscript_from_formula
from pysmt.typing import INT

from bvverify.errors import InternalError, SolverUnavailable, UsageError
from bvverify.solvers import Answer, Status, check, check_smtlib, installed, open_solver, registry

from .formulas import boolean, formulas, semiprime, vector


def as_script(formula) -> str:
    text = io.StringIO()
    smtlibscript_from_formula(formula, logic=QF_BV).serialize(text, daggify=True)
    return text.getvalue()


def test_sat_gives_the_values_that_were_asked_for(solver: str) -> None:
    x, y, a = vector("x", 8), vector("y", 8), boolean("a")
    formula = And(a, Equals(x, BV(200, 8)), BVUGT(y, BV(254, 8)))
    answer = check(formula, solver=solver, values=[x, a, vector("unused", 3)])
    assert answer.status is Status.SAT
    assert answer.model is not None
    assert answer.model["x"] == 200
    assert answer.model["a"] == 1
    assert 0 <= answer.model["unused"] < 8
    assert set(answer.model) == {"x", "a", "unused"}
    assert answer.seconds > 0


def test_unsat_has_no_model(solver: str) -> None:
    x = vector("x", 8)
    answer = check(And(BVULT(x, BV(3, 8)), BVUGT(x, BV(3, 8))), solver=solver, values=[x])
    assert (answer.status, answer.model, answer.reason) == (Status.UNSAT, None, "")


def test_time_limit_stops_a_hard_question(solver: str) -> None:
    answer = check(semiprime(), solver=solver, time_limit=0.5)
    assert (answer.status, answer.reason) == (Status.UNKNOWN, "time")
    assert answer.seconds < 1.5


def test_time_limit_stops_a_hard_script(solver: str) -> None:
    answer = check_smtlib(as_script(semiprime()), solver=solver, time_limit=0.5)
    assert (answer.status, answer.reason) == (Status.UNKNOWN, "time")
    assert answer.seconds < 1.5


def test_time_limit_holds_for_each_check(solver: str) -> None:
    with open_solver(solver, time_limit=0.3) as native:
        native.push()
        native.add_assertion(semiprime())
        for _ in range(2):
            with pytest.raises(SolverReturnedUnknownResultError):
                native.solve()
            assert native.unknown_reason == "time"
        native.pop()
        assert native.solve()


@pytest.mark.parametrize("value", [Symbol("n", INT), BV(3, 8)])
def test_values_are_symbols_of_the_logic(solver: str, value) -> None:
    with pytest.raises(UsageError, match="value of"):
        check(boolean("a"), solver=solver, values=[value])


def test_unknown_solver() -> None:
    with pytest.raises(SolverUnavailable):
        check(boolean("a"), solver="boolector")
    with pytest.raises(SolverUnavailable):
        check_smtlib("(check-sat)", solver="boolector")


def test_a_formula_outside_the_logic_is_an_error_and_no_answer() -> None:
    with pytest.raises(ConvertExpressionError):
        check(GE(Symbol("n", INT), Int(0)), solver="bitwuzla")


class Broken:
    """A native solver whose every method raises `error`."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> object:
        raise self.error


@pytest.mark.parametrize(
    ("error", "reason"), [(MemoryError(), "memory"), (None, "bad_alloc in a native frame")], ids=["memory", "native"]
)
def test_a_native_failure_is_unknown(solver: str, error, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    native_error = {"bitwuzla": bitwuzla.BitwuzlaException, "cvc5": RuntimeError, "z3": z3.Z3Exception}[solver]
    broken = Broken(error or native_error("std::bad_alloc\nin a native frame"))
    if solver == "z3":
        monkeypatch.setattr(z3.Solver, "check", lambda *_: broken.check)
    else:
        # The native solvers of these two are extension types, whose methods cannot be replaced.
        module = registry.load(solver)
        real = module._check
        monkeypatch.setattr(module, "_check", lambda _, *rest: real(broken, *rest))
    for answer in (
        check(boolean("a"), solver=solver),
        check_smtlib("(declare-const a Bool)(assert a)(check-sat)", solver=solver),
    ):
        assert answer.status is Status.UNKNOWN
        assert reason in answer.reason


def test_a_programming_error_propagates(solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("broken")

    with open_solver(solver) as native:
        monkeypatch.setattr(type(native), "add_assertion", broken)
    with pytest.raises(KeyError):
        check(boolean("a"), solver=solver)


def test_an_answer_can_be_pickled(solver: str) -> None:
    answer = check(boolean("a"), solver=solver, values=[boolean("a")])
    assert pickle.loads(pickle.dumps(answer)) == answer


@pytest.mark.parametrize(
    ("status", "model", "reason"),
    [(Status.SAT, None, ""), (Status.UNSAT, {}, ""), (Status.UNKNOWN, None, ""), (Status.UNSAT, None, "time")],
)
def test_an_answer_that_contradicts_itself_cannot_be_made(status: Status, model, reason: str) -> None:
    with pytest.raises(InternalError):
        Answer(status, model, 0.0, reason)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(formula=formulas())
def test_formula_and_script_agree_on_every_backend(formula) -> None:
    symbols = sorted(formula.get_free_variables(), key=str)
    names = [symbol.symbol_name() for symbol in symbols]
    script = as_script(formula)
    statuses = set()
    for solver in installed():
        for answer in (
            check(formula, solver=solver, values=symbols),
            check_smtlib(script, solver=solver, values=names),
        ):
            statuses.add(answer.status)
            if answer.model is not None:
                chosen = [constant(symbol, answer.model[symbol.symbol_name()]) for symbol in symbols]
                assert formula.substitute(dict(zip(symbols, chosen, strict=True))).simplify().is_true()
    assert statuses in ({Status.SAT}, {Status.UNSAT})


def constant(symbol, value: int):
    if symbol.symbol_type().is_bool_type():
        return boolean("t").Iff(boolean("t")).simplify() if value else Not(boolean("t").Iff(boolean("t"))).simplify()
    return BV(value, symbol.bv_width())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=formulas(), second=formulas(), third=formulas())
def test_incremental_answers_equal_one_shot_answers(first, second, third) -> None:
    def one_shot(*parts) -> bool:
        return check(And(parts), solver="z3").status is Status.SAT

    for solver in installed():
        with open_solver(solver) as native:
            native.add_assertion(first)
            assert native.solve() == one_shot(first)
            native.push()
            native.add_assertion(second)
            assert native.solve() == one_shot(first, second)
            assert native.solve([third]) == one_shot(first, second, third)
            native.pop()
            assert native.solve([third]) == one_shot(first, third)
            assert native.solve() == one_shot(first)
