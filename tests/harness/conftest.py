import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from harness.pool import KernelPool

# Kernels answer from another process, and their first answer waits for torch: no deadline.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("quick", max_examples=60, **_COMMON)
settings.register_profile("thorough", max_examples=20_000, **_COMMON)
settings.load_profile(os.environ.get("BVVERIFY_PROFILE", "quick"))


@pytest.fixture(scope="session")
def pool() -> Iterator[KernelPool]:
    with KernelPool() as kernels:
        yield kernels
