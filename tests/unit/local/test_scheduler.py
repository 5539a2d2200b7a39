"""The queue of local mode: slots, order, retries, expiry, and how a session ends."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING

import anyio
import pytest

import aiomig
from aiomig import JobState, Resources
from tests.programs.support import pipes

if TYPE_CHECKING:
    from pathlib import Path


async def _states(jobs: list[aiomig.Job]) -> list[JobState]:
    statuses = await aiomig.statuses(jobs)
    return [statuses[job.id].state for job in jobs]


def _runs(home: Path) -> list[str]:
    return sorted(os.listdir(home / ".aiomig" / "run"))


async def test_no_more_jobs_than_slots_and_in_their_order(tmp_path: Path) -> None:
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with aiomig.local(tmp_path / "home", slots=2) as mig:
            jobs = [await mig.submit([news.write(str(number)), gate.wait]) for number in range(6)]
            begun = {await news.line(), await news.line()}
            assert begun == {"0", "1"}
            for number in range(2, 6):
                states = await _states(jobs)
                assert states.count(JobState.EXECUTING) == 2
                gate.send()
                assert await news.line() == str(number)
                running = [job for job, state in zip(jobs, states, strict=True) if not state.is_final]
                await mig.wait(running, return_when="any")  # its slot was free before its results were stored
            gate.send(2)


async def test_cores_take_slots(tmp_path: Path) -> None:
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with aiomig.local(tmp_path / "home", slots=3) as mig:
            two = await mig.submit([news.write("two"), gate.wait], resources=Resources(cores=2))
            other = await mig.submit([news.write("other"), gate.wait], resources=Resources(cores=2))
            one = await mig.submit([news.write("one"), gate.wait])
            huge = await mig.submit([news.write("huge"), gate.wait], resources=Resources(cores=64, nodes=4))
            last = await mig.submit([news.write("last"), gate.wait])
            jobs = [two, other, one, huge, last]
            assert await news.line() == "two"
            # First in, first out: a small job does not overtake a larger one.
            queued = JobState.QUEUED
            assert await _states(jobs) == [JobState.EXECUTING, queued, queued, queued, queued]
            gate.send()
            assert {await news.line(), await news.line()} == {"other", "one"}
            gate.send(2)
            assert await news.line() == "huge"
            assert await _states([huge, last]) == [JobState.EXECUTING, JobState.QUEUED]
            gate.send()
            assert await news.line() == "last"
            gate.send()


async def test_a_failed_attempt_goes_to_the_end_of_the_queue(tmp_path: Path) -> None:
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with aiomig.local(tmp_path / "home", slots=1) as mig:
            bad = await mig.submit([news.write("bad"), gate.wait, "exit 1"], retries=2)
            good = await mig.submit(news.write("good"))
            gate.send(3)
            assert [await news.line() for _ in range(4)] == ["bad", "good", "bad", "bad"]
            status = await bad.wait()
            assert (await good).ok
    assert status.state is JobState.FAILED
    assert [attempt.reason for attempt in status.attempts] == ["RESOURCE DIED"] * 3


@pytest.mark.parametrize(("default", "asked", "attempts"), [(0, None, 1), (2, None, 3), (2, 0, 1), (0, 1, 2)])
async def test_retries(tmp_path: Path, default: int, asked: int | None, attempts: int) -> None:
    async with aiomig.local(tmp_path / "home", default_retries=default) as mig:
        job = await mig.submit("exit 1", retries=asked)
        assert len((await job.wait()).attempts) == attempts


async def test_a_job_that_goes_well_at_the_second_attempt(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home", default_retries=1) as mig:
        mark = tmp_path / "mark"
        job = await mig.submit(f"[ -e {mark} ] || {{ touch {mark}; exit 1; }}; echo second")
        result = await job
    assert result.stdout == "second\n"
    assert len(result.status.attempts) == 1


async def test_what_waits_for_too_long_expires(tmp_path: Path) -> None:
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with aiomig.local(tmp_path / "home", slots=1, expire_after=0.2) as mig:
            running = await mig.submit([news.write("up"), gate.wait])
            waiting = await mig.submit("true")
            await news.line()
            status = await waiting.wait()
            assert status.state is JobState.EXPIRED
            with pytest.raises(aiomig.JobExpired):
                await waiting
            gate.send()
            assert (await running.wait()).state is JobState.FINISHED


async def test_leaving_normally_waits_but_not_for_frozen_jobs(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "gate") as (gate,):
        async with aiomig.local(home, slots=1) as mig:
            jobs = [await mig.submit(gate.wait) for _ in range(3)]
            await jobs[2].freeze()
            gate.send(2)
        async with aiomig.local(home) as mig:
            jobs = [mig.job(job.id) for job in jobs]
            assert await _states(jobs) == [JobState.FINISHED, JobState.FINISHED, JobState.FROZEN]
            await jobs[2].thaw()
            gate.send()
            assert (await jobs[2]).ok


async def test_leaving_with_cancel(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with aiomig.local(home, slots=1, on_exit="cancel") as mig:
            jobs = [await mig.submit([news.write("$$"), gate.wait]) for _ in range(3)]
            await jobs[2].freeze()
            await news.line()
    async with aiomig.local(home) as mig:
        assert await _states([mig.job(job.id) for job in jobs]) == [JobState.CANCELED] * 3
    assert _runs(home) == []


async def test_leaving_by_cancellation_cancels_and_keeps_what_was_adopted(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with aiomig.local(home, slots=2, on_exit="leave") as mig:
            left = await mig.submit([news.write("up"), gate.wait, "echo left"])
            await news.line()
        with anyio.CancelScope() as scope:
            async with aiomig.local(home, slots=2) as mig:
                own = await mig.submit([news.write("up"), gate.wait])
                await news.line()
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        async with aiomig.local(home, slots=2) as mig:
            assert await _states([mig.job(left.id), mig.job(own.id)]) == [JobState.EXECUTING, JobState.CANCELED]
            gate.send()
            assert await mig.job(left.id).stdout() == "left\n"


async def test_an_error_of_the_block_comes_out_as_it_is(tmp_path: Path) -> None:
    error = ZeroDivisionError("mine")
    with pytest.raises(ZeroDivisionError) as caught:
        async with aiomig.local(tmp_path / "home") as mig:
            await mig.submit("true")
            raise error
    assert caught.value is error


async def test_two_sessions_of_one_program_on_one_home(tmp_path: Path) -> None:
    home, log = tmp_path / "home", tmp_path / "log"
    async with aiomig.local(home, slots=2) as one, aiomig.local(home, slots=2) as two:
        jobs = []
        for number in range(20):
            jobs.append(await one.submit(f"echo one {number} >> {log}"))
            jobs.append(await two.submit(f"echo two {number} >> {log}"))
        for job in jobs:
            assert (await job).ok
        seen = await two.job(jobs[0].id).status()
        assert seen.state is JobState.FINISHED
    lines = log.read_text().splitlines()
    assert len(lines) == len(set(lines)) == 40
    assert _runs(home) == []


async def test_sessions_that_follow_each_other_within_a_second_have_runs_of_different_names(tmp_path: Path) -> None:
    home = tmp_path / "home"
    names = set()
    for _ in range(3):
        async with aiomig.local(home) as mig:
            names.add((await (await mig.submit("echo $MIG_LOCALJOBNAME"))).stdout)
    assert len(names) == 3


async def test_descriptors_are_given_back(tmp_path: Path) -> None:
    async def turn(count: int) -> None:
        async with aiomig.local(tmp_path / "home", slots=4) as mig:
            jobs = [await mig.submit("exit 1" if number % 3 else "true") for number in range(count)]
            held = await mig.submit("sleep 1000")
            await mig.wait(jobs)
            await held.cancel()

    await turn(4)
    before = len(os.listdir("/proc/self/fd"))
    await turn(30)
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_job_for_whose_process_no_descriptor_is_left_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(number: int, flags: int = 0) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async with aiomig.local(tmp_path / "home") as mig:
        monkeypatch.setattr(os, "pidfd_open", refuse)
        job = await mig.submit("echo ran")
        assert (await job).stdout == "ran\n"
        monkeypatch.undo()
        assert (await (await mig.submit("echo next"))).stdout == "next\n"


async def test_only_frozen_jobs_and_those_that_wait_or_run_are_unfinished(tmp_path: Path) -> None:
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with aiomig.local(tmp_path / "home", slots=1) as mig:
            running = await mig.submit([news.write("up"), gate.wait])
            waiting, frozen, canceled = [await mig.submit("true") for _ in range(3)]
            await news.line()
            await frozen.freeze()
            await canceled.cancel()
            gate.send()
            await mig.wait([running, waiting])
            assert set(running.backend.own_jobs()) == {frozen.id}
            await frozen.cancel()
            assert list(running.backend.own_jobs()) == []


async def test_a_session_that_is_cancelled_twice_leaves_nothing(tmp_path: Path, anyio_backend: str) -> None:
    if anyio_backend == "trio":
        pytest.skip("trio has no Task.cancel")

    async def block(opened: asyncio.Event) -> None:
        async with aiomig.local(tmp_path / "home") as mig:
            await mig.submit("sleep 1000")
            opened.set()
            await asyncio.sleep(1000)

    async def turn() -> int:
        opened = asyncio.Event()
        task = asyncio.create_task(block(opened))
        await opened.wait()
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return len(os.listdir("/proc/self/fd"))

    before = await turn()
    assert await turn() == before
    async with aiomig.local(tmp_path / "home") as mig:
        assert set(await _states(await mig.jobs())) == {JobState.CANCELED}
    assert _runs(tmp_path / "home") == []
