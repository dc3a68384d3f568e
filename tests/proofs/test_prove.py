"""Answers are kept, limits hold, and an interrupted run leaves a store that the next one can use."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bvverify.errors import InternalError, SolverUnavailable, UsageError
from bvverify.kernels.target import Target
from bvverify.proofs import Obligation, Proof, Store, prove
from bvverify.proofs.prove import Request
from bvverify.proofs.questions import Question
from bvverify.proofs.store import Counterexample, Entry
from bvverify.proofs.worker import solve
from bvverify.solvers import Status, version

from . import layers

FBGEMM = Target.parse("fbgemm/avx512_vnni")
UNKNOWNS = "(declare-const accumulator (_ BitVec 32))" + "".join(
    f"(declare-const {name} (_ BitVec 8))" for name in ("computed", "claimed")
)
FALSE = f"(set-logic QF_BVFP){UNKNOWNS}(assert false)(check-sat)"
SLOW = """(set-logic QF_BVFP)(declare-const a Float32)(declare-const b Float32)
(define-fun product ((x Float32)) Float32 (fp.mul RNE x ((_ to_fp 8 24) #x3c00f5a1)))
(assert (fp.lt a b))(assert (fp.lt (product b) (product a)))(check-sat)"""


def easy(count: int) -> list[Obligation]:
    """Return obligations that differ in their text only, and are met."""
    pattern = layers.obligation(layers.linear(per_channel=True), FBGEMM)
    questions = [Question(f"{FALSE};{number}", witness=True) for number in range(count)]
    return [replace(pattern, channel=n, questions=(question,)) for n, question in enumerate(questions)]


def run(path: Path | None, wanted: list[Obligation], **options: object) -> list[Proof]:
    with Store(path) as store:
        return list(prove(wanted, store, **options))


def slow() -> Obligation:
    return replace(easy(1)[0], questions=(Question(SLOW, witness=False),))


def test_a_second_run_asks_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.jsonl"
    first = run(path, easy(3))
    assert [proof.stored for proof in first] == [False] * 3
    content = path.read_bytes()
    monkeypatch.setattr("bvverify.child.Child.request", lambda *_, **__: pytest.fail("a child was asked"))
    second = run(path, easy(3))
    assert [proof.stored for proof in second] == [True] * 3
    assert [proof.entry for proof in second] == [proof.entry for proof in first]
    assert path.read_bytes() == content


def test_equal_obligations_are_asked_once(tmp_path: Path) -> None:
    path = tmp_path / "store.jsonl"
    proofs = run(path, [*easy(1), replace(easy(1)[0], channel=7), *easy(2)[1:]])
    assert len(path.read_text().splitlines()) == 2
    assert [(proof.obligation.channel, proof.stored) for proof in proofs] == [(0, False), (7, True), (1, False)]


def test_answers_belong_to_a_solver_and_its_version(tmp_path: Path) -> None:
    path = tmp_path / "store.jsonl"
    (proof,) = run(path, easy(1))
    assert (proof.entry.solver, proof.entry.version) == ("bitwuzla", version("bitwuzla"))
    path.write_text(path.read_text().replace(version("bitwuzla"), "0.0.1"))
    assert [proof.stored for proof in run(path, easy(1))] == [False]
    assert [proof.stored for proof in run(path, easy(1), solver="z3")] == [False]
    assert len(path.read_text().splitlines()) == 3


def test_an_unfinished_last_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "store.jsonl"
    run(path, easy(2))
    content = path.read_bytes()
    for cut in (len(content) - 1, len(content) - 30, content.index(b"\n") + 2):
        path.write_bytes(content[:cut])
        assert sorted(proof.stored for proof in run(path, easy(2))) == [False, True]
        assert [json.loads(line)["status"] for line in path.read_text().splitlines()] == ["unsat", "unsat"]


@pytest.mark.parametrize("content", [b"hello\n", b"hello", b'{"a": 1}\n', b"[]\n", b'{"status": "unsat"}\n'])
def test_another_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"notes\.txt"):
        Store(path)
    assert path.read_bytes() == content


def test_a_store_has_one_user(tmp_path: Path) -> None:
    path = tmp_path / "store.jsonl"
    with Store(path), pytest.raises(UsageError, match="another run"):
        Store(path)
    with pytest.raises(UsageError, match="cannot be opened"):
        Store(tmp_path)
    Store(path).close()


def test_time_that_is_over_is_unknown_and_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "store.jsonl"
    proofs = run(path, [slow(), *easy(2)], seconds=0.5)
    assert [proof.entry.status for proof in proofs] == ["unknown", "unsat", "unsat"]
    assert proofs[0].entry.reason == "time: 0.5 s"
    assert proofs[0].entry.seconds < 2
    assert [proof.stored for proof in run(path, [slow()], seconds=0.2)] == [False]


def test_the_solver_gives_up_without_being_killed() -> None:
    answer = solve(Request(slow().questions[0], "bitwuzla", seconds=-0.7))
    assert (answer.status, answer.reason) == (Status.UNKNOWN, "time")


def test_jobs_share_the_work() -> None:
    proofs = run(None, easy(9), jobs=3)
    assert sorted(proof.obligation.channel for proof in proofs) == list(range(9))
    assert {proof.entry.status for proof in proofs} == {"unsat"}


def test_an_unknown_solver_is_refused() -> None:
    with pytest.raises(SolverUnavailable, match="boolector"):
        run(None, easy(1), solver="boolector")


def test_an_error_in_the_child_reaches_the_caller() -> None:
    with pytest.raises(UsageError, match="check-sat"):
        run(None, [replace(easy(1)[0], questions=(Question("(set-logic QF_BV)", witness=False),))])


def test_a_run_that_is_given_up_ends_its_children_and_keeps_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "store.jsonl"
    with Store(path) as store:
        proofs = prove([*easy(1), slow()], store, seconds=600, jobs=2)
        assert next(proofs).entry.status == "unsat"
        proofs.close()
    assert [json.loads(line)["status"] for line in path.read_text().splitlines()] == ["unsat"]


def test_a_counterexample_of_other_thresholds_is_a_contradiction() -> None:
    obligation = layers.obligation(layers.linear(per_channel=True), FBGEMM)
    claimed = obligation.staircase.byte(obligation.lower)
    entry = Entry(obligation.digest, "bitwuzla", version("bitwuzla"), "sat", 0.1)
    with Store() as store:
        store.add(replace(entry, counterexample=Counterexample(obligation.lower, 9, claimed)))
        assert next(prove([obligation], store)).entry.counterexample is not None
        store.add(replace(entry, counterexample=Counterexample(obligation.lower, 9, claimed + 1)))
        with pytest.raises(InternalError, match="layer fc, channel 0"):
            next(prove([obligation], store))


def test_an_entry_survives_the_file(tmp_path: Path) -> None:
    path = tmp_path / "store.jsonl"
    entry = Entry("00", "z3", "1", "sat", 0.25, counterexample=Counterexample(-7, 1, 2))
    with Store(path) as store:
        store.add(entry)
    assert json.loads(path.read_text()) == asdict(entry)
    with Store(path) as store:
        assert store.find(entry.key) == entry
