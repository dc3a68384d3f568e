"""Where jobs run: child processes of this machine, or the workers of a Dask cluster.

A run takes any `concurrent.futures.Executor`.  Whatever it is, each of its threads or processes keeps a child process
of its own for the jobs (`worker_process.py`), so limits and crashes are handled in one place.
"""

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from bvverify.closing import Closing
from bvverify.errors import UsageError
from bvverify.network import StepNetwork
from bvverify.runs.worker_process import WorkerProcess, own_process


class LocalExecutor(ThreadPoolExecutor):
    """Threads of this process, each with a child process for its jobs; shutting down ends the children."""

    def __init__(self, workers: int = 2) -> None:
        self._processes: list[WorkerProcess] = []
        super().__init__(workers, "bvverify-run", initializer=lambda: self._processes.append(own_process()))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let what was submitted finish, then end the children; with `cancel_futures` end them at once."""
        super().shutdown(wait=wait and not cancel_futures, cancel_futures=cancel_futures)
        for process in self._processes:
            process.kill()
        super().shutdown(wait=wait)


@dataclass(frozen=True)
class Workforce:
    """An executor, and how a run feeds it."""

    executor: Executor
    width: int
    """Jobs that can be worked on at a time."""
    share: Callable[[StepNetwork], Any] = lambda network: network
    """How a network is handed over, once for all of its jobs."""


def local_workforce(workers: int) -> Workforce:
    """Return `workers` child processes of this machine."""
    return Workforce(LocalExecutor(workers), workers)


class Cluster(Closing):
    """The workers of a Dask cluster; a context manager that leaves the cluster itself running.

    Each network travels once and stays with the cluster.  Jobs of a worker that is lost go to another one.
    """

    def __init__(self, address: str) -> None:
        """Connect to the scheduler at `address`, for example tcp://host:8786, or a JSON scheduler file.

        Raises `UsageError` if Dask is not installed or the scheduler does not answer.
        """
        try:
            from distributed import Client
        except ImportError as error:
            raise UsageError("cluster: Dask is not installed; install bvverify[cluster]") from error
        place = {"scheduler_file": address} if address.endswith(".json") else {"address": address}
        try:
            self._client = Client(**place, timeout=30)
        except (OSError, ValueError) as error:
            raise UsageError(f"cluster {address}: no Dask scheduler answers there ({error})") from error

    def workforce(self) -> Workforce:
        """Return the cluster's present workers, as wide as they have threads; at least one."""
        threads = sum(self._client.nthreads().values())
        executor = self._client.get_executor(pure=False)
        return Workforce(executor, max(1, threads), lambda network: self._client.scatter(network, hash=False))

    def close(self) -> None:
        self._client.close()
