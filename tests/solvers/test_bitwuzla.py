import threading
import time
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from pysmt.environment import Environment
from pysmt.exceptions import (
    ConvertExpressionError,
    PysmtTypeError,
    PysmtValueError,
    SolverNotConfiguredForUnsatCoresError,
    SolverReturnedUnknownResultError,
    SolverStatusError,
)
from pysmt.logics import QF_BV
from pysmt.shortcuts import BV, BVUGT, BVULT, GE, And, BVToNatural, Equals, Int, Not, Or, get_env

from bvverify.solvers import bitwuzla_converter, open_solver
from bvverify.solvers.bitwuzla import BitwuzlaSolver, register

from .formulas import boolean, formulas, operator_samples, semiprime, vector


def test_every_operator_has_a_sample() -> None:
    handled = {*bitwuzla_converter.KINDS, *bitwuzla_converter.INDEXED}
    seen = {sample.node_type() for sample in operator_samples().values()}
    assert handled <= seen


@pytest.mark.parametrize("name", operator_samples())
def test_operator_is_the_one_of_pysmt(name: str) -> None:
    """On every value of two 5-bit vectors (a sample of the pairs), against pysmt's own evaluation."""
    term = operator_samples()[name]
    a, b, x, y = boolean("a"), boolean("b"), vector("u5", 5), vector("v5", 5)
    with open_solver("bitwuzla") as native:
        for left, right in product((0, 1, 7, 15, 16, 18, 31), repeat=2):
            values = {x: BV(left, 5), y: BV(right, 5), a: a.Iff(a) if left % 2 else Not(a.Iff(a)), b: Or(b, Not(b))}
            values[a], values[b] = values[a].simplify(), (values[b] if right % 3 else Not(values[b])).simplify()
            native.push()
            for symbol, value in values.items():
                native.add_assertion(symbol.Iff(value) if symbol in (a, b) else Equals(symbol, value))
            assert native.solve()
            assert native.get_value(term) == term.substitute(values).simplify()
            native.pop()


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(formula=formulas())
def test_agrees_with_z3_and_the_model_makes_it_true(formula) -> None:
    with open_solver("z3") as reference, open_solver("bitwuzla") as native:
        for question in (formula, Not(formula)):
            satisfiable = native.is_sat(question)
            assert satisfiable == reference.is_sat(question)
            if satisfiable:
                assert native.get_value(question).is_true()
                assert native.get_model().get_value(question).is_true()


def test_conversion_goes_on_after_a_refused_formula() -> None:
    x = vector("x", 8)
    with open_solver("bitwuzla") as native:
        refused = And(BVULT(x, BV(3, 8)), GE(BVToNatural(x), Int(2)))
        with pytest.raises(ConvertExpressionError, match="BV_TONATURAL"):
            native.add_assertion(refused)
        assert native.assertions == []
        native.add_assertion(Equals(x, BV(7, 8)))
        assert native.solve()
        assert native.get_py_value(x) == 7


def test_only_boolean_formulas_are_asserted_or_assumed() -> None:
    x = vector("x", 8)
    with open_solver("bitwuzla") as native:
        with pytest.raises(PysmtTypeError):
            native.add_assertion(x)
        with pytest.raises(PysmtTypeError):
            native.solve([x])


def test_value_needs_a_satisfiable_check_just_before() -> None:
    x = vector("x", 8)
    with open_solver("bitwuzla") as native:
        with pytest.raises(SolverStatusError):
            native.get_value(x)
        native.add_assertion(BVUGT(x, BV(3, 8)))
        assert native.solve()
        assert native.get_py_value(x) > 3
        native.add_assertion(BVULT(x, BV(3, 8)))
        with pytest.raises(SolverStatusError):
            native.get_value(x)
        assert not native.solve()
        with pytest.raises(SolverStatusError):
            native.get_value(x)


def test_value_of_a_symbol_that_no_assertion_holds() -> None:
    with open_solver("bitwuzla") as native:
        native.add_assertion(boolean("a"))
        assert native.solve()
        assert native.get_value(vector("never_seen", 8)).is_bv_constant()


def test_is_sat_leaves_no_level_behind() -> None:
    x = vector("x", 8)
    with open_solver("bitwuzla") as native:
        assert native.is_sat(Equals(x, BV(1, 8)))
        assert native.is_sat(Equals(x, BV(2, 8)))
        assert native.get_py_value(x) == 2
        assert native.solve([Equals(x, BV(3, 8))])
        assert native.is_sat(Equals(x, BV(4, 8)))
        assert native.assertions == []


