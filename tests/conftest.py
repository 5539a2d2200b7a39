"""Fixtures of all tests. Every async test runs on asyncio and on trio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from .secrecy import _everything_is_searched, _no_secret_is_told, pytest_runtest_logreport, pytest_warning_recorded

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["_everything_is_searched", "_no_secret_is_told", "pytest_runtest_logreport", "pytest_warning_recorded"]

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")  # no test depends on the speed of the machine


@pytest.fixture(autouse=True, scope="session")
def private_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep aiomig's state, such as the journal of submits, out of the home of the user who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name
