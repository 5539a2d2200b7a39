"""The exact requests of the poller, and their times, in virtual time."""

from __future__ import annotations

import itertools
import math
from typing import Any

import anyio
import pytest

import aiomig
from aiomig import JobState
from tests.clocks import anyio_backend
from tests.virtual import asked, left_in, seeded, session_on, world

__all__ = ["anyio_backend"]

BEGIN = 0.05  # the default of Polling.gather
MINUTES = 60.0


def times(until: float, jobs: int = 1, polling: aiomig.Polling | None = None, changed: float = BEGIN) -> list[float]:
    """Return poll times by the rule of `Polling`, for jobs watched from 0 on that last change at ``changed``."""
    rule = polling or aiomig.Polling(jitter=0.0)
    least = math.ceil(jobs / rule.jobs_a_request) * 60 / rule.requests_a_minute
    found: list[float] = []
    now = since = BEGIN
    while now < until:
        found.append(now)
        if now >= changed > since:
            since = now
        now += max(min(max(rule.floor, rule.share * (now - since)), rule.ceiling), least)
    return found


def approximately(values: list[float]) -> Any:
    return pytest.approx(values, abs=1e-6)


async def wait_for(jobs: list[aiomig.Job], seconds: float) -> None:
    """Wait for each job in a task of its own, for so many seconds."""
    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as group:
            for job in jobs:
                group.start_soon(job.wait)


async def settled(session: aiomig.Session, *specs: str) -> list[aiomig.Job]:
    """Jobs that are in the queue."""
    jobs = await session.submit_many(specs)
    await anyio.sleep(1)
    return jobs


async def test_a_thousand_waiters_cost_what_the_rule_says() -> None:
    async with world() as (grid, session):
        jobs = await settled(session, *["true"] * 1000)
        start = anyio.current_time()
        grid.requests.clear()
        await wait_for(jobs, 10 * MINUTES)
        expected = times(10 * MINUTES, jobs=1000)
        assert grid.counts == {"jobstatus": len(expected)}
        assert [at - start for at, _ in asked(grid)] == approximately(expected)
        assert {count for _, count in asked(grid)} == {1000}


async def test_one_waiter_costs_what_the_rule_says() -> None:
    async with world() as (grid, session):
        jobs = await settled(session, "true")
        start = anyio.current_time()
        await wait_for(jobs, 60 * MINUTES)
        assert [at - start for at, _ in asked(grid)] == approximately(times(60 * MINUTES))


async def test_ten_thousand_jobs_go_in_chunks_within_the_cap() -> None:
    async with world() as (grid, session):
        jobs = [session.job(job_id) for job_id in seeded(grid, 10_000)]
        await anyio.sleep(1)
        start = anyio.current_time()
        grid.requests.clear()
        await wait_for(jobs, 15)
        expected = times(15, jobs=10_000)
        assert expected == approximately([BEGIN + 5 * each for each in range(3)])
        assert [at - start for at, _ in asked(grid)] == approximately([at for at in expected for _ in range(5)])
        for first in range(0, len(grid.requests), 5):
            round_of_all = [each.parameters["job_id"] for each in grid.requests[first : first + 5]]
            assert sorted(job_id for chunk in round_of_all for job_id in chunk) == sorted(job.id for job in jobs)
            assert {len(chunk) for chunk in round_of_all} == {2000}


async def test_nobody_waiting_is_no_request() -> None:
    async with world() as (grid, session):
        jobs = await settled(session, "true", "true")
        grid.requests.clear()
        await anyio.sleep(10 * MINUTES)
        assert grid.counts == {}
        await wait_for(jobs, 100)
        before = len(grid.requests)
        await anyio.sleep(10 * MINUTES)
        assert len(grid.requests) == before
        assert left_in(session) == 0


