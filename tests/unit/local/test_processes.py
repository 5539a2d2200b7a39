"""Local mode and the processes around it: terminals, other programs on the same home, threads, process groups."""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import signal
import subprocess
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

import aiomig
from aiomig import JobState, Resources
from aiomig._local import engine as _local_engine
from tests.programs.support import PATIENCE, command, environment, lines, pipes, processes, run, worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# -- a terminal


class Terminal:
    """A program in the foreground of a pseudo-terminal."""

    def __init__(self, *arguments: object) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command("terminal", *arguments),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(),
            start_new_session=True,
        )
        os.close(slave)
        self._lines = lines(self._master)

    def press_control_c(self) -> None:
        os.write(self._master, b"\x03")

    async def line(self) -> str:
        return (await self._lines.next()).strip("\r").removeprefix("^C")

    async def rest(self) -> list[str]:
        """Return its output until it ends."""
        printed = []
        while True:
            try:
                printed.append(await self.line())
            except (EOFError, OSError):  # Linux reports EIO after the last process has closed the other side
                self.process.wait(PATIENCE)
                return printed

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        os.close(self._master)


@contextmanager
def terminal(*arguments: object) -> Iterator[Terminal]:
    opened = Terminal(*arguments)
    try:
        yield opened
    finally:
        opened.close()


async def test_control_c_ends_the_program_which_cancels_its_job(tmp_path: Path, anyio_backend: str) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        commands = [f"sleep 1000 & {news.write('$$ $!')}", gate.wait]
        with (
            terminal(anyio_backend, home, "default", json.dumps(commands)) as program,
            processes(*(await news.line()).split()) as running,
        ):
            program.press_control_c()
            printed = await program.rest()
            assert program.process.returncode == -2, printed  # Python kills itself after a KeyboardInterrupt
            assert "KeyboardInterrupt" in printed[-1]  # in colours, from Python 3.13 on
            assert not any("ExceptionGroup" in line for line in printed)
            await running.gone()
    async with aiomig.local(home) as mig:
        (job,) = await mig.jobs()
        assert (await job.status()).state is JobState.CANCELED


async def test_control_c_reaches_the_program_and_not_the_job(tmp_path: Path, anyio_backend: str) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        commands = [news.write("running"), gate.wait, "echo unharmed"]
        with terminal(anyio_backend, home, "count", json.dumps(commands)) as program:
            assert await news.line() == "running"
            program.press_control_c()
            assert await program.line() == "interrupted"
            gate.send()
            assert await program.rest() == ["unharmed"]
            assert program.process.returncode == 0


@pytest.mark.parametrize(
    "moment",
    [
        "before:AttemptRunner.run_attempt:3",
        "before:Scheduler.advance:8",
        "after:Scheduler.take_candidates:8",
        "before:Scheduler.record:3",
        "after:Scheduler.record:3",
        "before:Scheduler.publish:10",
        "before:JobFolder.write:3",
        "after:Attempt.supervise:3",
        "before:Attempt.conclude:3",
        "before:Attempt.clean:3",
        "after:spawn:3",
        "after:Store.finish:3",
    ],
)
def test_an_interrupt_at_any_moment_is_the_users(tmp_path: Path, anyio_backend: str, moment: str) -> None:
    # asyncio raises an interrupt in the user's task, trio in any running task.
    home, logs = tmp_path / "home", tmp_path / "logs"
    logs.mkdir()
    ended = run("interrupted", anyio_backend, home, logs, moment)
    assert ended.returncode == -signal.SIGINT, ended.stderr
    assert "\nKeyboardInterrupt\n" in ended.stderr
    assert "ExceptionGroup" not in ended.stderr
    assert ended.stdout == ""
    anyio.run(_nothing_is_open, home, logs, backend=anyio_backend)


