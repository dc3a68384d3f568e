import subprocess
import sys

import pytest
from pysmt.exceptions import ConvertExpressionError
from pysmt.shortcuts import BV, BVUGT, BVULT, GE, And, Equals, Int, Not, Symbol
from pysmt.typing import INT

from bvverify.errors import SolverUnavailable, UsageError
from bvverify.solvers import backend, installed, names, open_solver, registry, version

from .formulas import boolean, vector


def test_names_are_in_order_of_preference() -> None:
    assert names() == ("bitwuzla", "cvc5", "z3")
    assert set(installed()) <= set(names())


def test_version_is_the_solver_s_own(solver: str) -> None:
    assert version(solver)[0].isdigit()


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(SolverUnavailable) as caught:
        open_solver("boolector")
    message = str(caught.value)
    assert "'boolector'" in message
    assert all(name in message for name in names())
    assert "\n" not in message


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bvverify.solvers.z3", None)
    with pytest.raises(SolverUnavailable, match="install z3-solver"):
        open_solver("z3")


def test_unknown_logic_is_refused(solver: str) -> None:
    with pytest.raises(SolverUnavailable, match="QF_NOPE"):
        open_solver(solver, logic="QF_NOPE")


def test_bitwuzla_refuses_a_logic_that_it_does_not_do() -> None:
    with pytest.raises(SolverUnavailable, match="QF_LIA"):
        open_solver("bitwuzla", logic="QF_LIA")


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf")])
def test_bad_time_limit_is_refused(solver: str, limit: float) -> None:
    with pytest.raises(UsageError, match="time limit"):
        open_solver(solver, time_limit=limit)


def test_importing_the_package_imports_no_solver() -> None:
    code = "import sys, bvverify.solvers; print([m for m in ('z3', 'cvc5', 'bitwuzla', 'pysmt') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_push_and_pop(solver: str) -> None:
    x = vector("x", 8)
    with open_solver(solver) as native:
        native.add_assertion(BVUGT(x, BV(10, 8)))
        assert native.solve()
        native.push()
        native.add_assertion(BVULT(x, BV(12, 8)))
        assert native.solve()
        assert native.get_py_value(x) == 11
        native.push()
        native.add_assertion(Not(Equals(x, BV(11, 8))))
        assert not native.solve()
        native.pop()
        assert native.solve()
        native.pop()
        assert native.solve([Equals(x, BV(200, 8))])


def test_assumptions_hold_for_one_check_only(solver: str) -> None:
    x, a = vector("x", 8), boolean("a")
    with open_solver(solver) as native:
        native.add_assertion(a.Iff(BVULT(x, BV(10, 8))))
        assert native.solve([a])
        assert native.get_py_value(x) < 10
        assert native.solve([Not(a)])
        assert native.get_py_value(x) >= 10
        assert not native.solve([a, Equals(x, BV(10, 8))])
        assert native.solve([])
        assert native.solve()


def test_model_outlives_the_solver(solver: str) -> None:
    x, a = vector("x", 8), boolean("a")
    formula = And(a, BVUGT(x, BV(250, 8)))
    with open_solver(solver) as native:
        native.add_assertion(formula)
        assert native.solve()
        model = native.get_model()
    assert model.get_value(formula).is_true()


def test_unsat_core_is_an_unsatisfiable_subset(solver: str) -> None:
    x, a = vector("x", 8), boolean("a")
    clauses = {BVUGT(x, BV(10, 8)), a, BVULT(x, BV(5, 8)), BVULT(x, BV(200, 8))}
    if not backend(solver).unsat_cores:
        with pytest.raises(SolverUnavailable, match="unsat cores"):
            open_solver(solver, unsat_cores=True)
        return
    with open_solver(solver, unsat_cores=True) as native:
        native.add_assertions(clauses)
        assert not native.solve()
        core = set(native.get_unsat_core())
    assert core < clauses
    with open_solver(solver) as native:
        native.add_assertions(core)
        assert not native.solve()


def test_interrupt_is_there_where_the_table_says_so(solver: str) -> None:
    with open_solver(solver) as native:
        assert hasattr(native, "interrupt") == backend(solver).interruptible


def test_every_backend_s_module_offers_the_same(solver: str) -> None:
    module = registry.load(solver)
    assert {"version", "make_solver", "solve_script"} <= set(dir(module))


def test_integers_are_no_part_of_bitwuzla() -> None:
    with open_solver("bitwuzla") as native:
        with pytest.raises(ConvertExpressionError, match="bitwuzla"):
            native.add_assertion(GE(Symbol("n", INT), Int(0)))
        native.add_assertion(boolean("a"))
        assert native.solve()
