"""The near end of a child process that answers jobs, and the function that executors run."""

import threading
import time

from bvverify.child import Child, ChildCpuTimeout, ChildDied, ChildTimeout
from bvverify.closing import Closing
from bvverify.errors import InternalError
from bvverify.network import StepNetwork
from bvverify.runs.job import Answer, Job
from bvverify.runs.messages import NeedsNetwork, TakeNetwork
from bvverify.search import Decision, Obstacle, Outcome

STAGE = "process"
_GRACE_SECONDS = 2.0
"""A child ends its search at the limit and answers; one that does not within this time is killed."""
_HANDOVER_SECONDS = 120.0


class WorkerProcess(Closing):
    """One child process, restarted whenever a limit or a crash ended it."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._settings: tuple[object, ...] = ()

    def answer(self, network: StepNetwork, job: Job) -> Answer:
        """Return the answer to one job, about `network`; UNKNOWN if a limit was reached or the process ended."""
        started = time.perf_counter()
        reply = self._reply(network, job)
        return reply if isinstance(reply, Answer) else Answer(reply, time.perf_counter() - started)

    def kill(self) -> None:
        """End the process from any thread; the job it works on is answered with UNKNOWN."""
        if self._child is not None:
            self._child.kill()

    def close(self) -> None:
        """End the process; no job may be under way."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _reply(self, network: StepNetwork, job: Job) -> Answer | Decision:
        """Return what the child answers, or what to say in its place."""
        child, limits = self._child_for(job), job.limits
        try:
            reply = child.request(job, seconds=limits.seconds + _GRACE_SECONDS)
            if isinstance(reply, NeedsNetwork):
                child.request(TakeNetwork(job.network, network), seconds=_HANDOVER_SECONDS)
                reply = child.request(job, seconds=limits.seconds + _GRACE_SECONDS)
        except ChildCpuTimeout:
            return _unknown(Obstacle.CPU, f"CPU time: {limits.cpu_seconds:g} s")
        except ChildTimeout:
            return _unknown(Obstacle.TIME, f"time: {limits.seconds:g} s")
        except MemoryError:
            return _unknown(Obstacle.MEMORY, "memory")
        except ChildDied as death:
            return _unknown(Obstacle.CRASH, f"process ended: {death}")
        if not isinstance(reply, Answer):
            raise InternalError(f"a worker answered with {type(reply).__name__}")
        return reply

    def _child_for(self, job: Job) -> Child:
        settings = (job.limits.memory_bytes, job.limits.cpu_seconds)
        if self._child is None or settings != self._settings:
            self.close()
            self._settings = settings
            self._child = Child(
                "bvverify.runs.worker",
                environment={"OMP_NUM_THREADS": "1"},  # there are as many workers as cores are to be used
                memory_bytes=job.limits.memory_bytes,
                cpu_seconds=job.limits.cpu_seconds,
            )
        return self._child


_OF_THREAD = threading.local()


def own_process() -> WorkerProcess:
    """Return the worker process of this thread."""
    process: WorkerProcess | None = getattr(_OF_THREAD, "process", None)
    if process is None:
        process = _OF_THREAD.process = WorkerProcess()
    return process


def answer_job(network: StepNetwork, job: Job) -> Answer:
    """Return the answer to one job, given by the worker process of the thread that runs this.

    This is what a run submits to its executor, whichever it is: the function and its arguments can be pickled.
    """
    return own_process().answer(network, job)


def _unknown(obstacle: Obstacle, reason: str) -> Decision:
    return Decision(Outcome.UNKNOWN, STAGE, reason=reason, obstacle=obstacle)
