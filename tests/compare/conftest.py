"""What the tests of comparisons share."""

import pytest


@pytest.fixture
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that this machine runs no target, which spares the processes of kernels."""
    monkeypatch.setattr("bvverify.evidence.replay.unavailable", lambda _model, target: f"no {target}")
