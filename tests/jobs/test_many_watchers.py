"""Any number of watchers of any number of jobs; nothing remains of a watcher that ends."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import anyio
import pytest

import aiomig
from aiomig import JobState, JobStatus
from tests.clocks import anyio_backend
from tests.virtual import REAL_TIME, asked, left_in, seeded, tasks, world

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["anyio_backend"]

QUEUED, EXECUTING, FINISHED = JobState.QUEUED, JobState.EXECUTING, JobState.FINISHED


async def queued(session: aiomig.Session, count: int = 1) -> list[aiomig.Job]:
    jobs = await session.submit_many(["true"] * count)
    await anyio.sleep(1)
    return jobs


async def test_breaking_out_leaves_nothing() -> None:
    async with world() as (_, session):
        jobs = await queued(session, 3)
        before = tasks()
        for _ in range(5):
            async for status in session.watch(jobs):
                assert status.state is QUEUED
                break
            async for _ in jobs[0]:
                break
            async for _ in aiomig.watch(jobs[:2]):
                break
            assert tasks() == before
            assert left_in(session) == 0


async def test_cancelling_one_of_two_watchers_of_a_job_leaves_the_other() -> None:
    seen: list[JobState] = []

    async def follow(job: aiomig.Job) -> None:
        seen.extend([status.state async for status in job])

    async with world() as (grid, session):
        (job,) = await queued(session)
        async with anyio.create_task_group() as group:
            group.start_soon(follow, job)
            with anyio.move_on_after(20):
                await job.wait()
            assert left_in(session) == 1
            grid.job(job.id).executing(after=10).finish(after=100)
        assert seen == [QUEUED, EXECUTING, FINISHED]
        assert left_in(session) == 0


async def test_a_wait_that_is_cancelled_and_repeated_loses_nothing() -> None:
    async with world() as (grid, session):
        (job,) = await queued(session)
        for number, step in enumerate([grid.job(job.id).executing, grid.job(job.id).requeue] * 3):
            step(after=7.0 * (number + 1))
        grid.job(job.id).finish(after=60)
        watch, seen = session.watch(job), []
        while JobState.FINISHED not in seen:
            with anyio.move_on_after(0.3):
                seen.append((await anext(watch)).state)
        assert seen == [*[QUEUED, EXECUTING] * 3, QUEUED, FINISHED]


async def test_closing_late_ends_the_task_that_waits() -> None:
    ended: list[str] = []

    async def follow(watch: aiomig.Watch) -> None:
        ended.extend([status.state async for status in watch])

    async with world() as (_, session):
        (job,) = await queued(session)
        watch = session.watch(job)
        async with anyio.create_task_group() as group:
            group.start_soon(follow, watch)
            await anyio.sleep(10)
            await watch.aclose()
            await watch.aclose()
        assert ended == [QUEUED]
        assert [status async for status in watch] == []
        assert left_in(session) == 0


async def test_closing_after_the_session_is_harmless() -> None:
    async with world() as (_, session):
        jobs = await queued(session, 2)
        watch, completed = session.watch(jobs), session.as_completed(jobs)
        assert (await anext(watch)).state is QUEUED
    await watch.aclose()
    completed.close()
    del watch, completed
    gc.collect()


async def test_who_waits_when_the_session_closes_is_told() -> None:
    async def follow(job: aiomig.Job) -> None:
        with pytest.raises(aiomig.NoSession):
            await job.wait()

    async with anyio.create_task_group() as group, world() as (_, session):
        (job,) = await queued(session)
        group.start_soon(follow, job)
        await anyio.sleep(5)


async def test_a_hundred_handlers_watch_one_job() -> None:
    seen: list[list[JobStatus]] = []

    async def handler(job_id: str, session: aiomig.Session) -> None:
        seen.append([status async for status in session.watch(job_id)])

    async with world() as (grid, session):
        (job,) = await queued(session)
        grid.job(job.id).executing(after=10).requeue(after=20).executing(after=30).finish(after=40)
        grid.requests.clear()
        before = tasks()
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(handler, job.id, session)
        assert len(seen) == 100
        assert [status.state for status in seen[0]] == [QUEUED, EXECUTING, QUEUED, EXECUTING, FINISHED]
        assert all(each == seen[0] for each in seen)
        assert {count for _, count in asked(grid)} == {1}
        assert len(asked(grid)) < 45  # one a second, as for one watcher
        assert (tasks(), left_in(session)) == (before, 0)


async def test_handlers_that_are_cancelled_leave_nothing() -> None:
    async with world() as (_, session):
        jobs = await queued(session, 10)
        before = tasks()
        for number in range(50):
            async with anyio.create_task_group() as group:
                for job in jobs:
                    group.start_soon(job.wait)
                await anyio.sleep(0.01 * number)
                group.cancel_scope.cancel()
        assert (tasks(), left_in(session)) == (before, 0)


async def test_jobs_are_added_to_a_running_watch() -> None:
    async with world() as (grid, session):
        jobs = await queued(session, 3)
        for job in jobs:
            grid.job(job.id).finish(after=50)
        watch, seen = session.watch(jobs[0]), []
        async for status in watch:
            seen.append((status.job_id, status.state))
            if len(seen) == 1:
                watch.add(jobs[1], jobs[2].id)
                watch.add(jobs[1])
        assert sorted(seen) == sorted((job.id, state) for job in jobs for state in (QUEUED, FINISHED))
        assert left_in(session) == 0


async def test_a_job_is_added_while_another_task_waits() -> None:
    seen: list[tuple[str, JobState]] = []

    async def follow(watch: aiomig.Watch) -> None:
        async for status in watch:
            seen.append((status.job_id, status.state))

    async with world() as (grid, session):
        first, second = await queued(session, 2)
        watch = session.watch(first)
        async with anyio.create_task_group() as group:
            group.start_soon(follow, watch)
            await anyio.sleep(20)
            watch.add(second)
            grid.job(second.id).finish(after=20)
            grid.job(first.id).finish(after=200)
        assert seen == [(first.id, QUEUED), (second.id, QUEUED), (second.id, FINISHED), (first.id, FINISHED)]


async def test_an_ended_job_is_added_while_another_task_waits() -> None:
    seen: list[str] = []

    async def follow(watch: aiomig.Watch) -> None:
        async for status in watch:
            seen.append(status.job_id)

    async with world() as (grid, session):
        first, second = await queued(session, 2)
        grid.job(second.id).finish()
        await second.wait()
        watch = session.watch(first)
        async with anyio.create_task_group() as group:
            group.start_soon(follow, watch)
            await anyio.sleep(20)
            watch.add(second)
            await anyio.sleep(20)
            assert seen == [first.id, second.id]
            grid.job(first.id).finish()


async def test_a_slow_loop_gets_the_latest_state() -> None:
    async with world() as (grid, session):
        (job,) = await queued(session)
        fast: list[JobState] = []

        async def follow() -> None:
            fast.extend([status.state async for status in job])

        for number in range(20):
            grid.job(job.id).executing(after=20 * number + 10).requeue(after=20 * number + 20)
        grid.job(job.id).finish(after=1000)
        slow = []
        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            async for status in job:
                slow.append((status.state, len(status.attempts)))
                await anyio.sleep(600)
        assert slow == [(QUEUED, 0), (QUEUED, 20), (FINISHED, 20)]
        assert fast == [*[QUEUED, EXECUTING] * 20, QUEUED, FINISHED]


async def test_tasks_that_share_a_watch_share_what_comes() -> None:
    seen: list[str] = []

    async def follow(watch: aiomig.Watch) -> None:
        async for status in watch:
            if status.state.is_final:
                seen.append(status.job_id)

    async with world() as (grid, session):
        jobs = await queued(session, 10)
        watch = session.watch(jobs)
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(follow, watch)
            await anyio.sleep(10)
            for number, job in enumerate(jobs):
                grid.job(job.id).finish(after=number)
        assert sorted(seen) == sorted(job.id for job in jobs)


async def test_as_completed_and_wait() -> None:
    async with world() as (grid, session):
        jobs = await queued(session, 4)
        for number, job in enumerate(reversed(jobs)):
            grid.job(job.id).finish(stdout=f"{job.id}\n", after=10 * number + 5)
        done, pending = await session.wait(jobs, "any")
        assert (done, pending) == ([jobs[3]], jobs[:3])
        assert [job.id async for job in aiomig.as_completed(jobs)] == [job.id for job in reversed(jobs)]
        assert await aiomig.wait(jobs) == (jobs, [])
        assert (await jobs[0]).stdout == f"{jobs[0].id}\n"
        assert left_in(session) == 0


async def test_statuses_and_cancel_are_one_request_and_have_an_outcome_for_each() -> None:
    async with world() as (grid, session):
        jobs = await queued(session, 20)
        grid.job(jobs[0].id).finish()
        grid.requests.clear()
        found = await session.statuses([*jobs, "9_1_1_2026__1_1_1_localhost.0"])
        assert list(found) == [job.id for job in jobs]
        assert [status.state for status in found.values()] == [FINISHED, *[QUEUED] * 19]
        outcomes = await session.cancel([*jobs, "9_1_1_2026__1_1_1_localhost.0"])
        assert [each.changed for each in outcomes.values()] == [False, *[True] * 19, False]
        assert outcomes[jobs[0].id].before is FINISHED
        assert outcomes["9_1_1_2026__1_1_1_localhost.0"].before is None
        assert all(each.message for each in outcomes.values() if not each.changed)
        assert grid.counts == {"jobstatus": 1, "jobaction": 1}


async def test_a_bulk_cancel_of_thousands_goes_in_chunks() -> None:
    async with world() as (grid, session):
        jobs = [session.job(job_id) for job_id in seeded(grid, 1200)]
        grid.requests.clear()
        outcomes = await session.cancel(jobs)
        assert [each.after for each in outcomes.values()] == [JobState.CANCELED] * 1200
        assert len(await session.statuses(jobs)) == 1200
        assert grid.counts == {"jobman": 1, "jobaction": 3, "jobstatus": 3}


# -- local mode, in real time: jobs wait for a named pipe that the test opens


class Gates:
    """Jobs that wait for the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.commands: list[str] = []

    def add(self) -> str:
        path = self._folder / f"gate-{len(self.commands)}"
        self.commands.append(f"while [ ! -e {path} ]; do sleep 0.02; done")
        return self.commands[-1]

    def open(self, number: int = 0) -> None:
        (self._folder / f"gate-{number}").touch()


