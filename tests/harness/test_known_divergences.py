"""What kernels get wrong stays wrong, or the table of known divergences has to change."""

import numpy as np
import pytest

from bvverify.errors import NotExact
from bvverify.kernels.lower import lower
from harness.corpus import result_bytes
from harness.divergences import DIVERGENCES, Divergence
from harness.pool import KernelPool

rows = pytest.mark.parametrize("row", DIVERGENCES, ids=lambda row: f"{row.case}-{row.target}".replace("/", "-"))


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="a known defect of the kernel")
@rows
def test_the_kernel_computes_the_definition(pool: KernelPool, row: Divergence) -> None:
    if (reason := row.target.unavailable()) is not None:
        pytest.skip(reason)
    case, definition = row.load()
    (real,) = pool.run(row.target, [(case.model, case.inputs)])
    assert not isinstance(real, str), real
    np.testing.assert_array_equal(result_bytes(case.model, real), definition)


@rows
def test_lowering_refuses_it(row: Divergence) -> None:
    case, _ = row.load()
    with pytest.raises(NotExact):
        lower(case.model, row.target)
