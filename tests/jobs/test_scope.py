"""Scopes: jobs that end with their block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aiomig
from aiomig import JobState
from aiomig.testing import FakeGrid
from tests.clocks import anyio_backend
from tests.virtual import REAL_TIME, left_in, session_on, tasks, world

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["anyio_backend"]


def states(grid: FakeGrid) -> list[str]:
    return [job.state for job in grid.jobs]


async def test_a_normal_exit_waits() -> None:
    async with world() as (grid, session):
        grid.script(lambda job: job.finish(after=100))
        began = anyio.current_time()
        async with session.scope() as jobs:
            one = await jobs.submit("true")
            two = await session.submit("true")
            three = await aiomig.submit("true")
            four, five = await session.submit_many(["true", "true"])
            assert list(jobs) == [one, two, three, four, five]
            assert len(jobs) == 5
        assert anyio.current_time() - began >= 100
        assert states(grid) == ["FINISHED"] * 5
        assert grid.count("jobaction") == 0
        assert left_in(session) == 0


async def test_a_failed_job_is_no_error_of_the_scope() -> None:
    async with world() as (grid, session):
        grid.script(lambda job: job.fail(after=5))
        async with session.scope() as jobs:
            job = await jobs.submit("true")
        assert (await job.wait()).state is JobState.FAILED


async def test_an_error_cancels_and_comes_out_as_it_is() -> None:
    async with world() as (grid, session):
        error = ValueError("mine")
        with pytest.raises(ValueError, match="mine") as caught:
            async with session.scope() as jobs:
                ended = await jobs.submit("true")
                grid.job(ended.id).finish()
                await jobs.submit("true")
                raise error
        assert caught.value is error
        assert states(grid) == ["FINISHED", "CANCELED"]
        assert grid.count("jobaction") == 1


@pytest.mark.parametrize("where", ["body", "exit"])
async def test_cancellation_cancels_on_the_grid_too(where: str) -> None:
    async with world() as (grid, session):
        before = tasks()
        with anyio.move_on_after(20) as scope:
            async with session.scope() as jobs:
                await jobs.submit("true")
                await session.submit_many(["true"] * 3)
                if where == "body":
                    await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert states(grid) == ["CANCELED"] * 4
        assert (tasks(), left_in(session)) == (before, 0)


async def test_cancelling_is_shielded_and_bounded(caplog: pytest.LogCaptureFixture) -> None:
    async with world() as (grid, session):
        await session.submit("true")
        with anyio.CancelScope() as scope:
            async with session.scope() as jobs:
                await jobs.submit("true")
                grid.faults.add("jobaction", "slow", seconds=10)
                scope.cancel()
                await anyio.sleep_forever()
        assert states(grid) == ["QUEUED", "CANCELED"]
        began = anyio.current_time()
        with anyio.CancelScope() as scope:
            async with session.scope() as jobs:
                job = await jobs.submit("true")
                grid.faults.add("jobaction", "slow", seconds=50)
                scope.cancel()
                await anyio.sleep_forever()
        assert anyio.current_time() - began == pytest.approx(30)
        assert scope.cancelled_caught
        assert job.id in caplog.text


async def test_a_grid_that_cannot_be_reached_does_not_hide_the_error(caplog: pytest.LogCaptureFixture) -> None:
    async with world() as (grid, session):
        with pytest.raises(ZeroDivisionError):
            async with session.scope() as jobs:
                await jobs.submit("true")
                grid.faults.add("jobaction", "error", times=None)
                raise ZeroDivisionError
        assert "could not be canceled" in caplog.text
        grid.faults.clear()


async def test_jobs_that_cannot_be_canceled_are_reported(tmp_path: Path) -> None:
    async with FakeGrid() as grid:
        grid.hold()
        async with grid.session(journal=tmp_path / "journal") as session:
            with pytest.raises(ZeroDivisionError):
                async with session.scope() as jobs:
                    job = await jobs.submit("true")
                    grid.faults.add("jobaction", "error", times=None)
                    raise ZeroDivisionError
            async with session.sweep(lambda n: f"echo {n}", [1, 2]) as sweep:
                with anyio.move_on_after(5):
                    await anext(sweep)
            grid.faults.clear()
            alive = {job.id for job in grid.jobs if not job.is_final}
            assert len(alive) == 3
            assert job.id in alive
            assert {job_id for lost in await session.unconfirmed() for job_id in lost.job_ids} == alive
        async with grid.session(journal=tmp_path / "journal") as later:
            lost = await later.unconfirmed()
            assert {job_id for each in lost for job_id in each.job_ids} == alive
            await later.cancel(sorted(alive))
            later.confirm(*lost)
            assert await later.unconfirmed() == []


@pytest.mark.parametrize("by_error", [True, False])
async def test_what_is_detached_lives_on(by_error: bool) -> None:
    async with world() as (grid, session):
        began = anyio.current_time()
        try:
            async with session.scope() as jobs:
                free = await jobs.submit("true")
                bound = await jobs.submit("true")
                jobs.detach(free)
                jobs.detach(free)
                grid.job(bound.id).finish(after=30)
                if by_error:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert states(grid) == (["PARSE", "CANCELED"] if by_error else ["QUEUED", "FINISHED"])
        assert by_error or anyio.current_time() - began < 40


async def test_nested_scopes() -> None:
    async with world() as (grid, session):
        async with session.scope() as outer:
            first = await session.submit("true")
            with pytest.raises(ZeroDivisionError):
                async with session.scope() as inner:
                    second = await session.submit("true")
                    third = await outer.submit("true")
                    raise ZeroDivisionError
            fourth = await session.submit("true")
            assert list(inner) == [second]
            assert list(outer) == [first, third, fourth]
            assert states(grid) == ["PARSE", "CANCELED", "PARSE", "PARSE"]
            for job in outer:
                grid.job(job.id).finish(after=1)
        assert states(grid) == ["FINISHED", "CANCELED", "FINISHED", "FINISHED"]


async def test_an_error_through_nested_scopes_cancels_all() -> None:
    async with world() as (grid, session):
        with pytest.raises(ZeroDivisionError):
            async with session.scope(), session.scope() as inner:
                await inner.submit("true")
                raise ZeroDivisionError
        assert states(grid) == ["CANCELED"]


async def test_child_tasks_submit_into_the_scope_around_them() -> None:
    async def child(session: aiomig.Session) -> None:
        await session.submit("true")

    async with world() as (grid, session):
        with pytest.raises(ExceptionGroup):
            async with session.scope() as jobs, anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(child, session)
                await anyio.sleep(1)
                assert len(jobs) == 5
                raise ZeroDivisionError
        assert states(grid) == ["CANCELED"] * 5


async def test_what_a_task_submits_while_the_scope_waits_is_waited_for() -> None:
    async def late(session: aiomig.Session) -> None:
        await anyio.sleep(50)
        await session.submit("true")

    async with world() as (grid, session), anyio.create_task_group() as group:
        grid.script(lambda job: job.finish(after=100))
        async with session.scope() as jobs:
            await jobs.submit("true")
            group.start_soon(late, session)
        assert states(grid) == ["FINISHED", "FINISHED"]


async def test_a_task_that_outlives_the_scope_submits_outside() -> None:
    async def later(session: aiomig.Session) -> None:
        await anyio.sleep(50)
        await session.submit("true")

    async with world() as (grid, session), anyio.create_task_group() as group:
        async with session.scope() as jobs:
            group.start_soon(later, session)
        await anyio.sleep(100)
        assert states(grid) == ["QUEUED"]
        assert len(jobs) == 0


async def test_a_scope_that_is_not_open_takes_nothing() -> None:
    async with world() as (grid, session):
        scope = session.scope()
        with pytest.raises(aiomig.MigError, match="not open"):
            await scope.submit("true")
        async with scope:
            pass
        with pytest.raises(aiomig.MigError, match="not open"):
            await scope.submit("true")
        assert grid.jobs == []


async def test_jobs_of_other_sessions_stay_theirs() -> None:
    async with world() as (grid, session), session_on(grid) as other:
        with pytest.raises(ZeroDivisionError):
            async with session.scope() as jobs:
                foreign = await other.submit("true")
                await session.submit("true")
                with pytest.raises(aiomig.MigError, match="another session"):
                    jobs.add(foreign)
                raise ZeroDivisionError
        assert states(grid)[1] == "CANCELED"
        assert not grid.job(foreign.id).is_final


async def test_a_job_that_is_added_belongs() -> None:
    async with world() as (grid, session):
        job = await session.submit("true")
        with pytest.raises(ZeroDivisionError):
            async with session.scope() as jobs:
                jobs.add(session.job(job.id))
                raise ZeroDivisionError
        assert states(grid) == ["CANCELED"]


async def test_a_sweep_and_a_retry_in_a_scope_end_with_it() -> None:
    async with world() as (grid, session):
        grid.script(lambda job: job.finish(after=10 if job.commands[0] == "echo 0" else 1000))
        with pytest.raises(ZeroDivisionError):
            async with session.scope() as jobs:
                async for job in session.sweep(lambda n: f"echo {n}", range(100), in_flight=3):
                    again = await job.resubmit()
                    assert again in list(jobs)
                    raise ZeroDivisionError
        assert set(states(grid)) <= {"CANCELED", "FINISHED"}


# -- local mode


@REAL_TIME
async def test_local_scopes(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home", slots=2, on_exit="cancel") as session:
        async with session.scope() as jobs:
            done = await jobs.submit("echo done")
        assert (await done.status()).state is JobState.FINISHED
        with pytest.raises(ZeroDivisionError):
            async with session.scope() as jobs:
                running = await jobs.submit("sleep 1000")
                free = await session.submit("sleep 1000")
                async for status in running:
                    if status.state is JobState.EXECUTING:
                        break
                jobs.detach(free)
                raise ZeroDivisionError
        assert (await running.status()).state is JobState.CANCELED
        assert not (await free.status()).state.is_final
        with anyio.CancelScope() as scope:
            async with session.scope() as jobs:
                cut = await jobs.submit("sleep 1000")
                scope.cancel()
        assert scope.cancelled_caught
        assert (await cut.status()).state is JobState.CANCELED
        found: dict[str, Any] = await session.statuses(await session.jobs())
        assert len(found) == 4
