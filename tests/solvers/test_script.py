from dataclasses import replace

import pytest

from bvverify.errors import UsageError
from bvverify.solvers import Status, check_smtlib, registry
from bvverify.solvers.script import read_script

SCRIPT = """; a script with everything that is supported (
(set-info :source |not a ( command|)
(set-info :status unknown)
(set-logic QF_BV)
(set-option :produce-models true)
(declare-const x (_ BitVec 8)) ; "
(declare-fun |two words| () Bool)
(define-fun k () (_ BitVec 8) #x07)
(define-fun f ((u (_ BitVec 8))) (_ BitVec 8) (bvadd u k))
(assert
  (= (f x) #x10)) (assert (! |two words| :named n))
(assert true)
(assert true)
(check-sat)
(get-value (x))
(exit)
"""
FLOATS = """(set-logic QF_BVFP)
(declare-const x (_ BitVec 32))
(define-fun r () (_ FloatingPoint 8 24) ((_ to_fp_unsigned 8 24) RNE x))
(assert (fp.lt r ((_ to_fp 8 24) RNE 100.0)))
(assert (fp.gt r ((_ to_fp 8 24) RNE 98.0)))
(check-sat)
"""
CONTRADICTION = "(set-logic QF_BV)(declare-const a Bool)(assert a)(assert (not a))(check-sat)"

MALFORMED = {
    "empty": "",
    "no command": "sat",
    "no check": "(set-logic QF_BV)(declare-const a Bool)(assert a)",
    "open command": "(set-logic QF_BV)(assert (and true true)(check-sat)",
    "closed too often": "(set-logic QF_BV)(assert true))(check-sat)",
    "open string": '(set-logic QF_BV)(set-info :source "x)(check-sat)',
    "open bar": "(set-logic QF_BV)(declare-const |a Bool)(check-sat)",
    "text behind": "(check-sat) sat",
    "text between": "(assert true) x (check-sat)",
    "assertion behind the check": "(check-sat)(assert false)",
    "two checks": "(assert true)(check-sat)(assert false)(check-sat)",
    "something behind exit": "(check-sat)(exit)(assert false)",
    "exit before the check": "(assert false)(exit)(check-sat)",
    "values before the check": "(declare-const a Bool)(get-value (a))(check-sat)",
    "levels": "(push 1)(assert false)(pop 1)(check-sat)",
    "reset": "(assert false)(reset-assertions)(check-sat)",
    "assumptions": "(declare-const a Bool)(check-sat-assuming (a))",
    "check with an argument": "(check-sat true)",
    "unknown command": "(frobnicate)(check-sat)",
    "no head": "(() assert true)(check-sat)",
    "another logic": "(set-logic QF_LIA)(declare-const n Int)(assert (> n 1))(check-sat)",
    "logic twice": "(set-logic QF_BV)(set-logic QF_BV)(check-sat)",
    "late logic": "(declare-const a Bool)(set-logic QF_BV)(check-sat)",
    "another option": "(set-option :timeout 1)(check-sat)",
    "declared twice": "(declare-const a Bool)(declare-const |a| (_ BitVec 2))(check-sat)",
    "defined and declared": "(define-fun a () Bool true)(declare-const a (_ BitVec 2))(check-sat)",
    "no sort": "(declare-const a)(check-sat)",
    "no name": "(declare-const (_ BitVec 2) a)(check-sat)",
    # From here on only the solver's own parser can tell.
    "unknown sort": "(set-logic QF_BV)(declare-const n Int)(check-sat)",
    "unknown symbol": "(set-logic QF_BV)(assert b)(check-sat)",
    "unknown operator": "(set-logic QF_BV)(assert (bvfoo #x1 #x2))(check-sat)",
    "widths differ": "(set-logic QF_BV)(assert (= #x1 #x23))(check-sat)",
    "assertion of a vector": "(set-logic QF_BV)(assert #x1)(check-sat)",
    "assertion of two": "(set-logic QF_BV)(assert true false)(check-sat)",
    "assertion of nothing": "(set-logic QF_BV)(assert)(check-sat)",
    "width 0": "(set-logic QF_BV)(declare-const x (_ BitVec 0))(check-sat)",
    "floats in a logic without": FLOATS.replace("QF_BVFP", "QF_BV"),
    "floats without a logic": FLOATS.replace("(set-logic QF_BVFP)", ""),
    "zero byte": "(set-logic QF_BV)(declare-const a Bool)(assert a)\0(assert (not a))(check-sat)",
    "zero byte inside": "(set-logic QF_BV)(declare-const a Bool)(assert a)(assert\0(not a))(check-sat)",
}


def test_every_supported_command(solver: str) -> None:
    answer = check_smtlib(SCRIPT, solver=solver, values=["x", "two words"])
    assert (answer.status, answer.model) == (Status.SAT, {"x": 9, "two words": 1})


def test_unsat(solver: str) -> None:
    answer = check_smtlib(CONTRADICTION, solver=solver, values=["a"])
    assert (answer.status, answer.model) == (Status.UNSAT, None)


def test_wide_values_are_exact(solver: str) -> None:
    text = f"(declare-const x (_ BitVec 200))(assert (= x (_ bv{2**199 + 1} 200)))(check-sat)"
    assert check_smtlib(text, solver=solver, values=["x"]).model == {"x": 2**199 + 1}


def test_floats_have_their_meaning(solver: str) -> None:
    """The one integer between 98 and 100."""
    assert check_smtlib(FLOATS, solver=solver, values=["x"]).model == {"x": 99}


def test_an_empty_question_is_sat(solver: str) -> None:
    assert check_smtlib("(set-logic QF_BV)(check-sat)", solver=solver).model == {}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_script_is_refused(solver: str, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_smtlib(MALFORMED[name], solver=solver)
    assert "\n" not in str(caught.value)


def test_no_prefix_of_a_script_is_answered(solver: str) -> None:
    """However a script was cut off, there is no answer to what is left of it."""
    complete = SCRIPT.index("(check-sat)") + len("(check-sat)")
    for end in range(complete):
        with pytest.raises(UsageError):
            check_smtlib(SCRIPT[:end], solver=solver)
    assert check_smtlib(SCRIPT[:complete], solver=solver).status is Status.SAT


def test_a_parser_that_skips_an_assertion_is_found_out(solver: str) -> None:
    script = replace(read_script(CONTRADICTION), assertions=3)
    with pytest.raises(UsageError, match="2 of the script's 3 assertions"):
        registry.load(solver).solve_script(script, time_limit_ms=None, values=())


def test_values_must_be_declared(solver: str) -> None:
    for name in ("y", "k", "f", "|two words|"):
        with pytest.raises(UsageError, match="declares no"):
            check_smtlib(SCRIPT, solver=solver, values=[name])


def test_outline_keeps_every_position() -> None:
    script = read_script(SCRIPT)
    assert (script.logic, script.assertions) == ("QF_BV", 4)
    assert script.widths == {"x": 8, "two words": 0}
    kept = [(place, letter) for place, letter in enumerate(script.text) if letter != " "]
    assert all(SCRIPT[place] == letter for place, letter in kept)
    assert "check-sat" not in script.text


def test_errors_name_the_line() -> None:
    with pytest.raises(UsageError, match="line 3:"):
        read_script("(assert true)\n\n (push 1)(check-sat)")
    with pytest.raises(UsageError, match="line 2: the command is never closed"):
        read_script("(assert true)\n (assert (")
