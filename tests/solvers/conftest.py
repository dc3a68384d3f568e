import pytest
from pysmt.environment import reset_env

from bvverify.solvers import installed


@pytest.fixture(autouse=True)
def fresh_environment() -> None:
    """Give each test symbols of its own, and formulas that can be written with operators."""
    reset_env().enable_infix_notation = True


@pytest.fixture(params=installed())
def solver(request: pytest.FixtureRequest) -> str:
    """Give the name of each installed solver in turn."""
    return str(request.param)
