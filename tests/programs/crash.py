"""Submits jobs and is killed: ``crash.py HOME LOGS BACKEND JOBS MOMENT``.

MOMENT is ``printed:K``, ``started:K`` or ``ended:K`` (when the K-th id is printed, or the K-th job is reported as begun
or ended), ``job:K`` (the K-th job kills this program, and keeps running), or ``before:POINT:K`` and
``after:POINT:K`` (around the K-th call of a point of `tests.unit.local.points`). Prints the id of each job at once.
"""

from __future__ import annotations

import os
import shlex
import sys

import anyio

import aiomig
from tests.programs.mines import Countdown, lay


def commands(number: int, logs: str, kind: str, count: int) -> list[str]:
    """Return the commands of job ``number``: they add a line to its log, and write an output."""
    log = shlex.quote(f"{logs}/{number}")
    lines = [f"echo run >> {log}", f"echo {number}", f"cat in.txt > out.txt; echo {number} >> out.txt"]
    if number % 2:
        lines.insert(0, "echo input > in.txt")
    if kind == "job" and number == count - 1:
        lines.insert(0, f"kill -KILL {os.getpid()}")
    return lines


async def main(home: str, logs: str, jobs: int, kind: str, count: int) -> None:
    tick = Countdown(count if kind in ("printed", "started", "ended") else 0)
    async with aiomig.local(home, slots=2) as mig:
        made: list[aiomig.Job] = []
        for number in range(jobs):
            job = await mig.submit(
                commands(number, logs, kind, count),
                inputs=[] if number % 2 else [(b"input\n", "in.txt")],  # jobs without inputs start on another path
                outputs=["out.txt"],
                name=str(number),
            )
            made.append(job)
            os.write(1, f"{job.id}\n".encode())
            if kind == "printed":
                tick()
        begun: set[str] = set()
        async for status in mig.watch(made):
            if kind == "started" and status.state is not aiomig.JobState.QUEUED and status.job_id not in begun:
                begun.add(status.job_id)
                tick()
            if kind == "ended" and status.state.is_final:
                tick()


if __name__ == "__main__":
    home, logs, backend, jobs, moment = sys.argv[1:]
    kind, *rest = moment.split(":")
    if kind in ("before", "after"):
        lay(moment)
    anyio.run(main, home, logs, int(jobs), kind, int(rest[-1]), backend=backend)