async def test_a_job_known_to_have_ended_is_not_asked_for() -> None:
    async with world() as (grid, session):
        (job,) = await settled(session, "true")
        grid.job(job.id).finish()
        assert (await job.wait()).state is JobState.FINISHED
        before = len(grid.requests)
        assert (await job.wait()).state is JobState.FINISHED
        assert [status.state async for status in session.watch(job.id)] == [JobState.FINISHED]
        assert [each.id async for each in session.as_completed([job])] == [job.id]
        assert len(grid.requests) == before


async def test_a_change_makes_the_looks_more_frequent() -> None:
    async with world() as (grid, session):
        jobs = await settled(session, "true")
        start = anyio.current_time()
        grid.job(jobs[0].id).executing(after=300)
        await wait_for(jobs, 20 * MINUTES)
        expected = times(20 * MINUTES, changed=300)
        assert [at - start for at, _ in asked(grid)] == approximately(expected)
        seen = next(place for place, at in enumerate(expected) if at >= 300)
        assert expected[seen] - expected[seen - 1] > 20
        assert expected[seen + 1] - expected[seen] == pytest.approx(1)


async def test_those_who_come_together_are_asked_for_together() -> None:
    async with world() as (grid, session):
        jobs = await settled(session, *["true"] * 20)
        async with anyio.create_task_group() as group:
            for job in jobs:
                group.start_soon(job.wait)
                await anyio.sleep(0.01)
            assert [count for _, count in asked(grid)] == [5]  # gathered in 0.05 s; the others wait for the next
            await anyio.sleep(1)
            assert [count for _, count in asked(grid)] == [5, 20]
            group.cancel_scope.cancel()


async def test_the_cap_holds_whatever_the_rule_says() -> None:
    async with world(floor=0.1, ceiling=0.1, requests_a_minute=7) as (grid, session):
        jobs = await settled(session, *["true"] * 50)
        grid.requests.clear()
        with anyio.move_on_after(5 * MINUTES):
            async with anyio.create_task_group() as group:
                for job in jobs:
                    group.start_soon(job.wait)
                    await anyio.sleep(0.7)
        moments = [at for at, _ in asked(grid)]
        assert 7 * 4 <= len(moments) <= 7 * 5
        assert all(late - early >= 60 - 1e-6 for early, late in zip(moments, moments[7:], strict=False))


async def test_slow_answers_stretch_the_pauses() -> None:
    async with world() as (grid, session):
        jobs = await settled(session, "true")
        start = anyio.current_time()
        grid.faults.add("jobstatus", "slow", seconds=2, times=2)
        grid.faults.add("jobstatus", "slow", seconds=20, skip=2, times=1)
        await wait_for(jobs, 100)
        found = [at - start for at, _ in asked(grid)]
        # Four times the duration of the response, but at most the ceiling.
        assert found[:4] == approximately([BEGIN, BEGIN + 10, BEGIN + 20, BEGIN + 70])


async def test_retry_after_stretches_the_pauses() -> None:
    async with world() as (grid, session):
        jobs = await settled(session, "true")
        start = anyio.current_time()
        grid.faults.add("jobstatus", "unavailable", retry_after=120)
        await wait_for(jobs, 300)
        found = [at - start for at, _ in asked(grid)]
        assert found[:3] == approximately([BEGIN, BEGIN + 120, BEGIN + 240])


async def test_a_few_failed_rounds_are_borne() -> None:
    async with world() as (grid, session):
        (job,) = await settled(session, "true")
        grid.requests.clear()
        grid.faults.add("jobstatus", "error", times=4 * 5)  # five tries for each round
        grid.job(job.id).finish(after=3)
        assert (await job.wait()).state is JobState.FINISHED
        assert len(asked(grid)) == 4 * 5 + 1


