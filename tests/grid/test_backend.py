"""Jobs of a grid after the submit: many at once, lookups, actions, results, tidying; and false ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

import aiomig
from aiomig import JobCanceled, JobExpired, JobFailed, JobNotFound, JobState, Remote
from tests.clocks import anyio_backend
from tests.virtual import seeded, session_on, world

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["anyio_backend"]

UNKNOWN = "999_1_1_2026__1_1_1_localhost.0"


async def test_many_are_canceled_in_few_requests() -> None:
    async with world() as (grid, mig):
        ids = seeded(grid, 1001)
        outcomes = await mig.cancel([*ids, UNKNOWN])
        assert list(outcomes) == [*ids, UNKNOWN]
        assert all(outcomes[each].changed for each in ids)
        assert outcomes[UNKNOWN].before is None
        assert grid.count("jobaction") == 3
        assert {job.state for job in grid.jobs} == {"CANCELED"}


async def test_jobs_are_found_newest_first() -> None:
    async with world() as (grid, mig):
        ids = []
        for _ in range(12):
            ids += seeded(grid, 1)
            await anyio.sleep(1)
        assert [job.id for job in await mig.jobs()] == ids[::-1]
        assert [job.id for job in await mig.jobs(newest=3)] == ids[:-4:-1]
        assert [job.id for job in await mig.jobs(f"{ids[2][:3]}*")] == [ids[2]]
        assert await mig.jobs("nothing*") == []


@pytest.mark.parametrize("job_id", ["*", "ALL", "1*", "?", "../x", "a b", "é", "1;2"])
async def test_an_id_is_never_a_pattern(job_id: str) -> None:
    async with world() as (grid, mig):
        (known,) = seeded(grid, 1)
        before = len(grid.requests)
        job = mig.job(job_id)
        for attempt in (job.status(), job.cancel(), job.freeze(), job.wait(), job.result(), job.plan(), job.stdout()):
            with pytest.raises(JobNotFound):
                await attempt
        assert await mig.statuses([job]) == {}
        assert grid.job(known).state in ("PARSE", "QUEUED")
        for request in grid.requests[before:]:
            assert set(request.parameters.get("job_id", ())) <= {"0-aiomig"}


async def test_how_jobs_end_is_told_by_the_kind_of_error() -> None:
    async with world() as (grid, mig):
        jobs = [await mig.submit("true") for _ in range(3)]
        grid.job(jobs[0].id).executing(after=1).requeue("RESOURCE DIED", after=2).executing(after=3).fail(after=4)
        grid.job(jobs[1].id).expire(after=5)
        await jobs[2].cancel()
        with pytest.raises(JobFailed, match="RESOURCE DIED") as caught:
            await jobs[0]
        assert caught.value.status is not None
        assert [each.reason for each in caught.value.status.attempts] == ["RESOURCE DIED", "JOB TIMEOUT"]
        with pytest.raises(JobExpired):
            await jobs[1]
        with pytest.raises(JobCanceled):
            await jobs[2]
        assert (await jobs[2].result(check=False)).status.state is JobState.CANCELED


async def test_leaving_a_session_leaves_its_jobs() -> None:
    async with world() as (grid, mig):
        async with session_on(grid) as other:
            job = await other.submit("true")
        grid.job(job.id).executing(after=1).finish("late\n", after=2)
        assert (await mig.job(job.id)).stdout == "late\n"


async def test_live_output_is_asked_for_once_a_minute() -> None:
    async with world() as (grid, mig):
        job = await mig.submit("true")
        grid.job(job.id).executing(after=1).writes("one\n", after=2).writes("two\n", after=100)
        await anyio.sleep(3)
        for _ in range(12):
            await job.stdout(wait=False)
            await anyio.sleep(5)
        assert grid.count("liveio") == 1
        assert await job.stdout(wait=False) == "one\n"
        await anyio.sleep(60)
        await job.stdout(wait=False)
        await anyio.sleep(30)
        assert await job.stdout(wait=False) == "one\ntwo\n"


async def test_live_files_wait_for_their_turn() -> None:
    async with world() as (grid, mig):
        job = await mig.submit("true")
        grid.job(job.id).executing(after=1).writes("one\n", after=1)
        await mig.files.write_text("in.txt", "to the job")
        await anyio.sleep(5)
        began = anyio.current_time()
        await job.send_live("half.dat", "out")
        assert grid.requests[-1].parameters == {
            "action": ("send",), "src": ("half.dat",), "dst": ("out",), "job_id": (job.id,), "output_format": ("json",),
        }  # fmt: skip
        assert grid.requests[-1].path == "/cgi-bin/liveio.py"
        await job.get_live("in.txt", "new")
        assert anyio.current_time() - began == pytest.approx(60)
        async with session_on(grid) as other:  # its first request is refused: it does not know of the other one
            out, _ = await other.job(job.id).send_live()
        assert anyio.current_time() - began == pytest.approx(120)
        assert grid.count("liveio") == 4
        await anyio.sleep(20)
        assert await mig.files.read_text(out) == "one\n"
        grid.job(job.id).finish()
        with pytest.raises(aiomig.ActionRefused, match="it is FINISHED"):
            await job.send_live()


async def test_results_of_any_bytes() -> None:
    async with world() as (grid, mig):
        job = await mig.submit("true")
        grid.job(job.id).finish(bytes(range(256)), b"\xff")
        result = await job
        assert await job.stdout_bytes() == bytes(range(256))
        assert await job.stderr() == "�"
        assert result.ok


async def test_cleaning_up_by_id_touches_nothing_that_is_not_the_jobs(tmp_path: Path) -> None:
    async with world() as (grid, mig):
        shared = tmp_path / "shared.dat"
        shared.write_text("shared")
        first, second = await mig.submit_many(
            aiomig.JobSpec("true", inputs=[shared, (name.encode(), name)], outputs=["out.txt"])
            for name in ("first.dat", "second.dat")
        )
        third = await mig.submit("true", inputs=[first.output("out.txt"), Remote("aiomig_jobs/mine/in.txt")])
        grid.job(first.id).finish(outputs={"out.txt": "first"})
        (grid.home / "aiomig_jobs/mine").mkdir()
        (grid.home / "aiomig_jobs/mine/in.txt").write_text("mine")

        def kept() -> set[str]:
            files = (path for path in (grid.home / "aiomig_jobs").rglob("*") if path.is_file())
            return {path.name for path in files}

        assert kept() == {"shared.dat", "first.dat", "second.dat", "out.txt", "in.txt"}
        await mig.job(third.id).clean()
        assert kept() == {"shared.dat", "first.dat", "second.dat", "out.txt", "in.txt"}
        await mig.job(first.id).clean()
        assert kept() == {"shared.dat", "second.dat", "in.txt"}
        await mig.job(second.id).clean()
        assert kept() == {"shared.dat", "in.txt"}


async def test_resubmitting_by_id_what_has_shared_inputs(tmp_path: Path) -> None:
    async with world() as (grid, mig):
        shared = tmp_path / "shared.dat"
        shared.write_text("shared")
        first, _ = await mig.submit_many([aiomig.JobSpec(f"echo {n}", inputs=[shared]) for n in range(2)])
        again = await mig.job(first.id).resubmit()
        assert grid.job(again.id).commands == grid.job(first.id).commands
        (line,) = grid.job(again.id).description.lines("INPUTFILES")
        assert (grid.home / line.split(" ")[0]).read_text() == "shared"
