"""`FakeGrid` with a clock of its own, and its jobs as tests script and inspect them, on any event loop."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

import aiomig
from aiomig import JobState, Remote, Resources
from aiomig.testing import FakeGrid, Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

AT_ONCE = Site(parse_time=0)


@pytest.fixture
async def grid() -> AsyncIterator[FakeGrid]:
    async with FakeGrid(site=AT_ONCE, clock="virtual") as opened:
        yield opened


async def test_stands_still(grid: FakeGrid) -> None:
    before = grid.now
    async with grid.session() as mig:
        grid.hold()
        job = await mig.submit("fit")
        assert [(await job.status()).state for _ in range(3)] == [JobState.QUEUED] * 3
    assert grid.now == before


async def test_jumps_to_what_a_client_waits_for(grid: FakeGrid) -> None:
    grid.script(
        lambda job: job.executing(after=60).requeue("RESOURCE DIED", after=120).fail("JOB TIMEOUT", after=86_400)
    )
    async with grid.session() as mig:
        job = await mig.submit("fit")
        seen = [status async for status in job]
    states = [JobState.QUEUED, JobState.EXECUTING, JobState.QUEUED, JobState.FAILED]
    assert [status.state for status in seen] == states
    assert seen[-1].received_at is not None
    assert seen[-1].failed_at == seen[-1].received_at + timedelta(days=1)
    assert [attempt.reason for attempt in seen[-1].attempts] == ["RESOURCE DIED", "JOB TIMEOUT"]


async def test_is_moved_by_hand(grid: FakeGrid) -> None:
    grid.script(lambda job: job.executing(after=60).finish(after=7200))
    async with grid.session() as mig:
        job = await mig.submit("fit")
        for seconds, state in ((0, "QUEUED"), (59, "QUEUED"), (1, "EXECUTING"), (7140, "FINISHED")):
            grid.pass_time(seconds)
            assert grid.job(job.id).state == state
        with pytest.raises(ValueError, match="seconds=-1: time does not go back"):
            grid.pass_time(-1)


async def test_the_end_of_all_waiting_is_no_news() -> None:
    async with FakeGrid(site=Site(parse_time=0, expire_after=3600), clock="virtual") as grid, grid.session() as mig:
        grid.hold()
        job = await mig.submit("fit")
        assert [(await job.status()).state for _ in range(3)] == [JobState.QUEUED] * 3
        grid.pass_time(3600)
        assert (await job.wait()).state == "EXPIRED"


async def test_a_test_waits_as_clients_do(grid: FakeGrid) -> None:
    async with grid.session() as mig:
        grid.script(lambda job: job.executing(after=60))
        job = grid.job((await mig.submit("fit")).id)
        assert await job.reach("EXECUTING") == "EXECUTING"


async def test_jobs_run_for_real(grid: FakeGrid) -> None:
    async with grid.session() as mig:
        assert (await (await mig.submit("echo hello"))).stdout == "hello\n"


async def test_patience_is_short(grid: FakeGrid) -> None:
    async with grid.session() as mig:
        grid.faults.add("jobstatus", "error", times=4)  # with its default polling, a session would wait for seconds
        assert await mig.jobs() == []
    assert grid.count("jobstatus") == 6


async def test_sees_what_was_submitted(grid: FakeGrid) -> None:
    grid.hold()
    async with grid.session() as mig:
        await mig.files.write_text("shared/model.bin", "model")
        await mig.submit(
            ["./fit $SEED", "true"],
            inputs=[(b"1,2", "data.csv"), Remote("shared/model.bin"), Remote("not-there")],
            executables=[(b"#!/bin/sh\n", "fit")],
            outputs=["out.txt", ("fit.png", "plots/7.png")],
            environment={"SEED": "7", "NOTE": "it's #1 + <2>"},
            resources=Resources(wall_time=60),
            name="fit-7",
        )
        await mig.submit("true")
    first, second = grid.jobs
    assert first.name == "fit-7"
    assert first.commands == ("./fit $SEED", "true")
    assert first.inputs == {"data.csv": b"1,2", "model.bin": b"model", "fit": b"#!/bin/sh\n"}
    assert first.outputs == ("out.txt", "fit.png")
    assert first.environment == {"SEED": "7", "NOTE": "it's #1 + <2>"}
    assert first.description.number("CPUTIME") == 60
    assert (second.name, second.inputs, second.outputs, second.environment) == (None, {}, (), {})


async def test_its_own_fields(grid: FakeGrid) -> None:
    with pytest.raises(ValueError, match="clock='real': no such clock; use 'loop' or 'virtual'"):
        FakeGrid(clock="real")  # type: ignore[arg-type]
    with pytest.raises(aiomig.ConfigError):
        grid.session(url="not a url")
