"""The sessions of the conformance suite: the same behaviour in every mode, on asyncio and on trio.

A mode is added by a name in `MODES` and a branch in `Settings.session`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import aiomig
from aiomig import JobState

from .gates import Gate, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

MODES = ("local",)


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
        return aiomig.local(self.home, **{"slots": self.slots, "on_exit": "cancel", **fields})


@pytest.fixture(params=MODES)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    return Settings(request.param, tmp_path)


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
