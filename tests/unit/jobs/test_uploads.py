"""Inputs of many jobs: shared ones are uploaded once, others for each job, and failed uploads are removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

import aiomig
from aiomig import JobSpec, SubmitErrors
from aiomig._jobs.uploads import SHARED_FOLDER
from aiomig._spec.plan import PRIVATE_FOLDER
from tests.clocks import anyio_backend
from tests.virtual import REAL_TIME, session_on, world

if TYPE_CHECKING:
    from pathlib import Path

    from aiomig.testing import FakeGrid

__all__ = ["anyio_backend"]


def folders(home: Path) -> list[str]:
    """Return the files in the private folder of the home."""
    return sorted(path.name for path in (home / PRIVATE_FOLDER).glob("*"))


def carried(grid: FakeGrid) -> int:
    """Return the number of uploaded files."""
    return grid.count("uploadchunked")


async def test_what_jobs_share_is_carried_once(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_bytes(b"1,2\n" * 100)
    specs = [JobSpec("wc *", inputs=[data, (b"shared bytes", "b"), (b"%d" % n, "own")]) for n in range(20)]
    async with world() as (grid, session):
        jobs = await session.submit_many(specs)
        assert carried(grid) == 2 + 20
        shared = sorted(path.read_bytes() for path in (grid.home / SHARED_FOLDER).rglob("*") if path.is_file())
        assert shared == sorted([b"1,2\n" * 100, b"shared bytes"])
        for number, job in enumerate(jobs):
            lines = grid.job(job.id).description.transfers("INPUTFILES")
            contents = {each.destination: (grid.home / each.source).read_bytes() for each in lines}
            assert contents == {"data.csv": b"1,2\n" * 100, "b": b"shared bytes", "own": b"%d" % number}


async def test_what_was_shared_before_is_not_carried_again(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_bytes(b"1,2\n")
    async with world() as (grid, session):
        await session.submit_many([JobSpec("true", inputs=[data])] * 3)
        assert carried(grid) == 1
        await session.submit_many([JobSpec("true", inputs=[data])] * 3)
        await session.submit_many([JobSpec("true", inputs=[data])])  # a single job, as in a sweep
        assert carried(grid) == 1
        async with session_on(grid) as another:
            await another.submit_many([JobSpec("true", inputs=[data])] * 3)
        assert carried(grid) == 1
        data.write_bytes(b"3,4\n5,6\n")
        jobs = await session.submit_many([JobSpec("true", inputs=[data])] * 3)
        assert carried(grid) == 2
        (line,) = grid.job(jobs[0].id).description.transfers("INPUTFILES")
        assert (grid.home / line.source).read_bytes() == b"3,4\n5,6\n"


async def test_a_shared_file_of_another_length_is_carried_anew(tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_bytes(b"whole content")
    async with world() as (grid, session):
        await session.submit_many([JobSpec("true", inputs=[data])] * 2)
        (place,) = (path for path in (grid.home / SHARED_FOLDER).rglob("*") if path.is_file())
        place.write_bytes(b"half")
        async with session_on(grid) as another:
            await another.submit_many([JobSpec("true", inputs=[data])] * 2)
        assert place.read_bytes() == b"whole content"


async def test_clean_leaves_what_is_shared() -> None:
    async with world() as (grid, session):
        jobs = await session.submit_many([JobSpec("true", inputs=[(b"s", "s"), (b"%d" % n, "own")]) for n in range(2)])
        assert len(folders(grid.home)) == 3
        for job in jobs:
            await job.clean()
        assert folders(grid.home) == ["shared"]


async def test_a_file_that_is_gone_is_the_fault_of_its_own_job(tmp_path: Path) -> None:
    own, shared = tmp_path / "own", tmp_path / "shared"
    own.write_bytes(b"o")
    shared.write_bytes(b"s")
    specs = [
        JobSpec("true", inputs=[own]),
        *[JobSpec("true", inputs=[shared])] * 2,
        JobSpec("true", inputs=[(b"", "a")]),
    ]
    own.unlink()
    shared.unlink()
    async with world() as (grid, session):
        with pytest.raises(SubmitErrors) as caught:
            await session.submit_many(specs)
        assert sorted(caught.value.errors) == [0, 1, 2]
        assert all(isinstance(error, aiomig.FileNotFound) for error in caught.value.errors.values())
        assert [str(own) in str(caught.value.errors[0]), str(shared) in str(caught.value.errors[1])] == [True, True]
        (job,) = caught.value.jobs
        assert job.spec is specs[3]
        assert [each.id for each in grid.jobs] == [job.id]
        assert len(folders(grid.home)) == 1


async def test_a_failed_upload_is_the_fault_of_its_own_job(caplog: pytest.LogCaptureFixture) -> None:
    specs = [JobSpec("true", inputs=[(b"%d" % n, "own")]) for n in range(10)]
    async with world() as (grid, session):
        await session.submit("true")
        grid.faults.add("uploadchunked", "error", times=5)
        with pytest.raises(SubmitErrors) as caught:
            await session.submit_many([specs[0]])
        assert list(caught.value.errors) == [0]
        assert folders(grid.home) == []
        assert len(await session.submit_many(specs)) == 10
        assert len(folders(grid.home)) == 10
    assert "left behind" not in caplog.text


async def test_refused_jobs_leave_no_inputs() -> None:
    good = JobSpec("true", inputs=[(b"good", "own")])
    bad = [JobSpec("true", inputs=[(b"bad %d" % n, "own")], runtime_environments=["NOWHERE-1"]) for n in range(2)]
    async with world() as (grid, session):
        with pytest.raises(SubmitErrors) as caught:
            await session.submit_many([bad[0], good, bad[1]])
        assert sorted(caught.value.errors) == [0, 2]
        (folder,) = folders(grid.home)
        assert (grid.home / PRIVATE_FOLDER / folder).is_dir()


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.5, 2.5, 3.5, 4.5, 6.5, 7.5])
async def test_cancelled_in_the_middle_nothing_is_left(seconds: float) -> None:
    specs = [JobSpec("true", inputs=[(b"shared", "s"), (b"%d" % n, "own")]) for n in range(10)]
    async with world() as (grid, session):
        await session.submit_many([JobSpec("true")])  # tokens have been fetched
        before = len(grid.jobs)
        for operation in ("uploadchunked", "mv", "textarea", "statpath"):
            grid.faults.add(operation, "slow", seconds=1, times=None)
        with anyio.move_on_after(seconds) as scope:
            await session.submit_many(specs)
        grid.faults.clear()
        assert scope.cancelled_caught
        assert {job.state for job in grid.jobs[before:]} <= {"CANCELED"}
        assert set(folders(grid.home)) <= {"shared"}
        assert not list((grid.home / ".upload-cache").glob("aiomig*"))


async def test_a_lost_answer_keeps_the_inputs_of_a_job_that_may_be_there() -> None:
    async with world() as (grid, session):
        await session.submit_many(["true"])
        grid.faults.add("textarea", "drop", when="before")
        with pytest.raises(SubmitErrors) as caught:
            await session.submit_many([JobSpec("true", inputs=[(b"own", "own")])])
        assert isinstance(caught.value.errors[0], aiomig.SubmitUnknown)
        assert len(folders(grid.home)) == 1


@REAL_TIME
async def test_local_what_jobs_share_is_carried_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"shared ")
    specs = [JobSpec("cat data own", inputs=[data, (b"%d" % n, "own")]) for n in range(5)]
    async with aiomig.local(tmp_path / "home", slots=2) as session:
        jobs = await session.submit_many(specs)
        assert [(await job).stdout for job in jobs] == [f"shared {n}" for n in range(5)]
        shared = [path for path in (tmp_path / "home" / SHARED_FOLDER).rglob("*") if path.is_file()]
        assert len(shared) == 1
