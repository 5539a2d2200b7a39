"""Programs that are killed at any moment: each job ends exactly once, with the right output."""

from __future__ import annotations

import random
import signal
import sqlite3
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aiomig
from aiomig import JobState
from aiomig._local.attempt import Attempt
from tests.programs.support import pipes, processes, run, worker

if TYPE_CHECKING:
    from pathlib import Path

BACKENDS = ("asyncio", "trio")


async def _endings(home: Path) -> dict[str, tuple[aiomig.JobResult, str]]:
    """Finish all jobs in a new session; return results and outputs by job id."""
    endings: dict[str, tuple[aiomig.JobResult, str]] = {}
    async with aiomig.local(home, slots=3) as mig:
        jobs = await mig.jobs()
        await mig.wait(jobs)
        for job in jobs:
            plan = await job.plan()
            text = await mig.files.read_text(plan.outputs[0].path)
            endings[job.id] = (await job.result(), text)
    return endings


def _left_behind(home: Path) -> list[str]:
    """Return the remaining files, except claims: a claim stays until the shell that it stops has read it and ended."""
    left = (home / ".aiomig" / "run").iterdir()
    return sorted(path.name for path in left if path.is_dir() or path.read_text() != "recovered\n")


def _logged(logs: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in logs.iterdir()}


def _killed(tmp_path: Path, backend: str, jobs: int, moment: str) -> list[str]:
    """Run the program until it is killed; return the ids that it printed."""
    (tmp_path / "logs").mkdir(exist_ok=True)
    ended = run("crash", tmp_path / "home", tmp_path / "logs", backend, jobs, moment)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    return [line for line in ended.stdout.split("\n")[:-1] if line]


def _check(tmp_path: Path, backend: str, printed: list[str]) -> None:
    """Check the guarantees of local mode."""
    endings = anyio.run(_endings, tmp_path / "home", backend=backend)
    assert set(printed) <= set(endings), "a job was lost"
    numbers = []
    for result, output in endings.values():
        number = result.stdout.strip()
        numbers.append(number)
        assert result.ok
        assert result.stdout == f"{number}\n"
        assert output == f"input\n{number}\n"
        assert [each.exit_code for each in result.commands][-3:] == [0, 0, 0]
    assert len(set(numbers)) == len(numbers)
    assert _logged(tmp_path / "logs") == dict.fromkeys(numbers, "run\n"), "a job ran twice, or not at all"
    assert _left_behind(tmp_path / "home") == []


