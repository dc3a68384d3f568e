import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from bvverify.child import Child, ChildCpuTimeout, ChildDied, ChildTimeout, _write
from bvverify.errors import NotExact

GENEROUS = 60.0
"""Seconds that are enough on any machine."""


@pytest.fixture
def child() -> Iterator[Child]:
    with Child("tests.oracle.handlers") as started:
        yield started


def ask(child: Child, *request: object, seconds: float = GENEROUS) -> object:
    return child.request(request, seconds=seconds)


def is_running(process: object) -> bool:
    """Return whether a process exists and is no zombie that waits for its new parent."""
    assert isinstance(process, int)
    try:
        with open(f"/proc/{process}/stat", encoding="ascii") as file:
            return file.read().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_requests_are_answered_in_turn_by_one_process(child: Child) -> None:
    process = ask(child, "process")
    assert [ask(child, "echo", number) for number in range(5)] == list(range(5))
    assert ask(child, "process") == process != os.getpid()


@pytest.mark.parametrize("request_", [("sleep", 600.0), ("native loop", 6000)], ids=["sleeping", "in native code"])
def test_a_child_that_does_not_answer_is_killed_in_time(child: Child, request_: tuple[object, ...]) -> None:
    process = ask(child, "process")
    start = time.monotonic()
    with pytest.raises(ChildTimeout, match=r"no answer within 0\.5 s"):
        ask(child, *request_, seconds=0.5)
    assert time.monotonic() - start < 10
    assert not is_running(process)


def test_the_limit_does_not_count_the_start_of_the_process(child: Child) -> None:
    assert ask(child, "echo", "quick", seconds=0.1) == "quick"


def test_after_a_timeout_the_next_request_starts_a_new_process(child: Child) -> None:
    process = ask(child, "process")
    with pytest.raises(ChildTimeout):
        ask(child, "sleep", 600.0, seconds=0.2)
    assert ask(child, "process") != process
    assert ask(child, "echo", "again") == "again"


def test_a_late_answer_is_not_taken_for_the_next_one(child: Child) -> None:
    with pytest.raises(ChildTimeout):
        ask(child, "sleep", 0.5, seconds=0.2)
    time.sleep(0.5)
    assert ask(child, "echo", "mine") == "mine"


def test_a_crash_is_told_with_its_signal_and_survived(child: Child) -> None:
    with pytest.raises(ChildDied, match="signal SIGABRT"):
        ask(child, "abort")
    assert ask(child, "echo", 1) == 1


def test_a_process_that_was_killed_between_requests_is_told_and_replaced(child: Child) -> None:
    process = ask(child, "process")
    assert isinstance(process, int)
    os.kill(process, signal.SIGKILL)
    while is_running(process):
        time.sleep(0.01)
    with pytest.raises(ChildDied):
        ask(child, "echo", np.zeros(2**16))  # more than a pipe buffers
    assert ask(child, "echo", 2) == 2


def test_an_exit_is_told_with_its_code_and_last_words(child: Child) -> None:
    with pytest.raises(ChildDied, match="exit code 3: the last words"):
        ask(child, "exit", 3)


def test_an_exception_of_the_handler_is_raised_here_and_the_process_lives_on(child: Child) -> None:
    process = ask(child, "process")
    with pytest.raises(NotExact, match="told you so"):
        ask(child, "raise", "told you so")
    assert ask(child, "process") == process


def test_a_memory_limit_holds_for_the_child_alone() -> None:
    with Child("tests.oracle.handlers", memory_bytes=4 * 2**30) as limited:
        assert ask(limited, "allocate", 2**20) == 2**20
        with pytest.raises(MemoryError):
            ask(limited, "allocate", 5 * 2**30)
        assert ask(limited, "echo", "alive") == "alive"


def test_a_cpu_limit_holds_for_each_request_and_not_for_waiting() -> None:
    with Child("tests.oracle.handlers", cpu_seconds=1) as limited:
        process = ask(limited, "process")
        ask(limited, "sleep", 1.5)
        for _ in range(3):
            ask(limited, "busy", 0.6)
        assert ask(limited, "process") == process
        with pytest.raises(ChildCpuTimeout, match="no answer within 1 s of CPU time"):
            ask(limited, "native loop", 6000)
        assert ask(limited, "echo", "alive") == "alive"


@pytest.mark.parametrize("request_", ["('sleep', 600.0)", "('native loop', 20000)"], ids=["sleeping", "in native code"])
def test_a_child_ends_with_its_parent(request_: str) -> None:
    script = (
        "from bvverify.child import Child\n"
        "child = Child('tests.oracle.handlers')\n"
        "print(child.request(('process',), seconds=60), flush=True)\n"
        f"child.request({request_}, seconds=600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        process = int(parent.stdout.readline())
        time.sleep(1)  # by now the request has arrived
        assert is_running(process)
        parent.kill()
    deadline = time.monotonic() + 10
    while is_running(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(process)


def test_what_arrives_during_a_request_does_not_end_the_process(child: Child) -> None:
    """The kernel may tell of a message after it was read; a second message stands for such late news."""
    process = ask(child, "process")
    writer = threading.Timer(0.3, lambda: _write(child._process.stdin, ("echo", "early")))
    writer.start()
    ask(child, "sleep", 1.0)
    writer.join()
    assert is_running(process)


def test_the_environment_is_laid_over_the_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_PARENT", "kept")
    monkeypatch.setenv("OF_BOTH", "parent")
    with Child("tests.oracle.handlers", environment={"OF_BOTH": "child"}) as child:
        assert ask(child, "variable", "OF_THE_PARENT") == "kept"
        assert ask(child, "variable", "OF_BOTH") == "child"
        assert os.environ["OF_BOTH"] == "parent"


def test_messages_larger_than_any_pipe_pass_whole(child: Child) -> None:
    array = np.random.default_rng(0).integers(0, 256, 30_000_000, dtype=np.uint8)
    result = ask(child, "echo", array)
    assert isinstance(result, np.ndarray)
    assert (result == array).all()


def test_what_the_handler_prints_is_no_answer(child: Child) -> None:
    assert ask(child, "print", "x" * 100_000) == "printed"
    assert ask(child, "echo", "next") == "next"


def test_closing_ends_the_process_and_may_be_repeated(child: Child) -> None:
    process = ask(child, "process")
    child.close()
    child.close()
    assert not is_running(process)
    assert ask(child, "echo", "reopened") == "reopened"


def test_a_module_that_does_not_exist_is_told() -> None:
    with Child("tests.oracle.no_such_module") as child, pytest.raises(ChildDied, match="No module named"):
        ask(child, "echo", 1)
