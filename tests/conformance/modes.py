"""Opens the sessions of the suite: in local mode, and on a `FakeGrid` in memory or over TLS."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiomig
from aiomig import Config, Polling
from aiomig.testing import FakeGrid, Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiomig.testing import Authority

SLOTS = 2
QUICK = Polling(floor=0.02, ceiling=0.1, gather=0.0, requests_a_minute=1_000_000)
SITE = Site(parse_time=0.02, retries=0, liveio_interval=0.0, liveio_time=0.0, transfer_time=0.0)


@dataclass(frozen=True)
class Settings:
    """Opens sessions in one mode. This class is local mode.

    Attributes:
        mode: the name of the mode.
        folder: a folder of this machine for one test.
        top: the folder of the home in which the test keeps its files.
        slots: the number of jobs that run at once.
        here: whether jobs run on this machine, and so can wait at a `Gate`.
    """

    folder: Path
    mode: str = "local"
    top: str = "conformance"
    slots: int = SLOTS
    here: bool = True

    @property
    def home(self) -> Path:
        """Return the emulated home."""
        return self.folder / "home"

    def shared(self, url: str) -> aiomig.SharedFolder:
        """Return what a share link of this mode shows to everyone."""
        return aiomig.SharedFolder(url)

    def session(self, **fields: Any) -> aiomig.Session:
        """Return a new session on the home of this test. ``fields`` are for local mode only."""
        return aiomig.local(self.home, **{"slots": self.slots, "on_exit": "cancel", **fields})


@dataclass(frozen=True, kw_only=True)
class FakeSettings(Settings):
    """Opens sessions on a `FakeGrid`. Local mode's engine runs its jobs."""

    grid: FakeGrid
    config: Config
    in_memory: bool

    def shared(self, url: str) -> aiomig.SharedFolder:
        transport = self.grid.transport("") if self.in_memory else None
        return aiomig.SharedFolder(url, ca=self.config.ca, transport=transport)

    def session(self, **fields: Any) -> aiomig.Session:
        transport = self.grid.transport() if self.in_memory else None
        limits = aiomig.RequestLimits(output_interval=0.02, live_output=0.0)
        return aiomig.grid(self.config, polling=QUICK, request_limits=limits, transport=transport)


@asynccontextmanager
async def fake(mode: str, folder: Path, authority: Authority) -> AsyncIterator[FakeSettings]:
    """Run a `FakeGrid` for one test, in memory or over TLS."""
    async with FakeGrid(folder / "home", site=SITE, slots=SLOTS) as grid:
        files = authority.client(grid.user)
        if mode == "fake":
            config = Config("https://grid.example.org", files.certificate, files.key, authority.file)
            yield FakeSettings(folder, mode, grid=grid, config=config, in_memory=True)
            return
        async with grid.serve(authority=authority) as address:
            config = Config(address.url, address.certificate, address.key, address.ca)
            yield FakeSettings(folder, mode, grid=grid, config=config, in_memory=False)
