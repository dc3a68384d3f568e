import pytest
from pysmt.shortcuts import get_env

from bvverify.solvers import installed


@pytest.fixture(autouse=True)
def infix_notation() -> None:
    """Let formulas be written with operators, whichever environment other tests have left behind."""
    get_env().enable_infix_notation = True


@pytest.fixture(params=installed())
def solver(request: pytest.FixtureRequest) -> str:
    """Give the name of each installed solver in turn."""
    return str(request.param)
