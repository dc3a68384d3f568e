import pytest

from bvverify.solvers import installed


@pytest.fixture(params=installed())
def solver(request: pytest.FixtureRequest) -> str:
    """Give the name of each installed solver in turn."""
    return str(request.param)
