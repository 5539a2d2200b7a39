"""Following jobs, one and many."""

from __future__ import annotations

import gc
import itertools
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

import aiomig
from aiomig import JobState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .gates import Gate
    from .modes import Settings

    Submit = Callable[[str], Awaitable[aiomig.Job]]

FINISHED, QUEUED, EXECUTING = JobState.FINISHED, JobState.QUEUED, JobState.EXECUTING


async def test_a_watch_gives_the_present_status_first_and_the_end_last(executing: aiomig.Job, gate: Gate) -> None:
    states = []
    async for status in aiomig.watch(executing):
        states.append(status.state)
        gate.open()
    assert states == [EXECUTING, FINISHED]


@pytest.mark.job("true")
async def test_a_watch_of_what_has_ended_gives_one_status(mig: aiomig.Session, job: aiomig.Job) -> None:
    end = await job.wait()
    assert [status async for status in job] == [end]
    assert [status async for status in mig.watch([job.id])] == [end]


async def test_no_status_comes_twice(mig: aiomig.Session) -> None:
    job = await mig.submit("exit 1", retries=3)
    statuses = [status async for status in job]
    assert all(one != other for one, other in itertools.pairwise(statuses))
    assert statuses[-1].state is JobState.FAILED


async def test_a_watch_of_many_ends_when_all_have(mig: aiomig.Session, settings: Settings) -> None:
    jobs = [await mig.submit(f"exit {number % 2}", retries=0) for number in range(10 if settings.here else 2)]
    ends: dict[str, JobState] = {}
    async for status in mig.watch(jobs):
        assert status.job_id not in ends, "a status after the end"
        if status.state.is_final:
            ends[status.job_id] = status.state
    assert [ends[job.id] for job in jobs] == [FINISHED, JobState.FAILED] * (len(jobs) // 2)


async def test_a_watch_of_nothing_ends_at_once(mig: aiomig.Session) -> None:
    assert [status async for status in mig.watch([])] == []
    assert [job async for job in mig.as_completed([])] == []
    assert await mig.wait([]) == ([], [])
    assert await mig.statuses([]) == {}
    assert await mig.cancel([]) == {}


async def test_a_watch_can_be_left_and_begun_again(executing: aiomig.Job, gate: Gate) -> None:
    async for status in executing:
        assert status.state is EXECUTING
        break
    gc.collect()
    gate.open()
    assert [status.state async for status in executing][-1] is FINISHED


async def test_a_cancelled_step_of_a_watch_loses_nothing(executing: aiomig.Job, gate: Gate) -> None:
    watch = aiomig.watch(executing)
    assert (await anext(watch)).state is EXECUTING
    with anyio.move_on_after(0) as scope:
        await anext(watch)
    assert scope.cancelled_caught
    gate.open()
    assert (await anext(watch)).state is FINISHED
    with pytest.raises(StopAsyncIteration):
        await anext(watch)


async def test_two_watchers_see_the_same(waiting: Submit, gate: Gate) -> None:
    job = await waiting("true")
    seen: list[list[aiomig.JobStatus]] = [[], []]
    begun = [anyio.Event(), anyio.Event()]

    async def follow(number: int) -> None:
        async for status in job:
            seen[number].append(status)
            begun[number].set()

    async with anyio.create_task_group() as tasks:
        for number in range(2):
            tasks.start_soon(follow, number)
        for each in begun:
            await each.wait()
        gate.open(2)
    assert seen[0] == seen[1]
    assert seen[0][0].state is QUEUED
    assert seen[0][-1].state is FINISHED


async def test_a_slow_watcher_gets_the_latest_status(waiting: Submit, gate: Gate) -> None:
    job = await waiting("true")
    watch = aiomig.watch(job)
    assert (await anext(watch)).state is QUEUED
    gate.open(2)
    await job.wait()
    assert [status.state async for status in watch] == [FINISHED]


async def test_wait_for_all(mig: aiomig.Session) -> None:
    jobs = [await mig.submit(command, retries=0) for command in ("true", "false", "exit 1")]
    done, pending = await aiomig.wait(jobs)
    assert (done, pending) == (jobs, [])


async def test_wait_for_any(mig: aiomig.Session, executing: aiomig.Job) -> None:
    quick = await mig.submit("true")
    done, pending = await aiomig.wait([executing, quick], return_when="any")
    assert (done, pending) == ([quick], [executing])
    with pytest.raises(ValueError, match="return_when"):
        await aiomig.wait([quick], return_when="first")  # type: ignore[arg-type]


async def test_as_completed_gives_the_order_of_the_ends(mig: aiomig.Session, executing: aiomig.Job, gate: Gate) -> None:
    quick = await mig.submit("true")
    ended = []
    async for job in aiomig.as_completed([executing, quick]):
        ended.append(job)
        gate.open()
    assert ended == [quick, executing]


@pytest.mark.job("true")
async def test_a_job_given_twice_comes_once(mig: aiomig.Session, job: aiomig.Job) -> None:
    assert [each async for each in mig.as_completed([job, job, mig.job(job.id)])] == [job]
    assert (await mig.wait([job, job])).done == [job]


@pytest.mark.job("true")
async def test_statuses_of_many_in_the_order_given(mig: aiomig.Session, job: aiomig.Job, executing: aiomig.Job) -> None:
    ended = job
    await ended.wait()
    statuses = await mig.statuses([ended, executing])
    assert [(job_id, status.state) for job_id, status in statuses.items()] == [
        (ended.id, FINISHED),
        (executing.id, EXECUTING),
    ]


async def test_a_wait_that_times_out_leaves_the_job_alone(executing: aiomig.Job, gate: Gate) -> None:
    with pytest.raises(TimeoutError), anyio.fail_after(0.01):
        await executing
    assert (await executing.status()).state is EXECUTING
    gate.open()
    assert (await executing).ok


async def test_a_cancelled_waiter_leaves_the_job_and_the_others_alone(executing: aiomig.Job, gate: Gate) -> None:
    results: list[aiomig.JobResult] = []

    async def follow() -> None:
        results.append(await executing)

    async with anyio.create_task_group() as all_tasks:
        all_tasks.start_soon(follow)
        async with anyio.create_task_group() as some:
            for call in (executing.wait, executing.result, executing.stdout, follow):
                some.start_soon(call)
            for _ in range(10):
                await anyio.lowlevel.checkpoint()
            some.cancel_scope.cancel()
        assert (await executing.status()).state is EXECUTING
        gate.open()
    assert [result.ok for result in results] == [True]


async def test_many_tasks_share_a_session(mig: aiomig.Session, settings: Settings) -> None:
    count = 20 if settings.here else 4
    outputs: dict[int, str] = {}

    async def one(number: int) -> None:
        outputs[number] = (await (await mig.submit(f"echo {number}"))).stdout

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(one, number)
    assert outputs == {number: f"{number}\n" for number in range(count)}


@pytest.mark.combined("test_many_tasks_share_a_session")
async def test_two_hundred_jobs_at_once(mig: aiomig.Session) -> None:
    jobs = [await mig.submit([f"echo {number}", f"(exit {number % 3})"]) for number in range(200)]
    assert len({job.id for job in jobs}) == 200
    results = {job.id: await job.result(check=False) async for job in aiomig.as_completed(jobs)}
    assert [results[job.id].stdout for job in jobs] == [f"{number}\n" for number in range(200)]
    assert [results[job.id].exit_code for job in jobs] == [number % 3 for number in range(200)]
    assert all(status.state is FINISHED for status in (await aiomig.statuses(jobs)).values())


@pytest.mark.job(["echo x", "echo y >&2"])
async def test_a_handle_from_an_id_is_as_good(mig: aiomig.Session, job: aiomig.Job) -> None:
    result = await job
    again = mig.job(job.id)
    assert (again, hash(again), again.id) == (job, hash(job), job.id)
    assert await again == result
    assert (await again.stdout(), await again.stderr()) == ("x\n", "y\n")
