"""Clusters: the workers of Dask, which are there already, or which a batch system such as SLURM starts."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bvverify.closing import Closing
from bvverify.errors import UsageError
from bvverify.runs.executors import Workforce

_SYSTEMS = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster"}
_WAIT_SECONDS = 30


class Cluster(Closing):
    """A connection to Dask workers; a context manager that ends what it started itself.

    Each network travels to the cluster once.  Jobs of a worker that is lost go to another one.  Needs the extra
    `bvverify[cluster]`, and the same version of bvverify on every worker.
    """

    def __init__(self, settings: str | Mapping[str, Any]) -> None:
        """Connect to the scheduler at an address (tcp://host:8786) or in a JSON scheduler file, or start workers.

        Settings that start workers: `system` (local, slurm, pbs or lsf), `jobs` (how many), and whatever that system
        is to be told; for the batch systems, the arguments of dask-jobqueue's clusters, such as `queue`, `cores`,
        `memory` and `walltime`.  Raises `UsageError` if Dask is not installed, no scheduler answers, no worker comes,
        or workers have another version of bvverify.
        """
        try:
            import distributed
        except ImportError as error:
            raise UsageError("cluster: Dask is not installed; install bvverify[cluster]") from error
        self._started: Any = None
        try:
            if isinstance(settings, str):
                place = _place(settings)
            else:
                self._started = start_workers(settings)
                place = {"address": self._started}
            self._client = distributed.Client(**place, timeout=_WAIT_SECONDS)
            self._check_workers()
        except (OSError, TimeoutError, ValueError, TypeError) as error:
            self.close()
            raise UsageError(f"cluster {_name(settings)}: {error}") from error

    def workforce(self) -> Workforce:
        """Return the cluster's workers, as wide as their threads at each moment."""
        executor = self._client.get_executor(pure=False)
        return Workforce(
            executor,
            lambda: max(1, sum(self._client.nthreads().values())),
            lambda network: self._client.scatter(network, hash=False),
        )

    def close(self) -> None:
        """Disconnect, and end the workers that were started here; may be repeated."""
        if (client := getattr(self, "_client", None)) is not None:
            client.close()
        if self._started is not None:
            self._started.close()
            self._started = None

    def _check_workers(self) -> None:
        self._client.wait_for_workers(1, timeout=_WAIT_SECONDS)
        wanted = version("bvverify")
        for worker, found in self._client.run(version, "bvverify").items():
            if found != wanted:
                raise UsageError(f"cluster: worker {worker} has bvverify {found}, this process {wanted}")


def start_workers(settings: Mapping[str, Any]) -> Any:
    """Return a started Dask cluster; see `Cluster` for the settings."""
    options = dict(settings)
    system, jobs = options.pop("system", "local"), options.pop("jobs", 2)
    if system == "local":
        import distributed

        return distributed.LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=None, **options)
    if system not in _SYSTEMS:
        raise UsageError(f"cluster system '{system}': expected local, {', '.join(_SYSTEMS)}")
    if missing := [name for name in ("cores", "memory") if name not in options]:
        raise UsageError(f"cluster system '{system}': '{missing[0]}' is missing, which each job asks the system for")
    import dask_jobqueue

    options.setdefault("scheduler_options", {"dashboard_address": ":0"})  # Dask warns if the usual port is taken
    cluster = getattr(dask_jobqueue, _SYSTEMS[system])(**options)
    cluster.scale(jobs=jobs)
    return cluster


def _place(address: str) -> dict[str, str]:
    if not address.endswith(".json"):
        return {"address": address}
    if not Path(address).is_file():  # Dask would wait for it
        raise UsageError(f"cluster {address}: no such scheduler file")
    return {"scheduler_file": address}


def _name(settings: str | Mapping[str, Any]) -> str:
    return settings if isinstance(settings, str) else json.dumps(dict(settings))
