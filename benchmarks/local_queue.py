"""What a long queue costs in local mode: the rate of submitting, memory per waiting job, listing, opening again.

The one slot is taken by a job that sleeps, so that all others wait. Each figure comes from a process of its own that
does nothing else. Exits with 1 where a figure is not reached.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from typing import Any

import anyio
import health
import runners

import aiomig


async def fill(home: str, count: int, *, keep: bool) -> dict[str, float]:
    """Submits so many jobs one by one, and leaves them waiting; with the `Job` objects kept, or let go."""
    async with aiomig.local(home, slots=1, on_exit="leave") as mig:
        kept = [await mig.submit("sleep 86400")]
        gc.collect()
        before = health.memory("VmRSS")
        began = time.perf_counter()
        for _ in range(count):
            job = await mig.submit("true")
            if keep:
                kept.append(job)
        took = time.perf_counter() - began
        gc.collect()
        grown = health.memory("VmRSS") - before
    return {"jobs/s": count / took, "KiB a job": grown / count}


async def reopen(home: str) -> dict[str, float]:
    """Opens a home whose queue is full, lists all jobs and the newest, and cancels them all."""
    began = time.perf_counter()
    async with aiomig.local(home, slots=1, on_exit="leave") as mig:
        opened = time.perf_counter()
        jobs = await mig.jobs()
        listed = time.perf_counter()
        await mig.jobs(newest=100)
        newest = time.perf_counter()
        outcomes = await mig.cancel(jobs)
        cancelled = time.perf_counter()
    if not all(outcome.changed for outcome in outcomes.values()):
        raise RuntimeError("a job that waited could not be cancelled")
    return {
        "jobs": len(jobs),
        "open s": opened - began,
        "list s": listed - opened,
        "newest s": newest - listed,
        "cancel s": cancelled - newest,
    }


def measured(*arguments: str) -> Any:
    """What this program says of one measurement, made in a process of its own."""
    command = [sys.executable, __file__, "--measure", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def measure(what: str, home: str, backend: str, count: str) -> dict[str, float]:
    """One measurement, in this process."""
    if what == "reopen":
        return anyio.run(reopen, home, backend=backend)

    async def filled() -> dict[str, float]:
        return await fill(home, int(count), keep=what == "keep")

    return anyio.run(filled, backend=backend)


def main(options: argparse.Namespace) -> int:
    print(f"{options.jobs} jobs that wait in one queue")
    good = True
    for backend in options.backends:
        for what, words in (("keep", "the Job objects kept"), ("drop", "the Job objects let go")):
            with runners.fresh_folder() as folder:
                home = str(folder / "home")
                filled = measured(what, home, backend, str(options.jobs))
                again = measured("reopen", home, backend, "0")
            fits = filled["KiB a job"] <= 2
            good &= fits and again["jobs"] == options.jobs + 1
            print(f"\n{backend}, {words}")
            print(f"  submit            {filled['jobs/s']:>9.0f} jobs/s")
            print(f"  memory            {filled['KiB a job']:>9.2f} KiB a job   {'PASS' if fits else 'FAIL'} (<= 2)")
            for name, label in (
                ("open s", "open the home"),
                ("list s", "list all"),
                ("newest s", "list the newest 100"),
                ("cancel s", "cancel all"),
            ):
                print(f"  {label:<19}{again[name]:>8.3f} s")
    return int(not good)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000, help="jobs that wait (default: %(default)s)")
    parser.add_argument("--backends", nargs="+", default=["asyncio"], choices=["asyncio", "trio"])
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(*given.measure)))
    else:
        sys.exit(main(given))
