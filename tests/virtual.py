"""A grid in memory with a session on it, for tests by a virtual clock: jobs do what the test says."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aiomig
from aiomig._spec.mrsl import Description
from aiomig.testing import FakeGrid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiomig.testing import Site

REAL_TIME = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
"""For tests with processes, in modules that have a virtual clock else."""


EPOCH = 1_700_000_000.0
"""When the grid's time begins: so that its job ids have the same length each time."""


def session_on(grid: FakeGrid, **rule: Any) -> aiomig.Session:
    """A session that polls without jitter."""
    polling = aiomig.Polling(**{"jitter": 0.0, **rule})
    return aiomig.grid(
        url="https://grid.example.org",
        certificate="none.pem",
        key="none.pem",
        transport=grid.transport(),
        polling=polling,
    )


@asynccontextmanager
async def world(site: Site | None = None, **rule: Any) -> AsyncIterator[tuple[FakeGrid, aiomig.Session]]:
    """A grid whose jobs wait for the test, and a session on it, with nothing asked yet."""
    async with FakeGrid(site=site, epoch=EPOCH) as grid:
        grid.hold()
        async with session_on(grid, **rule) as session:
            grid.requests.clear()
            yield grid, session


def seeded(grid: FakeGrid, count: int) -> list[str]:
    """The ids of so many new jobs that nobody submitted."""
    return [grid._jobs.make(grid.user, Description({"EXECUTE": ("true",)})).id for _ in range(count)]


def asked(grid: FakeGrid) -> list[tuple[float, int]]:
    """Of each ``jobstatus`` by which jobs were followed, the time and the number of jobs."""
    return [
        (each.at, len(each.parameters["job_id"]))
        for each in grid.requests
        if each.operation == "jobstatus" and "project_name" not in each.parameters
    ]


def tasks() -> int:
    """The tasks that there are."""
    return len(anyio.get_running_tasks())


def left_in(session: aiomig.Session) -> int:
    """The jobs to which someone is subscribed."""
    return len(session._backend.subscriptions)
