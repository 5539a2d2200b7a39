"""Several sessions on one home: takeover of jobs, shared slots, locks, damage."""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import TYPE_CHECKING

import anyio
import pytest

import aiomig
from aiomig import JobState, LocalError
from tests.programs.support import PATIENCE, child, pipes, processes, worker

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("how", ["killed", "left"])
async def test_an_open_session_goes_on_with_the_jobs_of_one_that_ended(
    tmp_path: Path, anyio_backend: str, how: str
) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate", "later") as (news, gate, later):
        async with aiomig.local(home, slots=1) as mig, worker(home, "asyncio", slots=1, on_exit="leave") as other:
            commands = ([news.write("$$"), gate.wait, "echo one"], [news.write("up"), later.wait, "echo two"])
            ids = [await other.ask("submit", command, {}) for command in commands]
            with processes(await news.line()) as shell:
                if how == "killed":
                    other.kill()
                else:
                    assert await other.ask("close") == "closed"
                gate.send()
                await shell.gone()
            assert await news.line() == "up"  # no task has watched or asked
            assert (await mig.job(ids[0]).status()).state is JobState.FINISHED
            later.send()
            assert [await mig.job(job_id).stdout() for job_id in ids] == ["one\n", "two\n"]


async def test_a_job_that_ended_with_its_program_is_not_said_to_run(tmp_path: Path, anyio_backend: str) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with worker(home, "asyncio", slots=1) as other:
            job_id = await other.ask("submit", [news.write("$$"), gate.wait], {})
            with processes(await news.line()) as shell:
                other.kill()
                gate.send()
                await shell.gone()
        async with aiomig.local(home) as mig:
            assert (await mig.statuses([job_id]))[job_id].state is JobState.FINISHED


async def test_a_forked_child_does_not_keep_a_dead_session_alive(tmp_path: Path, anyio_backend: str) -> None:
    home = tmp_path / "home"
    with child("forked", "asyncio", home, "echo one", "echo two") as program, processes(await program.line()):
        program.process.wait(PATIENCE)
        async with aiomig.local(home, slots=1) as mig:
            done, pending = await mig.wait(await mig.jobs())
            assert (len(done), pending) == (2, [])


async def test_slots_that_all_sessions_of_a_home_share(tmp_path: Path, anyio_backend: str) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with (
            worker(home, "asyncio", slots=2, shared_slots=True) as one,
            worker(home, "trio", slots=2, shared_slots=True) as two,
            aiomig.local(home, slots=2, shared_slots=True) as mig,
        ):
            command = [news.write("up"), gate.wait]
            ids = [await each.ask("submit", command, {}) for each in (one, two) * 3]
            jobs = [*map(mig.job, ids), await mig.submit(command)]
            for _ in range(2):
                await news.line()
            for left in range(len(jobs) - 2, 0, -1):
                states = Counter(status.state for status in (await mig.statuses(jobs)).values())
                assert states[JobState.EXECUTING] == 2
                assert states[JobState.QUEUED] == left
                gate.send()
                await news.line()
            gate.send(2)
            assert (await mig.wait(jobs)).pending == []


async def test_a_locked_database_is_waited_for_and_the_event_loop_goes_on(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate", "closed") as (news, gate, closed):
        async with aiomig.local(home, slots=2) as mig, anyio.create_task_group() as tasks:
            running = await mig.submit([news.write("up"), gate.wait, "echo running"])
            waiting = await mig.submit([news.write("up"), closed.wait])
            await news.line()
            await news.line()
            ended = anyio.Event()

            async def act() -> None:
                job = await mig.submit("echo submitted")
                await waiting.cancel()
                assert (await job).stdout == "submitted\n"
                ended.set()

            with child("lock", home) as program:
                assert await program.line() == "locked"
                gate.send()
                tasks.start_soon(act)
                for _ in range(30):  # `beats` would notice a longer block of the event loop
                    await anyio.sleep(0.01)
                assert not ended.is_set()
                assert (await running.status()).state is JobState.EXECUTING
                program.tell("go")
                await ended.wait()
            assert (await running).stdout == "running\n"
            assert (await waiting.status()).state is JobState.CANCELED


def _damage(home: Path, statement: str, *values: object) -> None:
    database = sqlite3.connect(home / ".aiomig" / "jobs.sqlite")
    with database:
        database.execute(statement, values)
    database.close()


@pytest.mark.parametrize(
    ("column", "value", "state"),
    [
        ("plan", "x", "QUEUED"),
        ("plan", "{}", "QUEUED"),
        ("plan", '{"k": {"EXECUTE": 7}}', "FROZEN"),
        ("plan", "[" * 5000, "EXECUTING"),
        ("plan", "\ud800", "QUEUED"),
        ("attempts", "x", "FINISHED"),
        ("attempts", "[[1e300, 1, 1, 1, 1]]", "FAILED"),
        ("state", "RESTING", "RESTING"),
        ("queued", 1e300, "FINISHED"),
        ("executing", -1e300, "EXECUTING"),
        ("received", 1e300, "QUEUED"),
        ("local_name", "../..", "EXECUTING"),
    ],
)
async def test_a_damaged_record_is_a_fault_of_one_job(tmp_path: Path, column: str, value: object, state: str) -> None:
    home = tmp_path / "home"
    async with aiomig.local(home) as mig:
        bad, good = await mig.submit("true"), await mig.submit("echo good")
        await mig.wait([bad, good])
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
        cast = "CAST(? AS TEXT)"
    else:
        cast = "?"
    _damage(home, f"UPDATE jobs SET {column} = {cast} WHERE number = 1", value)
    _damage(home, "UPDATE jobs SET state = ? WHERE number = 1", state)
    async with aiomig.local(home, on_exit="cancel") as mig:
        assert await mig.job(good.id).stdout() == "good\n"
        assert good.id in [job.id for job in await mig.jobs()]
        try:
            await mig.job(bad.id).status()
            await mig.job(bad.id).plan()
        except LocalError as error:
            assert bad.id in str(error) or "job number 1" in str(error)
        except aiomig.JobNotFound:
            assert column == "received"  # the id contains it
        await mig.cancel([bad.id, good.id])
        assert (await (await mig.submit("echo new"))).stdout == "new\n"