@REAL_TIME
async def test_local_breaking_out_and_cancelling_leave_nothing(tmp_path: Path) -> None:
    gates = Gates(tmp_path)
    async with aiomig.local(tmp_path / "home", slots=1) as session:
        job = await session.submit(gates.add())
        async for status in job:
            if status.state is EXECUTING:
                break
        before = tasks()
        for _ in range(20):
            async for _ in session.watch(job):
                break
            with anyio.move_on_after(0):
                await job.wait()
        assert (tasks(), left_in(session)) == (before, 0)
        gates.open()
        assert (await job.wait()).state is FINISHED


@REAL_TIME
async def test_local_a_hundred_handlers_watch_one_job(tmp_path: Path) -> None:
    seen: list[list[JobState]] = []

    async def handler(job: aiomig.Job) -> None:
        seen.append([status.state async for status in job])

    gates = Gates(tmp_path)
    async with aiomig.local(tmp_path / "home", slots=1) as session:
        job = await session.submit(gates.add())
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(handler, job)
            watch = session.watch(job)
            while (await anext(watch)).state is not EXECUTING:
                pass
            watch.close()
            gates.open()
        assert len(seen) == 100
        for each in seen:  # a late or slow reader sees fewer lines, but none twice
            assert each[-1] is FINISHED
            assert len(set(each)) == len(each)
        assert left_in(session) == 0


@REAL_TIME
async def test_local_cancelling_one_of_two_watchers_and_adding(tmp_path: Path) -> None:
    gates = Gates(tmp_path)
    async with aiomig.local(tmp_path / "home", slots=2) as session:
        first, second = await session.submit_many([gates.add(), gates.add()])
        watch, other = session.watch(first), session.watch([first])
        await anext(watch)
        with anyio.move_on_after(0):
            await anext(other)
        del other
        watch.add(second)
        gates.open(0)
        gates.open(1)
        ended = {status.job_id async for status in watch if status.state is FINISHED}
        assert ended == {first.id, second.id}
        assert left_in(session) == 0


@REAL_TIME
async def test_local_a_job_that_is_not_there_is_told_once(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home", slots=1) as session:
        job = await session.submit("true")
        await job.wait()
        watch = session.watch([job.id, "nothing"])
        with pytest.raises(aiomig.JobNotFound) as caught:
            await anext(watch)
        assert caught.value.job_id == "nothing"
        assert [status.job_id async for status in watch] == [job.id]
