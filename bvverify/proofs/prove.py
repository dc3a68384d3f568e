"""Proving obligations in child processes, with a hard limit for each and a memory of what was proved."""

import queue
import threading
import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass

from bvverify.child import Child, ChildDied, ChildTimeout
from bvverify.errors import InternalError
from bvverify.proofs.addition import LEFT, RIGHT
from bvverify.proofs.obligation import Obligation
from bvverify.proofs.questions import ACCUMULATOR, CLAIMED, COMPUTED, Question, Staircase
from bvverify.proofs.store import Counterexample, Entry, Store
from bvverify.solvers import Answer, Status, backend, version


@dataclass(frozen=True)
class Request:
    """A question to the child process, who is to answer it, and how long it is waited for."""

    question: Question
    solver: str
    seconds: float


@dataclass(frozen=True)
class Proof:
    """An obligation and its answer; `stored` says that the answer came from the store."""

    obligation: Obligation
    entry: Entry
    stored: bool


def prove(
    obligations: Iterable[Obligation],
    store: Store,
    *,
    solver: str = "bitwuzla",
    jobs: int = 1,
    seconds: float = 120.0,
    memory_bytes: int | None = None,
) -> Generator[Proof, None, None]:
    """Yield an answer for each of `obligations`, in the order in which they are found, and keep them in `store`.

    `seconds` of wall clock hold for one obligation; `memory_bytes` limits each of the `jobs` child processes.  What
    exceeds them is unknown, with the reason.  Closing the iterator ends the children.  SolverUnavailable if the
    solver is not known or not installed.
    """
    name = backend(solver).name
    label = version(name)
    waiting: queue.SimpleQueue[Obligation] = queue.SimpleQueue()
    open_obligations: dict[str, list[Obligation]] = {}
    for obligation in obligations:
        entry = store.find((obligation.digest, name, label))
        if entry is not None:
            yield Proof(obligation, _checked(entry, obligation), stored=True)
        else:
            if obligation.digest not in open_obligations:
                waiting.put(obligation)
            open_obligations.setdefault(obligation.digest, []).append(obligation)
    done: queue.SimpleQueue[Entry | BaseException] = queue.SimpleQueue()
    children = [
        Child("bvverify.proofs.worker", memory_bytes=memory_bytes) for _ in range(min(jobs, len(open_obligations)))
    ]
    provers = [_Prover(child, name, label, seconds, waiting, done) for child in children]
    try:
        for prover in provers:
            prover.start()
        while open_obligations:
            result = done.get()
            if isinstance(result, BaseException):
                raise result
            store.add(result)
            for number, obligation in enumerate(open_obligations.pop(result.obligation)):
                yield Proof(obligation, _checked(result, obligation), stored=number > 0)
    finally:
        for prover in provers:
            prover.stop()


class _Prover(threading.Thread):
    """Takes obligations that wait, one by one, and asks its child."""

    def __init__(
        self,
        child: Child,
        solver: str,
        label: str,
        seconds: float,
        waiting: "queue.SimpleQueue[Obligation]",
        done: "queue.SimpleQueue[Entry | BaseException]",
    ) -> None:
        super().__init__(daemon=True)
        self._stopped = threading.Event()
        self._child, self._solver, self._label, self._seconds = child, solver, label, seconds
        self._waiting, self._done = waiting, done

    def run(self) -> None:
        """Answer until nothing waits."""
        while not self._stopped.is_set():
            try:
                self._done.put(self._answer(self._waiting.get_nowait()))
            except queue.Empty:
                return
            except BaseException as error:  # whatever it is, the caller is waiting
                self._done.put(error)

    def stop(self) -> None:
        """End the thread and its child; what a request under way then answers is not read."""
        self._stopped.set()
        while self.is_alive():
            self._child.kill()
            self.join(timeout=0.1)
        self._child.close()

    def _answer(self, obligation: Obligation) -> Entry:
        started = time.monotonic()
        try:
            answer = self._decide(obligation, started + self._seconds)
        except ChildTimeout:
            answer = Answer(Status.UNKNOWN, None, self._seconds, f"time: {self._seconds:g} s")
        except MemoryError:
            answer = Answer(Status.UNKNOWN, None, 0.0, "memory")
        except ChildDied as death:
            answer = Answer(Status.UNKNOWN, None, 0.0, f"solver process ended: {death}")
        return Entry(
            obligation.digest,
            self._solver,
            self._label,
            answer.status.value,
            round(time.monotonic() - started, 3),
            answer.reason,
            None if answer.model is None else _counterexample(answer.model, obligation.staircase),
        )

    def _decide(self, obligation: Obligation, deadline: float) -> Answer:
        seconds = 0.0
        for question in obligation.questions:
            answer = self._ask(question, deadline)
            if answer.status is Status.SAT and not question.witness:
                return self._ask(obligation.direct, deadline)
            if answer.status is not Status.UNSAT:
                return answer
            seconds += answer.seconds
        return Answer(Status.UNSAT, None, seconds)

    def _ask(self, question: Question, deadline: float) -> Answer:
        seconds = max(0.0, deadline - time.monotonic())
        answer: Answer = self._child.request(Request(question, self._solver, seconds), seconds=seconds)
        return answer


def _counterexample(model: Mapping[str, int], staircase: Staircase) -> Counterexample:
    """Return what the bits of a model stand for."""
    accumulator = model[ACCUMULATOR]
    operands = (model[LEFT], model[RIGHT]) if LEFT in model else None
    bits = 32 if operands is None else 64
    signed = accumulator - 2**bits if accumulator >= 2 ** (bits - 1) else accumulator
    return Counterexample(signed, staircase.value(model[COMPUTED]), staircase.value(model[CLAIMED]), operands)


def _checked(entry: Entry, obligation: Obligation) -> Entry:
    """Return `entry` if its counterexample speaks of the same thresholds as the obligation."""
    example = entry.counterexample
    if example is not None and obligation.staircase.byte(example.accumulator) != example.claimed:
        raise InternalError(
            f"layer {obligation.layer}, channel {obligation.channel}: {entry.solver} says that the thresholds give "
            f"{example.claimed} for accumulator {example.accumulator}, which they do not"
        )
    return entry
