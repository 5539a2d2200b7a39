"""Submits to a grid with keys: whatever is lost or interrupted, a key gives one job."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

import aiomig
from aiomig import JobSpec, LocalError, SpecError, SubmitUnknown
from tests.cancel_points import cancelled_at, task_cancelled_at
from tests.clocks import anyio_backend
from tests.unit.grid.journals import opened, session

if TYPE_CHECKING:
    from pathlib import Path

    from aiomig import Session
    from aiomig.testing import FakeGrid

__all__ = ["anyio_backend"]


def alive(grid: FakeGrid) -> list[str]:
    return [job.id for job in grid.jobs if job.state != "CANCELED"]


async def cut_off(grid: FakeGrid, mig: Session, when: Any, **fields: Any) -> str:
    """Lose the response to a submit with a key, and those to the search for its job. Return the marker."""
    grid.faults.add("submitfields", "drop", when=when)
    grid.faults.add("jobstatus", "drop", skip=1, times=None)  # the first asks whether the key has a job
    with pytest.raises(SubmitUnknown) as error:
        await mig.submit("echo x", key="report-7", **fields)
    grid.faults.clear()
    return error.value.marker


@pytest.mark.parametrize("again", ["same session", "next session"])
@pytest.mark.parametrize("project", [None, "mine"])
async def test_a_lost_job_is_found_by_its_key(tmp_path: Path, again: str, project: str | None) -> None:
    fields: dict[str, Any] = {"project": project} if project else {}
    async with opened(tmp_path) as grid, session(grid, tmp_path / "journal") as mig:
        if project:  # then each search looks into descriptions
            grid.faults.add("submitfields", "drop", when="after")
            grid.faults.add("jobstatus", "drop", skip=1, times=None)
            with pytest.raises(SubmitUnknown):
                await mig.submit("echo x", key="report-7", **fields)
            grid.faults.clear()
        else:
            await cut_off(grid, mig, "after")
        (made,) = grid.jobs
        (lost,) = await mig.unconfirmed()
        assert lost.job_ids == (made.id,)
        async with session(grid, tmp_path / "journal") as other:
            user = mig if again == "same session" else other
            with pytest.raises(SpecError, match="differs in: commands"):
                await user.submit("echo y", key="report-7", **fields)
            job = await user.submit("echo x", key="report-7", inputs=(), **fields)
        assert job.id == made.id
        assert [job.id for job in grid.jobs] == [made.id]
        if again == "same session":
            assert await mig.unconfirmed() == []


async def test_a_submit_that_was_cut_off_is_not_repeated_blindly(tmp_path: Path) -> None:
    async with opened(tmp_path) as grid:
        async with session(grid, tmp_path / "journal") as mig:
            marker = await cut_off(grid, mig, "before", inputs=[(b"data", "in.txt")])
            for submit in (
                mig.submit("echo x", key="report-7", inputs=[(b"data", "in.txt")]),
                mig.submit_many([JobSpec("echo x", key="report-7", inputs=[(b"data", "in.txt")])]),
            ):
                with pytest.raises(aiomig.MigError, match=r"'report-7' was cut off; it can be sent again in \d+ s"):
                    await submit
            assert grid.jobs == []
            assert [each.marker for each in await mig.unconfirmed()] == [marker]
            assert len(list(grid.home.rglob("in.txt"))) == 1, "only what the lost job may need is left"
        async with session(grid, tmp_path / "journal", resubmit_after=0.0) as mig:
            job = await mig.submit("echo x", key="report-7", inputs=[(b"data", "in.txt")])
            assert [each.id for each in grid.jobs] == [job.id]
            assert await mig.unconfirmed() == []


async def test_who_confirms_a_lost_submit_may_send_it_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as grid, session(grid, tmp_path / "journal") as mig:
        await cut_off(grid, mig, "before")
        mig.confirm(*await mig.unconfirmed())
        job = await mig.submit("echo y", key="report-7")
        assert [each.id for each in grid.jobs] == [job.id]
        mig.confirm(job.id, "key0123")
        assert (await mig.submit("echo y", key="report-7")).id == job.id


async def test_a_response_that_is_lost_does_no_harm_if_the_job_is_found(tmp_path: Path) -> None:
    async with opened(tmp_path) as grid, session(grid, tmp_path / "journal") as mig:
        grid.faults.add("submitfields", "drop", when="after")
        job = await mig.submit("echo x", key="report-7")
        grid.faults.add("textarea", "drop", when="after")
        jobs = await mig.submit_many([JobSpec("echo x", key=f"report-{n}") for n in (7, 8, 9)])
        assert jobs[0] == job
        assert [each.id for each in grid.jobs] == [each.id for each in jobs]


async def test_the_server_is_asked_before_a_new_key_is_used(tmp_path: Path) -> None:
    async with opened(tmp_path) as grid:
        async with session(grid, tmp_path / "one machine") as mig:
            first = await mig.submit("echo x", key="report-7")
        async with session(grid, tmp_path / "another machine") as mig:
            grid.faults.add("jobstatus", "error", times=None)
            for submit in (mig.submit("echo x", key="report-7"), mig.submit_many([JobSpec("echo x", key="report-7")])):
                with pytest.raises(aiomig.MigError, match="500"):
                    await submit
            grid.faults.clear()
            assert (await mig.submit("echo x", key="report-7")).id == first.id
        assert [each.id for each in grid.jobs] == [first.id]


@pytest.mark.parametrize("cancel", [cancelled_at, task_cancelled_at], ids=["scope", "task"])
@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_a_cancelled_submit_leaves_the_key_free(tmp_path: Path, cancel: Any, many: bool) -> None:
    number, reached = 0, True
    async with opened(tmp_path) as grid, session(grid, tmp_path / "journal") as mig:

        async def submit() -> list[aiomig.Job]:
            specs = [JobSpec("echo x", key=f"{number} {place}", inputs=[(b"data", "x")]) for place in range(1 + many)]
            return await mig.submit_many(specs) if many else [await mig.submit(specs[0])]

        while reached:
            before = set(alive(grid))
            reached, jobs = await cancel(number, submit)
            made = set(alive(grid)) - before
            assert made == {job.id for job in jobs or ()}
            again = await submit()
            assert set(alive(grid)) - before == {job.id for job in again}
            if jobs is not None:
                assert again == jobs
            number += 1
        assert number > 5
        assert await mig.unconfirmed() == []


async def test_a_scope_that_is_left_frees_the_keys_of_what_it_cancels(tmp_path: Path) -> None:
    async with opened(tmp_path) as grid, session(grid, tmp_path / "journal") as mig:
        with pytest.raises(RuntimeError):
            async with mig.scope() as scope:
                first = await scope.submit("echo x", key="report-7")
                raise RuntimeError
        second = await mig.submit("echo x", key="report-7")
        assert alive(grid) == [second.id]
        assert first.id != second.id
        await second.cancel()
        assert await mig.submit("echo x", key="report-7") == second, "the user's own cancel is an end like others"


async def test_a_program_that_was_killed_before_it_sent_anything(tmp_path: Path) -> None:
    async with opened(tmp_path / "one") as grid, session(grid, tmp_path / "journal") as mig:
        await mig.submit("echo x", key="report-7")
    (record,) = (tmp_path / "journal").rglob("key*.jsonl")
    first, _ = record.read_text().splitlines()
    record.write_text(f'{first}\n{{"job": "torn')
    async with opened(tmp_path / "other") as grid:  # a grid without such a job
        async with session(grid, tmp_path / "journal", resubmit_after=0.0) as mig:
            job = await mig.submit("echo x", key="report-7")
        assert [each.id for each in grid.jobs] == [job.id]
    assert json.loads(record.read_text().splitlines()[-1]) == {"job": job.id}


async def test_records_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(tmp_path) as grid, session(grid, tmp_path / "journal") as mig:
        (folder,) = (tmp_path / "journal").iterdir()
        (folder / "keys").write_text("in the way")
        with pytest.raises(LocalError, match="records of keys"):
            await mig.submit("echo x", key="report-7")
        with caplog.at_level(logging.WARNING, "aiomig"):
            mig.confirm("key0123")
        assert grid.jobs == []
