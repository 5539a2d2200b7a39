"""The cost of `Session.events` for a grid, and what happens if the grid does not respond."""

from __future__ import annotations

import anyio
import pytest

import aiomig
from aiomig import JobState
from tests.clocks import anyio_backend
from tests.virtual import asked, seeded, tasks, world

__all__ = ["anyio_backend"]


async def requests_of(readers: int) -> int:
    async with world() as (grid, session):
        ids = seeded(grid, 20)
        await anyio.sleep(10)  # they are QUEUED
        events = [session.events() for _ in range(readers)]
        for each in events:
            await each.__aenter__()
        grid.job(ids[0]).executing(after=50).finish(after=60)
        await anyio.sleep(300)
        for each in events:
            states = [(await anext(each)).state for _ in range(2)]
            assert states == [JobState.EXECUTING, JobState.FINISHED]
        return len(asked(grid))


async def test_many_readers_send_no_more_requests_than_one() -> None:
    # The pauses of the lister depend on measured time in its last digits only.
    assert await requests_of(1) == await requests_of(50)


async def test_readers_that_are_gone_cost_nothing() -> None:
    async with world() as (grid, session):
        seeded(grid, 5)
        before = tasks()
        async with session.events():
            await anyio.sleep(100)
        await anyio.sleep(100)
        grid.requests.clear()
        await anyio.sleep(1000)
        assert asked(grid) == []
        assert tasks() == before


async def test_a_job_that_came_and_went_between_two_listings_is_an_event() -> None:
    async with world() as (grid, session), session.events() as events:
        await anyio.sleep(500)
        (job_id,) = seeded(grid, 1)
        grid.job(job_id).executing().finish()
        status = await anext(events)
        assert (status.job_id, status.state) == (job_id, JobState.FINISHED)


async def test_a_first_listing_that_fails_is_raised_and_can_be_repeated() -> None:
    async with world() as (grid, session):
        events = session.events()
        grid.faults.add("jobstatus", "error", times=5)  # five tries
        with pytest.raises(aiomig.GridError):
            await anext(events)
        async with events:
            (job_id,) = seeded(grid, 1)
            assert (await anext(events)).job_id == job_id