async def test_too_many_failed_rounds_give_every_waiter_the_same_error_and_the_session_lives_on() -> None:
    errors: list[aiomig.GridError] = []

    async def fail(job: aiomig.Job) -> None:
        with pytest.raises(aiomig.GridError) as caught:
            await job.wait()
        errors.append(caught.value)

    async with world(failures=3) as (grid, session):
        jobs = await settled(session, *["true"] * 100)
        grid.requests.clear()
        grid.faults.add("jobstatus", "error", times=None)
        async with anyio.create_task_group() as group:
            for job in jobs:
                group.start_soon(fail, job)
        assert len(errors) == 100
        assert len({id(error) for error in errors}) == 1
        assert len(asked(grid)) == 3 * 5
        assert left_in(session) == 0
        grid.faults.clear()
        for job in jobs:
            grid.job(job.id).finish(after=1)
        done, pending = await session.wait(jobs)
        assert (len(done), pending) == (100, [])
        assert {(await job.result()).ok for job in jobs[:3]} == {True}


async def test_failed_rounds_are_followed_by_growing_pauses_also_for_those_who_come_then() -> None:
    async with world(failures=6) as (grid, session):
        jobs = await settled(session, *["true"] * 200)
        grid.requests.clear()
        grid.faults.add("jobstatus", "error", times=None)
        with anyio.move_on_after(60):
            async with anyio.create_task_group() as group:
                for job in jobs:
                    group.start_soon(job.wait)
                    await anyio.sleep(0.25)
        moments = [at for at, _ in asked(grid)]
        rounds = moments[::5]
        pauses = [after - before for before, after in zip(moments[4::5], rounds[1:], strict=False)]
        assert pauses == approximately([2.0, 4.0, 8.0, 16.0][: len(pauses)])
        assert len(pauses) >= 3


async def test_a_job_missing_from_an_answer_is_not_gone() -> None:
    async with world() as (grid, session):
        own, other = await settled(session, "true", "true")
        async with session_on(grid) as second:
            foreign = second.job(other.id)
            watch = second.watch([foreign])
            assert (await anext(watch)).state is JobState.QUEUED
            hidden = [grid.job(job.id) for job in (own, other)]
            for gone in hidden:
                gone.forget()
            with anyio.move_on_after(100) as waited:
                async with anyio.create_task_group() as group:
                    group.start_soon(own.wait)
                    group.start_soon(anext, watch)
            assert waited.cancelled_caught
            for gone in hidden:
                gone.remember()
            grid.job(own.id).finish()
            grid.job(other.id).finish()
            assert (await own.wait()).state is JobState.FINISHED
            assert (await anext(watch)).state is JobState.FINISHED


async def test_a_job_that_never_was_is_not_found() -> None:
    async with world() as (_, session):
        with pytest.raises(aiomig.JobNotFound) as caught:
            await session.job("1_1_1_2026__1_1_1_localhost.0").wait()
        assert caught.value.job_id == "1_1_1_2026__1_1_1_localhost.0"
        assert left_in(session) == 0


async def test_not_found_is_told_though_the_others_end_with_the_same_answer() -> None:
    async with world() as (grid, session):
        (job,) = await settled(session, "true")
        grid.job(job.id).finish()
        seen: list[str] = []
        watch = session.watch([job, session.job("1_1_1_2026__1_1_1_localhost.0")])
        seen.append((await anext(watch)).job_id)
        with pytest.raises(aiomig.JobNotFound):
            await anext(watch)
        with pytest.raises(StopAsyncIteration):
            await anext(watch)
        assert seen == [job.id]


async def test_states_that_go_back_are_passed_on() -> None:
    async with world() as (grid, session):
        (job,) = await settled(session, "true")
        grid.job(job.id).executing(after=10).requeue("RESOURCE DIED", after=20).executing(after=30).finish(after=40)
        seen = [status async for status in job]
        assert [status.state for status in seen] == ["QUEUED", "EXECUTING", "QUEUED", "EXECUTING", "FINISHED"]
        assert [len(status.attempts) for status in seen] == [0, 0, 1, 1, 1]


async def test_a_word_that_nobody_knows_ends_nothing() -> None:
    async with world() as (grid, session):
        (job,) = await settled(session, "true")
        grid.job(job.id).says("PONDERING", after=5).says(None, after=15).finish(after=25)
        seen = [(status.state, status.native) async for status in job]
        assert seen == [("QUEUED", "QUEUED"), ("UNKNOWN", "PONDERING"), ("QUEUED", "QUEUED"), ("FINISHED", "FINISHED")]


