"""`aiomig.watch` in local mode: the present status, each change once and in order, and the end."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import anyio
import pytest

import aiomig
from aiomig import JobState
from tests.programs.support import pipes

if TYPE_CHECKING:
    from pathlib import Path

    from aiomig._core.subscriptions import Subscriptions

QUEUED, EXECUTING, FINISHED = JobState.QUEUED, JobState.EXECUTING, JobState.FINISHED


def _subscriptions(mig: aiomig.Session) -> Subscriptions:
    return mig.job("1").backend.subscriptions


async def test_every_state_once_and_in_order(tmp_path: Path) -> None:
    with pipes(tmp_path, "gate") as (gate,):
        async with aiomig.local(tmp_path / "home", slots=1) as mig:
            blocker = await mig.submit(gate.wait)
            job = await mig.submit(gate.wait)
            seen = []
            async for status in mig.watch(job):
                seen.append(status.state)
                if status.state is not FINISHED:
                    gate.send()
            assert seen == [QUEUED, EXECUTING, FINISHED]
            assert [status.state async for status in mig.watch([blocker, job])] == [FINISHED, FINISHED]


async def test_a_frozen_job_and_a_retry(tmp_path: Path) -> None:
    with pipes(tmp_path, "gate") as (gate,):
        async with aiomig.local(tmp_path / "home", slots=1) as mig:
            blocker = await mig.submit(gate.wait)
            job = await mig.submit([gate.wait, "exit 1"], retries=1)
            seen = []
            async for status in job:
                seen.append((status.state, len(status.attempts)))
                match status.state:
                    case JobState.QUEUED if len(seen) == 1:
                        await job.freeze()
                    case JobState.FROZEN:
                        await job.thaw()
                    case JobState.QUEUED if len(seen) == 3:
                        gate.send()
                        await blocker
                    case JobState.EXECUTING:
                        gate.send()
            states = [state for state, _ in seen]
            assert states[:4] == [QUEUED, JobState.FROZEN, QUEUED, EXECUTING]
            assert seen[-1] == (JobState.FAILED, 2)
            assert (EXECUTING, 1) in seen


async def test_a_slow_loop_gets_the_latest_only(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home", slots=1) as mig:
        job = await mig.submit("true")
        watch = mig.watch(job)
        assert (await anext(watch)).state in (QUEUED, EXECUTING)
        await job
        assert [status.state async for status in watch] == [FINISHED]


async def test_an_iterator_that_is_dropped_leaves_nothing(tmp_path: Path) -> None:
    with pipes(tmp_path, "gate") as (gate,):
        async with aiomig.local(tmp_path / "home") as mig:
            job = await mig.submit(gate.wait)
            async for _ in mig.watch(job):
                break
            watch = mig.watch([job])
            await anext(watch)
            del watch
            gc.collect()
            assert len(_subscriptions(mig)) == 0
            gate.send()


async def test_a_cancelled_wait_loses_nothing(tmp_path: Path) -> None:
    with pipes(tmp_path, "gate") as (gate,):
        async with aiomig.local(tmp_path / "home", slots=1) as mig:
            job = await mig.submit(gate.wait)
            watch = mig.watch(job)
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anext(watch)
            assert (await anext(watch)).state is EXECUTING
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anext, watch)
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
            gate.send()
            assert [status.state async for status in watch] == [FINISHED]
            assert (await job.status()).state is FINISHED


async def test_jobs_are_added_to_a_watch_that_someone_waits_in(tmp_path: Path) -> None:
    with pipes(tmp_path, "gate") as (gate,):
        async with aiomig.local(tmp_path / "home", slots=2) as mig:
            ended = await mig.submit("true")
            await ended
            running = await mig.submit(gate.wait)
            watch = mig.watch(running)
            assert (await anext(watch)).state is EXECUTING
            told: list[aiomig.JobStatus] = []

            async def wait() -> None:
                told.append(await anext(watch))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                watch.add(ended, running)
            assert [(status.job_id, status.state) for status in told] == [(ended.id, FINISHED)]
            gate.send()
            assert [status.job_id async for status in watch] == [running.id]


async def test_hundred_watchers_of_one_job(tmp_path: Path) -> None:
    seen: list[list[JobState]] = []
    with pipes(tmp_path, "gate") as (gate,):
        async with aiomig.local(tmp_path / "home", slots=1) as mig:
            blocker = await mig.submit(gate.wait)
            job = await mig.submit(gate.wait)

            async def follow() -> None:
                seen.append([status.state async for status in job])

            async with anyio.create_task_group() as tasks:
                for _ in range(100):
                    tasks.start_soon(follow)
                await anyio.wait_all_tasks_blocked()
                gate.send()
                await blocker
                async for status in job:
                    if status.state is EXECUTING:
                        await anyio.wait_all_tasks_blocked()
                        gate.send()
            assert len(_subscriptions(mig)) == 0
    assert seen == [[QUEUED, EXECUTING, FINISHED]] * 100


async def test_an_unknown_job_among_known_ones_is_told_once(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home") as mig:
        job = await mig.submit("true")
        await job
        watch = mig.watch(["999_1_1_2026__0_0_0_local.0", job.id, "nonsense"])
        unknown = []
        told: list[str] = []
        while True:
            try:
                async for status in watch:
                    told.append(status.job_id)
                break
            except aiomig.JobNotFound as error:
                unknown.append(error.job_id)
        assert unknown == ["999_1_1_2026__0_0_0_local.0", "nonsense"]
        assert told == [job.id]


async def test_a_watch_of_nothing_ends(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home") as mig:
        assert [status async for status in mig.watch([])] == []
        with pytest.raises(StopAsyncIteration):
            await anext(mig.watch([]))
