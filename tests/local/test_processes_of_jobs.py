"""The processes of a job end with it, run once, and do not inherit the program's signal handling."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest

import aiomig
from aiomig import JobState, Resources
from tests.programs.support import pipes, processes, run

if TYPE_CHECKING:
    from pathlib import Path

ESCAPES = {
    "a process group of its own": "timeout 1000 bash -c '{write}; sleep 1000' &",
    "job control": "set -m; bash -c '{write}; sleep 1000' &",
    "deaf": "bash -c 'trap \"\" TERM HUP INT; {write}; while :; do sleep 1000; done' &",
    "a session of its own": "setsid bash -c '{write}; sleep 1000' >/dev/null 2>&1 &",
    "a daemon": "(setsid bash -c '(trap \"\" TERM; {write}; sleep 1000) &' >/dev/null 2>&1 &)",
}


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("how", ["cancel", "wall time", "error", "end"])
async def test_what_a_job_starts_ends_with_it(tmp_path: Path, escape: str, how: str) -> None:
    states = {"cancel": JobState.CANCELED, "error": JobState.CANCELED, "wall time": JobState.FAILED}
    resources = Resources(wall_time=1 if how == "wall time" else 600)
    home = tmp_path / "home"
    with pipes(tmp_path, "news", "gate") as (news, gate), ExitStack() as stack:
        command = ESCAPES[escape].format(write=news.write("$BASHPID"))
        with suppress(ZeroDivisionError):
            async with aiomig.local(home, wall_time_grace=0) as mig:
                job = await mig.submit([command, gate.wait, "true"], resources=resources)
                left = stack.enter_context(processes(await news.line()))
                if how == "cancel":
                    await job.cancel()
                elif how == "error":
                    raise ZeroDivisionError
                elif how == "end":
                    gate.send()
                await job.wait()
                await left.gone()
        await left.gone()
    async with aiomig.local(home) as mig:
        assert (await mig.job(job.id).status()).state is states.get(how, JobState.FINISHED)


async def test_after_the_grace_period_everything_is_killed(tmp_path: Path) -> None:
    program = (
        b"import os, signal, sys\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nos.write(3, b'up')\nsignal.pause()"
    )
    with pipes(tmp_path, "news") as (news,):
        async with aiomig.local(tmp_path / "home", kill_grace=0.2) as mig:
            start = f"python3 p.py 3>{tmp_path}/mark & {news.write('$!')}"
            ready = f"while [ ! -s {tmp_path}/mark ]; do sleep 0.05; done; {news.write('$$')}"
            job = await mig.submit([start, ready, "wait"], inputs=[(program, "p.py")])
            with processes(await news.line(), await news.line()) as running:
                await job.cancel()
                await running.gone()


async def test_a_result_does_not_change_after_the_end(tmp_path: Path) -> None:
    home = tmp_path / "home"
    late = "for i in 1 2 3 4 5 6 7 8; do sleep 0.05; echo late; echo $i > junk$i; done"
    with pipes(tmp_path, "news") as (news,):
        async with aiomig.local(home) as mig:
            for command in (f"({late}) & echo ok", f"setsid bash -c '{news.write('$BASHPID')}; {late}' & echo ok"):
                job = await mig.submit([command, *(["sleep 0.1"] if "setsid" in command else [])])
                assert (await job).ok
                before = await mig.job(job.id).stdout()
                if "setsid" in command:
                    with processes(await news.line()) as left:
                        await left.gone()
                assert await mig.job(job.id).stdout() == before
                assert sorted(path.suffix for path in (home / "job_output" / job.id).iterdir()) == [
                    ".io-status",
                    ".status",
                    ".stderr",
                    ".stdout",
                ]


def _inherited(tmp_path: Path, backend: str, *arguments: str) -> list[list[object]]:
    ended = run("inherited", backend, tmp_path / "home", *arguments)
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_a_program_that_ignores_the_ends_of_its_children_runs_each_job_once(tmp_path: Path, anyio_backend: str) -> None:
    marks = tmp_path / "marks"
    commands = [f"echo {number} >> {marks}" for number in range(50)]
    ends = _inherited(tmp_path, anyio_backend, "ignore", "SIGCHLD", "--", *commands)
    assert ends == [["FINISHED", "", []]] * 50
    assert sorted(map(int, marks.read_text().split())) == list(range(50))


def test_jobs_begin_with_the_signals_of_a_new_process(tmp_path: Path, anyio_backend: str) -> None:
    unusual = ["ignore", "SIGINT", "ignore", "SIGHUP", "ignore", "SIGCHLD", "block", "SIGTERM", "block", "SIGUSR1"]
    ask = "grep -E '^Sig(Blk|Ign)' /proc/self/status"
    ((_, masks, _), (_, ended, _)) = _inherited(
        tmp_path, anyio_backend, *unusual, "--", ask, "(kill -INT $BASHPID; echo not ended)"
    )
    # Numbers from 32 on are the C library's own.
    assert [int(mask, 16) & 0x7FFFFFFF for mask in re.findall(r"\t(\w+)", str(masks))] == [0, 0]
    assert ended == ""


def test_a_job_waits_if_no_descriptor_is_left(tmp_path: Path, anyio_backend: str) -> None:
    ends = _inherited(tmp_path, anyio_backend, "descriptors", "40", "--", *["sleep 0.1; echo done"] * 60)
    assert ends == [["FINISHED", "done\n", []]] * 60
