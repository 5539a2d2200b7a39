"""Many jobs at once: few requests, one outcome each, no job submitted twice or lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aiomig
from aiomig import Job, JobSpec, SubmitErrors, SubmitRejected, SubmitUnknown
from tests.clocks import anyio_backend
from tests.virtual import REAL_TIME, tasks, world

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["anyio_backend"]

REFUSED = JobSpec("true", runtime_environments=["NOWHERE-1"])


def names(grid: Any) -> list[str]:
    return [job.description.text("JOBNAME") for job in grid.jobs]


async def test_a_thousand_jobs_are_twenty_requests() -> None:
    async with world() as (grid, session):
        jobs = await session.submit_many(JobSpec("true", name=f"j{n}") for n in range(1000))
        assert grid.counts == {"jobman": 1, "textarea": 20, "rm": 1}
        assert names(grid) == [f"j{n}" for n in range(1000)]
        assert [job.id for job in jobs] == [job.id for job in grid.jobs]
        assert [job.spec.name for job in jobs if job.spec] == names(grid)


async def test_a_thousand_jobs_with_a_shared_file_and_files_of_their_own(tmp_path: Path) -> None:
    shared = tmp_path / "shared.csv"
    shared.write_bytes(b"x" * 1000)
    specs = [JobSpec("true", inputs=[shared, (b"%d" % n, "own")] if n % 5 == 0 else [shared]) for n in range(1000)]
    async with world() as (grid, session):
        jobs = await session.submit_many(specs)
        assert len({job.id for job in jobs}) == 1000
        # For the shared file: a check, the folder, the bytes, the name. For each other file the last three.
        assert grid.counts == {
            "jobman": 1,
            "statpath": 1,
            "mkdir": 201,
            "uploadchunked": 201,
            "mv": 201,
            "textarea": 20,
            "rm": 1,
        }


async def test_own_files_go_side_by_side_within_a_limit() -> None:
    specs = [JobSpec("true", inputs=[(b"%d" % n, "own")]) for n in range(64)]
    async with world() as (grid, session):
        await session.submit_many(["true"])
        grid.faults.add("uploadchunked", "slow", seconds=1, times=None)
        began = anyio.current_time()
        await session.submit_many(specs)
        assert anyio.current_time() - began == pytest.approx(64 / 8)


async def test_partial_failure_keeps_the_jobs_that_were_made() -> None:
    specs = [REFUSED if n % 10 == 3 else JobSpec("true", name=f"j{n}") for n in range(100)]
    async with world() as (grid, session):
        with pytest.raises(SubmitErrors) as caught:
            await session.submit_many(specs)
        error = caught.value
        assert len(error.outcomes) == 100
        assert sorted(error.errors) == list(range(3, 100, 10))
        assert all(isinstance(each, SubmitRejected) for each in error.errors.values())
        assert "NOWHERE-1" in str(error.errors[3])
        assert [job.id for job in error.jobs] == [job.id for job in grid.jobs]
        for spec, outcome in zip(specs, error.outcomes, strict=True):
            assert isinstance(outcome, Job) is (spec is not REFUSED)
            if isinstance(outcome, Job):
                assert outcome.spec is spec
        assert "10 of 100 jobs could not be submitted, 90 were" in str(error)


async def test_a_wrong_description_stops_all_before_anything_is_sent() -> None:
    async with world() as (grid, session):
        with pytest.raises(SubmitErrors) as caught:
            await session.submit_many(["true", "", ["a", "b"]])
        assert len(caught.value.errors) == 3
        assert isinstance(caught.value.errors[1], aiomig.SpecError)
        assert caught.value.jobs == []
        assert grid.counts == {}


async def test_nothing_is_nothing() -> None:
    async with world() as (grid, session):
        assert await session.submit_many([]) == []
        assert await session.statuses([]) == {}
        assert await session.cancel([]) == {}
        assert await session.wait([]) == ([], [])
        assert grid.counts == {}


@pytest.mark.parametrize("kind", ["drop", "truncate", "html", "error"])
async def test_a_lost_answer_is_made_good_by_markers(kind: Any) -> None:
    async with world() as (grid, session):
        grid.faults.add("textarea", kind, skip=1, when="after")
        jobs = await session.submit_many(JobSpec("true", name=f"j{n}") for n in range(120))
        assert names(grid) == [f"j{n}" for n in range(120)]
        assert [job.id for job in jobs] == [job.id for job in grid.jobs]
        assert grid.count("textarea") == 3


async def test_a_request_that_was_lost_on_its_way_doubles_nothing() -> None:
    async with world() as (grid, session):
        grid.faults.add("textarea", "drop", when="before", skip=1)
        with pytest.raises(SubmitErrors) as caught:
            await session.submit_many(JobSpec("true", name=f"j{n}") for n in range(120))
        assert sorted(caught.value.errors) == list(range(50, 100))
        assert all(isinstance(each, SubmitUnknown) for each in caught.value.errors.values())
        assert names(grid) == [f"j{n}" for n in [*range(50), *range(100, 120)]]
        unknown = caught.value.errors[50]
        assert isinstance(unknown, SubmitUnknown)
        assert await session.find_submitted(unknown.marker) == []


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.5, 2.5, 5.5])
async def test_cancelled_in_the_middle_nothing_runs(seconds: float) -> None:
    async with world() as (grid, session):
        await session.submit_many(["true"])
        before, count = tasks(), len(grid.jobs)
        grid.faults.add("textarea", "slow", seconds=1, times=None)
        with anyio.move_on_after(seconds) as scope:
            await session.submit_many(["true"] * 300)
        assert scope.cancelled_caught
        await anyio.sleep(20)
        assert tasks() == before
        assert {job.state for job in grid.jobs[count:]} <= {"CANCELED"}
        assert len(grid.jobs) - count <= 50 * (int(seconds) + 1)


async def test_bulk_from_many_tasks_at_once() -> None:
    made: list[Job] = []

    async def some(session: aiomig.Session, first: int) -> None:
        made.extend(await session.submit_many(JobSpec("true", name=f"j{first + n}") for n in range(30)))

    async with world() as (grid, session):
        async with anyio.create_task_group() as group:
            for first in range(0, 300, 30):
                group.start_soon(some, session, first)
        assert sorted(names(grid)) == sorted(f"j{n}" for n in range(300))
        there = {job.description.text("JOBNAME"): job.id for job in grid.jobs}
        assert {job.spec.name: job.id for job in made if job.spec} == there
        assert grid.count("jobman") == 1


# -- local mode


@REAL_TIME
async def test_local_bulk_has_one_outcome_each(tmp_path: Path) -> None:
    specs = [REFUSED if n % 10 == 3 else JobSpec(f"echo {n}") for n in range(20)]
    async with aiomig.local(tmp_path / "home", slots=2) as session:
        with pytest.raises(SubmitErrors) as caught:
            await session.submit_many(specs)
        assert sorted(caught.value.errors) == [3, 13]
        for number, outcome in enumerate(caught.value.outcomes):
            if isinstance(outcome, Job):
                assert (await outcome).stdout == f"{number}\n"


@REAL_TIME
async def test_local_bulk_of_a_thousand_cancel_and_status(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home", slots=1) as session:
        (first, *jobs) = await session.submit_many(["sleep 1000"] * 1000)
        assert len(await session.statuses(jobs)) == 999
        outcomes = await session.cancel([first, *jobs, "nothing"])
        assert [each.changed for each in outcomes.values()] == [*[True] * 1000, False]
        assert outcomes["nothing"].before is None
        done, pending = await session.wait([first, *jobs])
        assert (len(done), pending) == (1000, [])


@REAL_TIME
async def test_local_cancelled_in_the_middle_nothing_runs(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home", slots=1) as session:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(session.submit_many, ["sleep 1000"] * 1000)
                while not await session.jobs(newest=1):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
        jobs = await session.jobs()
        assert 0 < len(jobs) < 1000
        done, pending = await session.wait(jobs)
        assert pending == []
        assert {status.state for status in (await session.statuses(done)).values()} == {"CANCELED"}
