"""Fixtures of all tests. Every async test runs on asyncio and on trio."""

from __future__ import annotations

import gc
import re
import signal
from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from .secrecy import _everything_is_searched, _no_secret_is_told, pytest_runtest_logreport, pytest_warning_recorded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["_everything_is_searched", "_no_secret_is_told", "pytest_runtest_logreport", "pytest_warning_recorded"]

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")  # no test depends on the speed of the machine


def pytest_configure() -> None:
    # nohup and background jobs of a shell ignore these signals, and the programs that tests start would inherit that.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    gc.freeze()  # the modules and the tests stay: each full collection would look through them again, for 0.3 s


@pytest.fixture(autouse=True, scope="session")
def private_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep aiomig's state, such as the journal of submits, out of the home of the user who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # or hundreds of programs would each compile aiomig
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def folder_numbers() -> Iterator[int]:
    """Provide the numbers of the folders of the tests of this process."""
    return count()


@pytest.fixture
def tmp_path(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, folder_numbers: Iterator[int]
) -> Path:
    """Provide an empty folder. pytest's own fixture looks through the folders of all tests before, and makes links."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    path = tmp_path_factory.getbasetemp() / f"{name}{next(folder_numbers)}"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name
