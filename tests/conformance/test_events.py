"""Reading the changes of all jobs of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

import aiomig
from aiomig import JobState

if TYPE_CHECKING:
    from .gates import Gate
    from .modes import Settings

QUEUED, FINISHED, CANCELED = JobState.QUEUED, JobState.FINISHED, JobState.CANCELED


async def read_to_end(events: aiomig.Events, job_id: str) -> list[aiomig.JobStatus]:
    statuses: list[aiomig.JobStatus] = []
    async for status in events:
        if status.job_id == job_id:
            statuses.append(status)
            if status.state.is_final:
                break
    return statuses


async def test_events_give_each_change_of_a_new_job_once(mig: aiomig.Session) -> None:
    async with mig.events() as events:
        job = await mig.submit("true")
        statuses = await read_to_end(events, job.id)
    assert statuses[-1].state is FINISHED
    assert len(statuses) == len(set(statuses))
    assert statuses[-1] == await job.status()


async def test_the_present_is_no_event(mig: aiomig.Session, executing: aiomig.Job, gate: Gate) -> None:
    async with mig.events() as events:
        gate.open()
        statuses = await read_to_end(events, executing.id)
    assert [status.state for status in statuses] == [FINISHED]


async def test_events_have_the_jobs_of_other_programs(settings: Settings, mig: aiomig.Session) -> None:
    async with mig.events() as events, settings.session() as other:
        job = await other.submit("true")
        statuses = await read_to_end(events, job.id)
    assert statuses[-1].state is FINISHED


async def test_any_number_of_readers_have_the_same_events(
    mig: aiomig.Session, executing: aiomig.Job, gate: Gate
) -> None:
    readers = [mig.events() for _ in range(5)]
    seen: list[list[JobState]] = []

    async def read(events: aiomig.Events) -> None:
        seen.append([status.state for status in await read_to_end(events, executing.id)])

    async with anyio.create_task_group() as group:
        for events in readers:
            await events.__aenter__()
            group.start_soon(read, events)
        await executing.cancel()
    assert seen == [[CANCELED]] * 5


async def test_a_cancelled_step_of_events_loses_nothing(mig: aiomig.Session, executing: aiomig.Job) -> None:
    events = mig.events()
    with anyio.move_on_after(0) as scope:
        await anext(events)
    assert scope.cancelled_caught
    async with events:
        with anyio.move_on_after(0.01):
            await anext(events)
        await executing.cancel()
        assert (await read_to_end(events, executing.id))[-1].state is CANCELED


async def test_a_slow_reader_is_told_what_it_lost(mig: aiomig.Session) -> None:
    async with mig.events(buffer=1) as events, mig.events() as quick:
        seen = []
        for _ in range(2):  # one job may have a single change
            job = await mig.submit("true")
            seen += await read_to_end(quick, job.id)
        with pytest.raises(aiomig.EventsLost) as caught:
            await anext(events)
        assert caught.value.count == len(seen) - 1
        assert (await anext(events)) == seen[-1]


async def test_a_reader_of_a_closed_session_is_told(settings: Settings) -> None:
    async with settings.session() as session:
        events = session.events()
        await events.__aenter__()
    with pytest.raises(aiomig.NoSession):
        await anext(events)
    with pytest.raises(aiomig.NoSession):
        session.events()


async def test_a_buffer_is_a_count(mig: aiomig.Session) -> None:
    with pytest.raises(aiomig.SpecError, match="buffer"):
        mig.events(buffer=0)
