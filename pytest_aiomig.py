r"""Pytest fixtures for testing programs that use aiomig: `mig_local`, `fake_grid` and `mig_session`.

The fixtures work in async tests run by anyio's plugin, pytest-asyncio or pytest-trio, and are closed after the test.
The session becomes the current session of the test, so functions such as ``aiomig.submit`` use it.

If aiomig is installed, pytest imports this plugin in every run. To keep that fast, aiomig and httpx are imported only
when a test uses a fixture.

::

    async def test_waits_for_the_end(fake_grid, mig_session):
        fake_grid.script(lambda job: job.executing(after=60).finish(stdout="done\n", after=7200))
        assert await run_my_job() == "done"
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiomig import Session
    from aiomig.testing import FakeGrid

_ASYNCIO = "_aiomig_{name}_by_pytest_asyncio_{scope}"
_OTHERS = "_aiomig_{name}_by_others"


@pytest.fixture
def mig_local(request: pytest.FixtureRequest) -> Any:
    """Provide an open `aiomig.Session` in local mode with its own home. Unfinished jobs are cancelled at the end."""
    return _async_fixture(request, "mig_local")


@pytest.fixture
def fake_grid(request: pytest.FixtureRequest) -> Any:
    """Provide an open `aiomig.testing.FakeGrid` with a virtual clock. It executes jobs unless the test scripts them."""
    return _async_fixture(request, "fake_grid")


@pytest.fixture
def mig_session(request: pytest.FixtureRequest) -> Any:
    """Provide an open `aiomig.Session` on `fake_grid`."""
    return _async_fixture(request, "mig_session")


def _async_fixture(request: pytest.FixtureRequest, name: str) -> Any:
    """Return the value of the async fixture for the plugin that runs the test."""
    node = request.node
    if "anyio_backend" in request.fixturenames or node.get_closest_marker("trio") is not None:
        return request.getfixturevalue(_OTHERS.format(name=name))
    marker = node.get_closest_marker("asyncio")
    if marker is not None and request.config.pluginmanager.has_plugin("asyncio"):
        scope = marker.kwargs.get("loop_scope") or request.config.getini("asyncio_default_test_loop_scope")
        return request.getfixturevalue(_ASYNCIO.format(name=name, scope=scope))
    raise pytest.UsageError(
        f"{node.nodeid}: {name} is for async tests; mark it with anyio, asyncio (pytest-asyncio) or trio (pytest-trio),"
        " or set that plugin's auto mode"
    )


def _async_fixtures() -> dict[str, Callable[..., Any]]:
    """Return new functions for the async fixtures, by name.

    Each plugin needs its own functions, because pytest-asyncio marks them. They use `Session.open` instead of
    ``async with``, because pytest-asyncio closes fixtures in another task.
    """

    async def mig_local(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Session]:
        import aiomig

        session = await aiomig.local(tmp_path_factory.mktemp("mig_local") / "home", on_exit="cancel").open()
        yield session
        await session.aclose()

    async def fake_grid() -> AsyncIterator[FakeGrid]:
        from aiomig._core.tasks import BackgroundContext
        from aiomig.testing import FakeGrid, Site

        background = BackgroundContext(FakeGrid(site=Site(parse_time=0.0), clock="virtual"))
        yield await background.open()
        await background.close()

    async def mig_session(fake_grid: FakeGrid) -> AsyncIterator[Session]:
        session = await fake_grid.session().open()
        fake_grid.requests.clear()
        yield session
        await session.aclose()

    return {"mig_local": mig_local, "fake_grid": fake_grid, "mig_session": mig_session}


globals().update({_OTHERS.format(name=name): pytest.fixture(function) for name, function in _async_fixtures().items()})


def pytest_configure(config: pytest.Config) -> None:
    """Register the fixtures with pytest-asyncio, if that plugin is active."""
    if config.pluginmanager.has_plugin("asyncio"):
        import pytest_asyncio

        plugin = ModuleType("pytest_aiomig for pytest-asyncio")
        for scope in ("function", "class", "module", "package", "session"):  # scopes of the event loop
            for name, function in _async_fixtures().items():
                fixture = pytest_asyncio.fixture(function, loop_scope=scope)
                setattr(plugin, _ASYNCIO.format(name=name, scope=scope), fixture)
        config.pluginmanager.register(plugin, plugin.__name__)
