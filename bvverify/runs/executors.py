"""Where jobs run: child processes of this machine, or the workers of a Dask cluster.

A run takes any `concurrent.futures.Executor`.  Whatever it is, each of its threads or processes keeps a child process
of its own for the jobs (`worker_process.py`), so limits and crashes are handled in one place.
"""

from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from bvverify.network import StepNetwork
from bvverify.runs.worker_process import WorkerProcess, own_process


class LocalExecutor(ThreadPoolExecutor):
    """Threads of this process, each with a child process for its jobs; shutting down ends the children."""

    def __init__(self, workers: int = 2) -> None:
        self._processes: list[WorkerProcess] = []
        self._under_way: set[Future[Any]] = set()
        super().__init__(workers, "bvverify-run", initializer=lambda: self._processes.append(own_process()))

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function in one of the threads."""
        future = super().submit(function, *args, **kwargs)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let what was submitted finish, then end the children; with `cancel_futures` end them at once."""
        super().shutdown(wait=wait and not cancel_futures, cancel_futures=cancel_futures)
        self._kill()
        if wait:
            while waiting := set(self._under_way):  # a thread may have been about to start its child
                futures.wait(waiting, timeout=0.05)
                self._kill()
            super().shutdown()
            for process in self._processes:  # now no thread uses them
                process.close()

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()


@dataclass(frozen=True)
class Workforce:
    """An executor, and how a run feeds it."""

    executor: Executor
    width: Callable[[], int]
    """How many jobs can be worked on at a time, now."""
    share: Callable[[StepNetwork], Any] = lambda network: network
    """How a network is handed over, once for all of its jobs."""


def local_workforce(workers: int) -> Workforce:
    """Return `workers` child processes of this machine."""
    return Workforce(LocalExecutor(workers), lambda: workers)