def test_reset_removes_assertions_and_levels() -> None:
    x = vector("x", 8)
    with open_solver("bitwuzla") as native:
        native.push()
        native.add_assertion(BVULT(x, BV(0, 8)))
        assert not native.solve()
        native.reset_assertions()
        assert native.assertions == []
        native.add_assertion(Equals(x, BV(9, 8)))
        native.push()
        native.pop()
        assert native.solve()
        assert native.get_py_value(x) == 9


def test_unknown_option_is_refused() -> None:
    with pytest.raises(PysmtValueError, match="no-such-option"):
        BitwuzlaSolver(get_env(), QF_BV, solver_options={"no-such-option": 1})


def named_solver(mode: str) -> BitwuzlaSolver:
    return BitwuzlaSolver(get_env(), QF_BV, unsat_cores_mode=mode)


def test_named_core_in_mode_all_names_every_member() -> None:
    x = vector("x", 8)
    with named_solver("all") as native:
        native.add_assertion(BVULT(x, BV(5, 8)), named="_a_0")
        native.add_assertion(BVUGT(x, BV(9, 8)))
        native.add_assertion(BVULT(x, BV(100, 8)), named="idle")
        assert not native.solve()
        assert native.get_named_unsat_core() == {"_a_0": BVULT(x, BV(5, 8)), "_a_1": BVUGT(x, BV(9, 8))}


def test_named_core_in_mode_named_holds_names_only() -> None:
    x = vector("x", 8)
    with named_solver("named") as native:
        native.add_assertion(BVULT(x, BV(5, 8)), named="low")
        native.add_assertion(BVUGT(x, BV(9, 8)))
        assert not native.solve()
        assert native.get_named_unsat_core() == {"low": BVULT(x, BV(5, 8))}
        assert native.get_unsat_core() == {BVULT(x, BV(5, 8))}


def test_a_name_is_free_again_after_pop() -> None:
    x = vector("x", 8)
    with named_solver("all") as native:
        native.push()
        native.add_assertion(BVULT(x, BV(5, 8)), named="bound")
        with pytest.raises(PysmtValueError, match="bound"):
            native.add_assertion(BVULT(x, BV(6, 8)), named="bound")
        native.pop()
        native.add_assertion(BVULT(x, BV(0, 8)), named="bound")
        assert not native.solve()
        assert native.get_named_unsat_core() == {"bound": BVULT(x, BV(0, 8))}


def test_core_must_be_asked_for_and_needs_unsat() -> None:
    with open_solver("bitwuzla") as native:
        native.add_assertion(boolean("a"))
        with pytest.raises(SolverNotConfiguredForUnsatCoresError):
            native.get_unsat_core()
    with named_solver("all") as native:
        native.add_assertion(boolean("a"))
        assert native.solve()
        with pytest.raises(SolverStatusError):
            native.get_unsat_core()


def interrupted_after(native: BitwuzlaSolver, seconds: float) -> float:
    """Solve, interrupt from another thread, and return the seconds that it took."""
    timer = threading.Timer(seconds, native.interrupt)
    timer.start()
    started = time.monotonic()
    with pytest.raises(SolverReturnedUnknownResultError):
        native.solve()
    took = time.monotonic() - started
    timer.join()
    return took


@pytest.mark.parametrize("name", ["bitwuzla", "z3"])
def test_interrupt_from_another_thread(name: str) -> None:
    with open_solver(name, time_limit=20) as native:
        native.add_assertion(semiprime())
        assert 0.3 < interrupted_after(native, 0.5) < 3
        assert native.unknown_reason == "interrupted"
        assert not native.solve([Equals(vector("p", 80), BV(3, 80))])


def test_an_interrupt_between_two_checks_is_forgotten() -> None:
    with open_solver("bitwuzla") as native:
        native.add_assertion(boolean("a"))
        native.interrupt()
        assert native.solve()


def test_registered_in_pysmt_s_factory() -> None:
    environment = Environment()
    register(environment)
    register(environment)
    factory, manager = environment.factory, environment.formula_manager
    assert factory.solver_preference_list.count("bitwuzla") == 1
    assert isinstance(factory.Solver(logic=QF_BV), BitwuzlaSolver)
    a = manager.Symbol("a")
    assert factory.is_sat(a, solver_name="bitwuzla")
    clauses = [a, manager.Not(a), manager.Symbol("b")]
    assert set(factory.get_unsat_core(clauses, solver_name="bitwuzla")) == set(clauses[:2])
    assert "bitwuzla" not in Environment().factory.all_solvers()