async def _nothing_is_open(home: Path, logs: Path) -> None:
    async with aiomig.local(home) as mig:
        jobs = await mig.jobs()
        assert (await mig.wait(jobs)).pending == []
        for job in jobs:
            status = await job.status()
            log = logs / (await job.plan()).description.text("JOBNAME")
            assert status.state in (JobState.FINISHED, JobState.CANCELED)
            if status.state is JobState.FINISHED:
                assert log.read_text() == "run\n"
            else:
                # Killed at any moment, also between creating the file and writing to it.
                assert not log.exists() or log.read_text() in ("", "run\n")
    assert not list((home / ".aiomig" / "run").iterdir())


async def test_jobs_that_are_left_go_on(tmp_path: Path, anyio_backend: str) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with worker(home, anyio_backend, slots=1, on_exit="leave") as other:
            running = await other.ask("submit", [news.write("$$"), gate.wait, "echo one"], {})
            waiting = await other.ask("submit", "echo two", {})
            with processes(await news.line()) as shell:
                assert await other.ask("close") == "closed"
                assert await other.ended() == 0
                assert shell.running()
                gate.send()
                await shell.gone()
    async with aiomig.local(home) as mig:
        assert (await mig.job(running)).stdout == "one\n"
        assert (await mig.job(waiting)).stdout == "two\n"


# -- two processes on one home


async def test_three_processes_run_each_job_once(tmp_path: Path, anyio_backend: str) -> None:
    home, log = tmp_path / "home", tmp_path / "log"
    async with (
        worker(home, "asyncio", slots=2) as one,
        worker(home, "trio", slots=2) as two,
        aiomig.local(home, slots=2) as mig,
    ):
        ids = []
        for turn in range(15):
            ids.append(await one.ask("submit", f"echo one {turn} >> {log}", {}))
            ids.append(await two.ask("submit", f"echo two {turn} >> {log}", {}))
            ids.append((await mig.submit(f"echo here {turn} >> {log}")).id)
        assert len(set(ids)) == 45
        waited = await mig.wait(ids)
        assert [job.id for job in waited.done] == ids
        assert {job.id for job in await mig.jobs()} == set(ids)
        for job in waited.done:
            assert (await job).ok
    counts = Counter(log.read_text().splitlines())
    assert len(counts) == 45
    assert set(counts.values()) == {1}


async def test_a_job_of_another_process_is_watched_to_its_end(tmp_path: Path, anyio_backend: str) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with worker(home, "asyncio", slots=1) as other, aiomig.local(home, slots=1) as mig:
            first = await other.ask("submit", [news.write("up"), gate.wait, "echo first"], {})
            second = await other.ask("submit", [news.write("up"), gate.wait, "echo second"], {})
            await news.line()
            seen: dict[str, list[JobState]] = {first: [], second: []}
            async for status in mig.watch([first, second]):
                seen[status.job_id].append(status.state)
                if status.job_id == second and status.state is not JobState.FINISHED:
                    gate.send()
            assert seen[first] == [JobState.EXECUTING, JobState.FINISHED]
            assert seen[second] == [JobState.QUEUED, JobState.EXECUTING, JobState.FINISHED]
            assert await mig.job(second).stdout() == "second\n"


async def test_a_running_job_of_another_process_is_canceled(tmp_path: Path, anyio_backend: str) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with worker(home, "asyncio", slots=1) as other, aiomig.local(home, slots=1) as mig:
            job_id = await other.ask("submit", [f"sleep 1000 & {news.write('$$ $!')}", gate.wait], {})
            with processes(*(await news.line()).split()) as running:
                outcome = await mig.job(job_id).cancel()
                assert (outcome.before, outcome.after) == (JobState.EXECUTING, JobState.CANCELED)
                await running.gone()
            assert await other.ask("wait", job_id) == "CANCELED"
            after = await other.ask("submit", "echo next", {})  # the slot is free again
            assert (await mig.job(after)).stdout == "next\n"
            assert not list(home.glob(f"job_output/{job_id}*"))
            assert await other.ask("close") == "closed"
    assert not list((home / ".aiomig" / "run").iterdir())


