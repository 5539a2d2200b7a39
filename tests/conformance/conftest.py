"""The sessions of the conformance suite: the same behaviour in every mode, on asyncio and on trio.

A mode is added by a name in `MODES` and a branch in `settings`. ``live`` is a real server: the account of the
configuration file that ``$AIOMIG_LIVE_CONFIG`` names, which should have nothing else in its home.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import aiomig
from aiomig import JobState

from .gates import Gate, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

LIVE_CONFIG = os.environ.get("AIOMIG_LIVE_CONFIG")
MODES = ("local", *(("live",) if LIVE_CONFIG else ()))


@dataclass(frozen=True)
class Settings:
    """How sessions are opened in one mode.

    Attributes:
        mode: the name of the mode.
        folder: for what belongs to one test; the emulated home is ``folder/home``.
        slots: how many jobs run at once.
        here: whether jobs run on this machine, and so can wait at a `Gate`.
    """

    mode: str
    folder: Path
    slots: int = 2
    here: bool = True

    @property
    def home(self) -> Path:
        """The emulated home."""
        return self.folder / "home"

    def session(self, **fields: Any) -> aiomig.Session:
        """A new session on the home of this test; ``fields`` are for local mode only."""
        if self.mode == "live":
            return aiomig.grid(LIVE_CONFIG)
        return aiomig.local(self.home, **{"slots": self.slots, "on_exit": "cancel", **fields})


@pytest.fixture(params=MODES)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    mode: str = request.param
    return Settings(mode, tmp_path, here=mode != "live")


@pytest.fixture
def local_settings(settings: Settings) -> Settings:
    """For what only local mode has."""
    if settings.mode != "local":
        pytest.skip("of local mode only")
    return settings


@pytest.fixture
async def mig(settings: Settings) -> AsyncIterator[aiomig.Session]:
    """An open session."""
    async with settings.session() as session:
        yield session


@pytest.fixture
async def no_new_job(mig: aiomig.Session) -> AsyncIterator[None]:
    """Sees to it that the test makes no job."""
    before = await mig.jobs(newest=1)
    yield
    assert await mig.jobs(newest=1) == before


@pytest.fixture
def gate(settings: Settings) -> Iterator[Gate]:
    """Where jobs wait for the test."""
    if not settings.here:
        pytest.skip("jobs run on another machine")
    gate = Gate(settings.folder / "gate")
    yield gate
    gate.close()


@pytest.fixture
async def executing(mig: aiomig.Session, gate: Gate) -> aiomig.Job:
    """A job that is EXECUTING until the gate is opened."""
    job = await mig.submit(gate.command)
    await until(job, JobState.EXECUTING)
    return job


@pytest.fixture
def waiting(mig: aiomig.Session, settings: Settings, gate: Gate) -> Callable[[str], Awaitable[aiomig.Job]]:
    """Submits a job that stays QUEUED until the gate is opened once for each slot: others are before it."""

    async def submit(command: str) -> aiomig.Job:
        for _ in range(settings.slots):
            await mig.submit(gate.command)
        return await mig.submit(command)

    return submit
