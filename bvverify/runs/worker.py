"""The child process of a run: answers one job at a time with the stages of `search`.  Free of torch."""

import time
from collections import OrderedDict

from bvverify.child import serve
from bvverify.network import StepNetwork
from bvverify.runs.job import Answer, Job
from bvverify.runs.messages import NeedsNetwork, TakeNetwork
from bvverify.search import BitvectorSolver, decide

_KEPT = 8
"""Networks that are remembered; runs go through their networks one after the other."""


class Worker:
    """What a worker remembers between jobs: networks by digest, and a solver process while its limits stay the same."""

    def __init__(self) -> None:
        self._networks: OrderedDict[str, StepNetwork] = OrderedDict()
        self._solver: BitvectorSolver | None = None
        self._solver_settings: tuple[object, ...] = ()

    def answer(self, request: Job | TakeNetwork) -> Answer | NeedsNetwork | None:
        """Remember a network, or decide a job."""
        if isinstance(request, TakeNetwork):
            self._networks[request.digest] = request.network
            if len(self._networks) > _KEPT:
                self._networks.popitem(last=False)
            return None
        network = self._networks.get(request.network)
        if network is None:
            return NeedsNetwork()
        started = time.perf_counter()
        solver = self._solver_for(request)
        seconds, stages = request.limits.seconds, request.stages
        decision = decide(network, request.box, request.question, solver=solver, seconds=seconds, stages=stages)
        return Answer(decision, time.perf_counter() - started)

    def _solver_for(self, job: Job) -> BitvectorSolver:
        settings = (job.solver, job.limits.memory_bytes, job.limits.cpu_seconds)
        if self._solver is None or settings != self._solver_settings:
            if self._solver is not None:
                self._solver.close()
            self._solver_settings = settings
            self._solver = BitvectorSolver(
                job.solver, memory_bytes=job.limits.memory_bytes, cpu_seconds=job.limits.cpu_seconds
            )
        return self._solver


if __name__ == "__main__":
    serve(Worker().answer)
