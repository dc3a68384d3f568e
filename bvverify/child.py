"""A child process that answers requests one at a time, each within hard limits of wall-clock time, CPU time, memory.

The parent sends a pickled request and waits; when the limit passes, the child is killed, whatever native code it is
in, and the next request starts a new one.  A crash or an exhausted memory costs the request alone.  A child whose
parent ends, however it ends, ends with it.  Requests and replies are the project's own objects between two processes
of one user, so pickle is safe here.
"""

import fcntl
import math
import os
import pickle
import resource
import select
import selectors
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any, BinaryIO

from bvverify.closing import Closing

_HEADER = struct.Struct("!Q")
_START_SECONDS = 120.0
_READY = "ready"
"""What a child says first, once its module is imported."""


class ChildTimeout(Exception):
    """The limit passed before the child answered; the child was killed."""


class ChildCpuTimeout(ChildTimeout):
    """The child used up its CPU time before it answered, and was ended."""


class ChildDied(Exception):
    """The child ended without an answer; the message holds its exit code or signal and its last words."""


class Child(Closing):
    """A lazily started, restartable child process that runs `python -m module`."""

    def __init__(
        self,
        module: str,
        *,
        environment: Mapping[str, str] | None = None,
        memory_bytes: int | None = None,
        cpu_seconds: float | None = None,
    ) -> None:
        """Prepare a child; `environment` is laid over the parent's, `memory_bytes` limits its address space,
        `cpu_seconds` the CPU time of each request, rounded up to whole seconds of the process.
        """
        self._command = [sys.executable, "-m", module]
        limits = {_MEMORY_VARIABLE: memory_bytes, _CPU_VARIABLE: cpu_seconds}
        inherited = {name: value for name, value in os.environ.items() if name not in limits}
        given = {name: str(value) for name, value in limits.items() if value is not None}
        self._environment = {**inherited, **(environment or {}), **given}
        self._cpu_seconds = cpu_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None
        self._errors: IO[bytes] | None = None

    def request(self, message: object, *, seconds: float) -> Any:
        """Return the child's reply to `message`.

        Raises `ChildTimeout` after `seconds`, which count from when the child is ready, `ChildCpuTimeout` when its
        CPU time is used up, `ChildDied` if the child ends, and whatever exception the child's handler raised.
        """
        process = self._started()
        outcome, value = self._exchange(process, message, seconds)
        if outcome == "raised":
            raise value
        return value

    def _exchange(self, process: subprocess.Popen[bytes], message: object, seconds: float) -> Any:
        assert process.stdin is not None
        assert process.stdout is not None
        deadline = time.monotonic() + seconds
        try:
            if message is not _READY:
                _write(process.stdin, message)
            return pickle.loads(_read_until(process.stdout, deadline))
        except TimeoutError:
            self.close()
            raise ChildTimeout(f"no answer within {seconds:g} s") from None
        except (EOFError, BrokenPipeError):
            raise self._end() from None
        except BaseException:  # an interrupt leaves half an exchange behind
            self.close()
            raise

    def kill(self) -> None:
        """Kill the child, if it runs, from any thread: a request that waits for it ends with `ChildDied`."""
        if (process := self._process) is not None:
            process.kill()

    def close(self) -> None:
        """Kill the child, if it runs, and let go of its pipes; no request may be under way."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with suppress(BrokenPipeError):  # half a request that nobody reads any more
                        stream.close()
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        if self._errors is not None:
            self._errors.close()
            self._errors = None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
            watched, self._lifeline = os.pipe()
            try:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    env={**self._environment, _LIFELINE_VARIABLE: str(watched)},
                    pass_fds=(watched,),
                )
            finally:
                os.close(watched)
            self._exchange(self._process, _READY, _START_SECONDS)
        return self._process

    def _end(self) -> ChildTimeout | ChildDied:
        """Return why the child ended, with its last words, and let go of it."""
        assert self._process is not None
        assert self._errors is not None
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self.close()
        if code == -signal.SIGXCPU and self._cpu_seconds is not None:
            return ChildCpuTimeout(f"no answer within {self._cpu_seconds:g} s of CPU time")
        reason = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return ChildDied(f"{reason}: {lines[-1][:300]}" if lines else reason)


_MEMORY_VARIABLE = "BVVERIFY_CHILD_MEMORY"
_CPU_VARIABLE = "BVVERIFY_CHILD_CPU"
_LIFELINE_VARIABLE = "BVVERIFY_CHILD_LIFELINE"


def serve(handler: Callable[[Any], Any]) -> None:
    """Answer requests on standard input with `handler` until it closes: the main function of a child's module.

    Whatever the handler prints goes to standard error, so that it cannot be mistaken for a reply.  An interrupt
    from the keyboard is left to the parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent(int(os.environ[_LIFELINE_VARIABLE]))
    if (limit := os.environ.get(_MEMORY_VARIABLE)) is not None:
        resource.setrlimit(resource.RLIMIT_AS, (int(limit), int(limit)))
    requests = sys.stdin.buffer
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        _write(replies, _READY)
        while True:
            try:
                message = pickle.loads(_read(requests))
            except EOFError:
                return
            with _cpu_limit():
                try:
                    reply = ("returned", handler(message))
                except Exception as error:
                    reply = ("raised", error)
            _write(replies, reply)


def _end_with_parent(lifeline: int) -> None:
    """End this process when the parent's end of a pipe closes, even in native code that never returns to Python.

    The kernel sends SIGIO then, whose default action is to terminate.  The pipe is one into which nothing is written:
    the kernel may send the SIGIO of a message only after the message was read.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    hangup = select.poll()
    hangup.register(lifeline, 0)
    if hangup.poll(0):
        raise SystemExit("the parent process has ended")


@contextmanager
def _cpu_limit() -> Iterator[None]:
    """End this process with SIGXCPU when the request has used its CPU time, if that is limited."""
    if (seconds := os.environ.get(_CPU_VARIABLE)) is None:
        yield
        return
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = math.ceil(time.process_time() + float(seconds))
    resource.setrlimit(resource.RLIMIT_CPU, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))


def _write(stream: BinaryIO | IO[bytes], message: object) -> None:
    payload = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(_HEADER.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def _read(stream: BinaryIO) -> bytes:
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise EOFError
    return stream.read(_HEADER.unpack(header)[0])


def _read_until(stream: IO[bytes], deadline: float) -> bytes:
    """Read one framed message from a pipe; raise TimeoutError at the deadline and EOFError at the end of the stream."""
    descriptor = stream.fileno()
    received = bytearray()
    wanted = _HEADER.size
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while len(received) < wanted:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            chunk = os.read(descriptor, 1 << 20)
            if not chunk:
                raise EOFError
            received += chunk
            if wanted == _HEADER.size and len(received) >= _HEADER.size:
                wanted += _HEADER.unpack(received[: _HEADER.size])[0]
    return bytes(received[_HEADER.size :])