async def test_an_answer_from_before_the_end_undoes_no_end() -> None:
    async with world() as (grid, session):
        (job,) = await settled(session, "true")
        watch = session.watch(job)
        assert (await anext(watch)).state is JobState.QUEUED
        grid.job(job.id).executing()
        grid.faults.add("jobstatus", "slow", seconds=10, when="after")
        async with anyio.create_task_group() as group:
            group.start_soon(session.cancel, job)
            await anyio.sleep(5)
        # The round that began meanwhile reports EXECUTING, or nothing new. The final state must stay.
        await anyio.sleep(30)
        assert (await anext(watch)).state is JobState.CANCELED
        with pytest.raises(StopAsyncIteration):
            await anext(watch)


async def test_who_comes_back_gets_the_present_status_again() -> None:
    async with world() as (grid, session):
        (job,) = await settled(session, "true")
        for _ in range(3):
            async with session.watch(job) as watch:
                assert (await anext(watch)).state is JobState.QUEUED
            await anyio.sleep(200)
        grid.job(job.id).executing()
        async with session.watch(job) as watch:
            assert (await anext(watch)).state is JobState.EXECUTING


async def test_jitter_stays_within_its_share() -> None:
    async with world(jitter=0.5, floor=0.1, ceiling=1.0, share=100.0, requests_a_minute=1000) as (grid, session):
        jobs = await settled(session, "true")
        await wait_for(jobs, 200)
        moments = [at for at, _ in asked(grid)]
        pauses = [after - before for before, after in itertools.pairwise(moments[1:])]
        assert all(0.5 - 1e-6 <= pause <= 1.5 + 1e-6 for pause in pauses)
        assert max(pauses) - min(pauses) > 0.5


async def test_what_was_changed_here_is_known_at_once() -> None:
    async with world() as (grid, session):
        (job,) = await settled(session, "true")
        watch = session.watch(job)
        assert (await anext(watch)).state is JobState.QUEUED
        await anyio.sleep(100)
        at = anyio.current_time()
        await job.freeze()
        assert (await anext(watch)).state is JobState.FROZEN
        await job.thaw()
        assert (await anext(watch)).state is JobState.QUEUED
        await job.cancel()
        assert (await anext(watch)).state is JobState.CANCELED
        assert anyio.current_time() == at
        assert grid.count("jobaction") == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("floor", 0),
        ("floor", -1),
        ("floor", "1"),
        ("floor", math.nan),
        ("ceiling", math.inf),
        ("floor", 31.0),
        ("share", 0),
        ("jitter", 1.0),
        ("jitter", -0.1),
        ("gather", -1),
        ("jobs_a_request", 0),
        ("jobs_a_request", 2.5),
        ("requests_a_minute", True),
        ("failures", 0),
    ],
)
def test_what_polling_cannot_be(field: str, value: Any) -> None:
    with pytest.raises(aiomig.SpecError) as caught:
        aiomig.Polling(**{field: value})
    (fault,) = caught.value.faults
    assert fault.field == field
    assert fault.value is value
    assert fault.remedy


async def test_a_server_that_breaks_is_asked_for_fewer_jobs_at_once_until_it_recovers() -> None:
    async with world(jobs_a_request=200, failures=10, ceiling=120) as (grid, session):
        jobs = await settled(session, *["true"] * 200)
        grid.requests.clear()
        grid.faults.add("jobstatus", "error", times=2 * 5)
        await wait_for(jobs, 5 * MINUTES)
        sizes = [count for _, count in asked(grid)]
        assert sizes[: 2 * 5] == [200] * 5 + [100] * 5
        assert set(sizes[2 * 5 :]) == {100}
        await wait_for(jobs, 10 * MINUTES)
        assert asked(grid)[-1][1] == 200