@pytest.mark.parametrize("turn", range(12))
def test_fifty_jobs_and_a_kill_at_a_random_moment(tmp_path: Path, turn: int) -> None:
    chance = random.Random(turn)
    backend = BACKENDS[turn % 2]
    moment = f"{chance.choice(['printed', 'started', 'ended', 'job'])}:{chance.randint(1, 50)}"
    printed = _killed(tmp_path, backend, 50, moment)
    _check(tmp_path, BACKENDS[(turn // 2) % 2], printed)


MOMENTS = (
    "before:Store.insert:3",
    "after:Store.insert:3",
    "before:Store.claim:3",
    "after:Store.claim:3",
    "before:AttemptRunner.attempt_task:3",
    "before:Scheduler.exited:3",
    "before:Attempt.run:3",
    "before:Inputs.fetch:3",
    "after:Inputs.fetch:3",
    "before:JobFolder.write:3",
    "after:JobFolder.write:3",
    "before:spawn:3",
    "after:spawn:3",
    "before:Attempt.supervise:3",
    "before:Attempt.conclude:3",
    "before:Results.send:3",
    "before:Results.send_one:3",
    "after:os.link:3",
    "after:Results.send_one:3",
    "before:Results.report:3",
    "before:os.replace:3",
    "after:os.replace:3",
    "after:Results.report:3",
    "before:hand_over:9",
    "after:hand_over:9",
    "after:hand_over:11",
    "after:os.rename:12",
    "after:hand_over:12",
    "after:os.unlink:3",
    "after:os.unlink:6",
    "after:Results.send:3",
    "before:verify:3",
    "before:Scheduler.record:3",
    "before:Store.finish:3",
    "after:Store.finish:3",
    "before:Scheduler.publish:5",
    "before:Attempt.clean:3",
    "after:Attempt.clean:3",
)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_at_each_step(tmp_path: Path, moment: str) -> None:
    backend = BACKENDS[MOMENTS.index(moment) % 2]
    printed = _killed(tmp_path, backend, 8, moment)
    _check(tmp_path, backend, printed)


RECOVERIES = (
    ("after:spawn:3", "before:resume:1"),
    ("after:JobFolder.write:3", "after:Control.claim:1"),
    ("before:AttemptRunner.attempt_task:3", "before:Store.unclaim:1"),
    ("before:AttemptRunner.attempt_task:3", "after:Store.unclaim:1"),
    ("before:Results.send:3", "before:Results.send:1"),
    ("before:Results.send:3", "after:Results.send_one:1"),
    ("after:Results.report:3", "after:os.replace:1"),
    ("after:hand_over:9", "after:hand_over:3"),
    ("after:hand_over:12", "before:Store.finish:1"),
    ("before:AttemptRunner.attempt_task:3", "before:Store.adopt:1"),
)


@pytest.mark.parametrize(("first", "second"), RECOVERIES)
def test_a_kill_while_another_kill_is_made_good(tmp_path: Path, first: str, second: str) -> None:
    printed = _killed(tmp_path, "asyncio", 8, first)
    run("crash", tmp_path / "home", tmp_path / "logs", "trio", 0, second)
    _check(tmp_path, "asyncio", printed)


async def test_jobs_run_on_without_the_program_and_are_taken_up(tmp_path: Path, anyio_backend: str) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "good", "bad", "late") as (news, good, bad, late):
        async with worker(home, anyio_backend, slots=3) as other:
            ids = [
                await other.ask("submit", [news.write("$$"), good.wait, "echo good"], {}),
                await other.ask("submit", [news.write("$$"), bad.wait, "echo bad; exit 3"], {}),
                await other.ask("submit", [news.write("$$"), late.wait, "echo late"], {}),
                await other.ask("submit", "echo queued", {}),
            ]
            shells = [await news.line() for _ in range(3)]
            other.kill()
        with processes(*shells) as running:
            good.send()
            bad.send()
            await running.ends(2)
            async with aiomig.local(home, slots=3) as mig:
                states = await mig.statuses(ids)
                assert states[ids[2]].state is JobState.EXECUTING
                assert len(running.running()) == 1
                late.send()
                results = [await mig.job(job_id).result(check=False) for job_id in ids]
    assert [result.stdout for result in results] == ["good\n", "bad\n", "late\n", "queued\n"]
    assert [result.status.state for result in results] == ["FINISHED", "FAILED", "FINISHED", "FINISHED"]
    (attempt,) = results[1].status.attempts
    assert attempt.reason == "RESOURCE DIED"
    assert "exited with 3" in attempt.detail
    assert _left_behind(home) == []


async def test_a_shell_that_has_written_its_code_and_still_ends_is_waited_for(
    tmp_path: Path, anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell writes its exit code again when it ends, and must not create a file that was removed meanwhile."""
    steps: list[str] = []
    stepped = anyio.Event()

    def noted(name: str) -> Any:
        method = getattr(Attempt, name)

        async def step(*given: Any) -> Any:
            steps.append(name)
            stepped.set()
            return await method(*given)

        return step

    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        last_words = f"last() {{ {news.write('$$')}; {gate.wait}; }}"
        async with worker(home, anyio_backend, slots=1) as other:
            job_id = await other.ask("submit", [last_words, "trap last EXIT", "echo done"], {})
            shell = await news.line()
            other.kill()
        monkeypatch.setattr(Attempt, "supervise", noted("supervise"))
        monkeypatch.setattr(Attempt, "conclude", noted("conclude"))
        with processes(shell):
            async with aiomig.local(home) as mig:
                await stepped.wait()
                gate.send()
                assert (await mig.job(job_id)).stdout == "done\n"
    assert steps == ["supervise", "conclude"]
    assert _left_behind(home) == []


async def test_a_clock_that_was_set_ends_no_job_that_is_taken_up(tmp_path: Path, anyio_backend: str) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with worker(home, anyio_backend) as other:
            job_id = await other.ask("submit", [news.write("$$"), gate.wait, "echo done"], {"retries": 0})
            with processes(await news.line()):
                other.kill()
                _sql(home, "UPDATE jobs SET executing = executing - 1e8")
                async with aiomig.local(home) as mig:
                    assert (await mig.job(job_id).status()).state is JobState.EXECUTING
                    gate.send()
                    assert await mig.job(job_id).stdout() == "done\n"


async def test_after_a_restart_of_the_machine_an_attempt_has_failed(tmp_path: Path, anyio_backend: str) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with worker(home, anyio_backend, slots=2) as other:
            once = await other.ask("submit", [news.write("$$"), gate.wait], {"retries": 0})
            twice = await other.ask("submit", [news.write("$$"), gate.wait, "echo again"], {"retries": 1})
            with processes(await news.line(), await news.line()) as shells:
                other.kill()
                shells.kill()
                await shells.gone()
        _sql(home, "UPDATE sessions SET boot = 'before'")
        async with aiomig.local(home) as mig:
            gate.send()
            result = await mig.job(twice)
            assert await news.line()
            assert result.stdout == "again\n"
            assert [attempt.reason for attempt in result.status.attempts] == ["RESOURCE DIED"]
            assert "machine restarted" in result.status.attempts[0].detail
            with pytest.raises(aiomig.JobFailed) as caught:
                await mig.job(once)
            assert caught.value.status is not None
            assert "machine restarted" in caught.value.status.attempts[0].detail
    assert _left_behind(home) == []


async def test_a_result_that_was_whole_before_a_restart_counts(tmp_path: Path) -> None:
    home = tmp_path / "home"
    ended = run("crash", home, _logs(tmp_path), "asyncio", 1, "before:Attempt.conclude:1")
    _sql(home, "UPDATE sessions SET boot = 'before'")
    async with aiomig.local(home) as mig:
        result = await mig.job(ended.stdout.strip())
    assert result.ok
    assert result.status.attempts == ()
    assert _logged(tmp_path / "logs") == {"0": "run\n"}


def _logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir(exist_ok=True)
    return folder


def _sql(home: Path, statement: str) -> None:
    database = sqlite3.connect(home / ".aiomig" / "jobs.sqlite")
    with database:
        database.execute(statement)
    database.close()


async def test_killed_between_cancel_and_kill_of_the_job(tmp_path: Path, anyio_backend: str) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with worker(home, anyio_backend, moment="before:Actions.apply:1") as other:
            job_id = await other.ask("submit", [f"sleep 1000 & {news.write('$$ $!')}", gate.wait], {})
            with processes(*(await news.line()).split()) as running:
                other.tell("cancel", job_id)
                assert await other.ended() == -signal.SIGKILL
                assert len(running.running()) == 2
                async with aiomig.local(home) as mig:
                    assert (await mig.job(job_id).status()).state is JobState.CANCELED
                    await running.gone()
    assert _left_behind(home) == []


@pytest.mark.parametrize(
    "moment",
    [
        "before:Results.keep_output:1",
        "after:Results.keep_output:1",
        "after:Store.fail:1",
        "before:Attempt.clean:1",
    ],
)
@pytest.mark.parametrize(
    ("commands", "stdout", "stderr"),
    [(["echo out; echo err >&2", "exit 3"], "out\n", "err\n"), (["echo out", "echo ("], "", "syntax error")],
)
async def test_the_output_of_a_failed_attempt_outlives_a_kill(
    tmp_path: Path, moment: str, commands: list[str], stdout: str, stderr: str
) -> None:
    home = tmp_path / "home"
    async with worker(home, "asyncio", moment=moment) as other:
        job_id = await other.ask("submit", commands, {})
        assert await other.ended() == -signal.SIGKILL
    async with aiomig.local(home) as mig:
        result = await mig.job(job_id).result(check=False)
    assert result.status.state is JobState.FAILED
    assert len(result.status.attempts) == 1
    assert result.stdout == stdout
    assert stderr in result.stderr
    assert stderr.strip() in result.stderr.strip()
    assert _left_behind(home) == []


async def test_a_shell_that_ended_without_a_word(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate):
        async with worker(home, "asyncio") as other:
            job_id = await other.ask("submit", [news.write("$$"), gate.wait], {})
            with processes(await news.line()) as shell:
                other.kill()
                shell.kill()
                await shell.gone()
    async with aiomig.local(home) as mig:
        status = await mig.job(job_id).wait()
    assert status.state is JobState.FAILED
    assert "without a word" in status.attempts[0].detail