async def test_waiting_jobs_of_another_process_are_frozen_thawed_and_canceled(
    tmp_path: Path, anyio_backend: str
) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with worker(home, "asyncio", slots=1) as other, aiomig.local(home, slots=1) as mig:
            first = await other.ask("submit", [news.write("up"), gate.wait], {})
            frozen = mig.job(await other.ask("submit", "echo $PPID", {}))
            dropped = mig.job(await other.ask("submit", "echo never", {}))
            last = mig.job(await other.ask("submit", "echo last", {}))
            await news.line()
            await frozen.freeze()
            assert (await dropped.cancel()).before is JobState.QUEUED
            gate.send()
            assert (await mig.job(first)).ok
            assert (await last).stdout == "last\n"
            assert (await frozen.status()).state is JobState.FROZEN
            assert (await dropped.status()).state is JobState.CANCELED
            await frozen.thaw()
            assert (await frozen).stdout == f"{other.process.pid}\n", "its own session must run it"
            assert (await dropped.status()).executing_at is None


async def test_each_process_has_slots_of_its_own(tmp_path: Path, anyio_backend: str) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with worker(home, "asyncio", slots=1) as one, worker(home, "trio", slots=1) as two:
            ids = [await each.ask("submit", [news.write("$PPID"), gate.wait], {}) for each in (one, two, one, two)]
            parents = {await news.line(), await news.line()}
            assert parents == {str(one.process.pid), str(two.process.pid)}
            async with aiomig.local(home, slots=4) as mig:
                states = Counter(status.state for status in (await mig.statuses(ids)).values())
                assert states == {JobState.EXECUTING: 2, JobState.QUEUED: 2}
                gate.send(4)
                assert (await mig.wait(ids)).pending == []


async def test_the_jobs_of_a_process_that_dies_are_taken_over_by_one_that_watches(
    tmp_path: Path, anyio_backend: str
) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with worker(home, "asyncio", slots=1) as other, aiomig.local(home, slots=1) as mig:
            running = await other.ask("submit", [news.write("$$"), gate.wait, "echo one"], {})
            waiting = await other.ask("submit", [news.write("$PPID"), "echo two"], {})
            await news.line()
            async with anyio.create_task_group() as tasks:
                ended: dict[str, aiomig.JobResult] = {}

                async def follow(job_id: str) -> None:
                    ended[job_id] = await mig.job(job_id)

                tasks.start_soon(follow, running)
                tasks.start_soon(follow, waiting)
                other.kill()
                gate.send()
                assert await news.line() == str(os.getpid())
            assert ended[running].stdout == "one\n"
            assert ended[waiting].stdout == "two\n"


# -- threads


@pytest.mark.parametrize("loop", ["asyncio", "trio", "uvloop"])
def test_there_is_one_thread(tmp_path: Path, loop: str) -> None:
    if importlib.util.find_spec(loop) is None:
        pytest.skip(f"{loop} is not installed")
    ended = run("threadless", loop, tmp_path / "home")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "1 1\n"


# -- systems without process descriptors


@pytest.fixture
def no_pidfd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_local_engine, "has_pidfd", lambda: False)


