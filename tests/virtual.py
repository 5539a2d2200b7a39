"""A grid in memory and a session on it, for tests with a virtual clock. The test decides what jobs do."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aiomig
from aiomig.testing import FakeGrid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiomig.testing import Site

REAL_TIME = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
"""For tests with processes, in modules whose other tests use a virtual clock."""


EPOCH = 1_700_000_000.0
"""The start of the grid's time, so that its job ids always have the same length."""


def session_on(grid: FakeGrid, **rule: Any) -> aiomig.Session:
    """Return a session that polls without jitter."""
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
    """Open a grid whose jobs wait for the test, and a session on it. The list of requests is empty."""
    async with FakeGrid(site=site, epoch=EPOCH) as grid:
        grid.hold()
        async with session_on(grid, **rule) as session:
            grid.requests.clear()
            yield grid, session


def seeded(grid: FakeGrid, count: int) -> list[str]:
    """Add jobs to the grid without a submit. Return their ids."""
    return [job.id for job in grid.add_jobs(count)]


def asked(grid: FakeGrid) -> list[tuple[float, int]]:
    """Return the time and the number of jobs of each request that polled for statuses."""
    return [
        (each.at, len(each.parameters["job_id"]))
        for each in grid.requests
        if each.operation == "jobstatus" and "project_name" not in each.parameters
    ]


def tasks() -> int:
    """Return the number of running tasks."""
    return len(anyio.get_running_tasks())


def left_in(session: aiomig.Session) -> int:
    """Return the number of jobs with a subscription."""
    return len(session._backend.subscriptions)
