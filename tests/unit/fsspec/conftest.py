"""File systems of fsspec in local mode, and on a `FakeGrid` in the event loop of fsspec."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import fsspec
import pytest
from fsspec import AbstractFileSystem
from fsspec.asyn import get_loop, sync

from aiomig.testing import FakeGrid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class GridInLoop:
    """A grid in memory, in the event loop of fsspec's thread."""

    def __init__(self) -> None:
        self.grid: FakeGrid
        self._leave = asyncio.Event()

    async def open(self) -> None:
        opened = asyncio.Event()
        self._task = asyncio.create_task(self._run(opened))
        await opened.wait()

    async def _run(self, opened: asyncio.Event) -> None:
        async with FakeGrid() as self.grid:
            opened.set()
            await self._leave.wait()

    async def close(self) -> None:
        self._leave.set()
        await self._task


@pytest.fixture(scope="module")
def grid() -> Iterator[FakeGrid]:
    """A grid that all sessions of fsspec reach."""
    server = GridInLoop()
    sync(get_loop(), server.open)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aiomig._fsspec_sessions.grid", lambda config: server.grid.session())
        yield server.grid
    sync(get_loop(), server.close)


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    path, unused = folder / "miguser.conf", folder / "unused.pem"
    unused.write_bytes(b"")
    unused.chmod(0o600)
    path.write_text(f"migserver https://grid.example.org\ncertfile {unused}\nkeyfile {unused}\n")
    return path


@pytest.fixture(scope="module", params=["local", "grid"])
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AbstractFileSystem]:
    if request.param == "local":
        yield fsspec.filesystem("mig+local", home=tmp_path_factory.mktemp("mig") / "home")
        return
    request.getfixturevalue("grid")
    files = fsspec.filesystem("mig", config=request.getfixturevalue("config_file"))
    yield files
    files.close()