@pytest.mark.usefixtures("no_pidfd")
async def test_without_process_descriptors_jobs_run(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home", slots=2) as mig:
        jobs = [await mig.submit(f"echo {number}; (exit {number})") for number in range(4)]
        results = [await job.result(check=False) for job in jobs]
        killed = await mig.submit("kill -KILL $$")
        status = await killed.wait()
    assert [result.stdout for result in results] == ["0\n", "1\n", "2\n", "3\n"]
    assert [result.exit_code for result in results] == [0, 1, 2, 3]
    assert "killed by signal 9" in status.attempts[0].detail


@pytest.mark.usefixtures("no_pidfd")
async def test_without_process_descriptors_jobs_are_canceled_and_timed_out(tmp_path: Path) -> None:
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with aiomig.local(tmp_path / "home", slots=2, wall_time_grace=0) as mig:
            commands = [f"sleep 1000 & {news.write('$$ $!')}", gate.wait]
            job = await mig.submit(commands)
            with processes(*(await news.line()).split()) as running:
                await job.cancel()
                await running.gone()
            late = await mig.submit(commands, resources=Resources(wall_time=1))
            with processes(*(await news.line()).split()) as running:
                status = await late.wait()
                await running.gone()
            assert status.attempts[0].reason == "JOB TIMEOUT"
    assert not list((tmp_path / "home" / ".aiomig" / "run").iterdir())


@pytest.mark.usefixtures("no_pidfd")
async def test_without_process_descriptors_jobs_are_taken_up(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with worker(home, "asyncio", slots=2) as other:
            kept = await other.ask("submit", [news.write("$$"), gate.wait, "echo kept"], {})
            dropped = await other.ask("submit", ["sleep 1000 & " + news.write("$!"), "wait"], {})
            with processes(await news.line(), await news.line()) as running:
                other.kill()
                async with aiomig.local(home, slots=2) as mig:
                    await mig.job(dropped).cancel()
                    gate.send()
                    assert (await mig.job(kept)).stdout == "kept\n"
                    assert (await mig.job(dropped).wait()).state is JobState.CANCELED
                    await running.gone()


# -- process groups


async def _family(mig: aiomig.Session, tmp_path: Path, wall_time: int = 600) -> tuple[aiomig.Job, list[str]]:
    with pipes(tmp_path, f"news-{wall_time}") as (news,):
        job = await mig.submit(
            [
                f"(bash -c 'sleep 1000 & {news.write('grandchild $!')}; wait') & {news.write('child $!')}",
                news.write("shell $$"),
                "wait",
            ],
            resources=Resources(wall_time=wall_time),
        )
        told = [await news.line() for _ in range(3)]
    assert sorted(line.split()[0] for line in told) == ["child", "grandchild", "shell"]
    return job, [line.split()[1] for line in told]


async def test_cancel_ends_children_and_grandchildren(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home") as mig:
        job, numbers = await _family(mig, tmp_path)
        with processes(*numbers) as family:
            outcome = await job.cancel()
            assert outcome.after is JobState.CANCELED
            await family.gone()
        assert (await job.status()).state is JobState.CANCELED


async def test_leaving_a_session_by_an_error_ends_children_and_grandchildren(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with ExitStack() as stack:
        with pytest.raises(ZeroDivisionError):
            async with aiomig.local(home) as mig:
                job, numbers = await _family(mig, tmp_path)
                family = stack.enter_context(processes(*numbers))
                raise ZeroDivisionError
        await family.gone()
    async with aiomig.local(home) as mig:
        assert (await mig.job(job.id).status()).state is JobState.CANCELED


async def test_a_job_over_its_wall_time_ends_with_its_children(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home", wall_time_grace=0) as mig:
        job, numbers = await _family(mig, tmp_path, wall_time=1)
        with processes(*numbers) as family:
            status = await job.wait()
            await family.gone()
    assert status.state is JobState.FAILED
    assert [attempt.reason for attempt in status.attempts] == ["JOB TIMEOUT"]
    assert "1 s after its start" in status.attempts[0].detail


async def test_with_a_grace_period_a_job_hears_of_its_end_first(tmp_path: Path) -> None:
    with pipes(tmp_path, "news") as (news,):
        async with aiomig.local(tmp_path / "home", kill_grace=PATIENCE) as mig:
            trap = f"trap '{news.write('asked')}; exit 0' TERM"
            job = await mig.submit([trap, f"sleep 1000 & {news.write('$$ $!')}", "wait"])
            with processes(*(await news.line()).split()) as running:
                await job.cancel()
                assert await news.line() == "asked"
                await running.gone()
            assert (await job.status()).state is JobState.CANCELED


async def test_after_the_grace_period_a_job_is_killed(tmp_path: Path) -> None:
    with pipes(tmp_path, "news") as (news,):
        async with aiomig.local(tmp_path / "home", kill_grace=0.05) as mig:
            job = await mig.submit(["trap '' TERM", f"sleep 1000 & {news.write('$$ $!')}", "wait"])
            with processes(*(await news.line()).split()) as running:
                await job.cancel()
                await running.gone()
