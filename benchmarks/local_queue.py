"""Measures a long queue in local mode: submit rate, memory per waiting job, listing, reopening.

A sleeping job takes the only slot, so all other jobs wait. Each measurement runs in its own process. Exits with 1 if a
figure misses its target.
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
from _figures import Verdicts

import aiomig


async def fill(home: str, count: int, *, keep: bool) -> dict[str, float]:
    """Submit jobs one by one and leave them waiting. Keep the `Job` objects, or drop them."""
    async with aiomig.local(home, slots=1, on_exit="leave") as mig:
        kept = [await mig.submit("sleep 86400")]
        gc.collect()
        before = health.memory("VmRSS")
        began = time.perf_counter()
        for _ in range(count):
            job = await mig.submit("true")
            if keep:
                kept.append(job)
        seconds = time.perf_counter() - began
        gc.collect()
        growth = health.memory("VmRSS") - before
    return {"jobs/s": count / seconds, "KiB a job": growth / count}


async def reopen(home: str) -> dict[str, float]:
    """Open a home with a full queue, list all jobs and the newest jobs, and cancel all jobs."""
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
        raise RuntimeError("a waiting job was not cancelled")
    return {
        "jobs": len(jobs),
        "open s": opened - began,
        "list s": listed - opened,
        "newest s": newest - listed,
        "cancel s": cancelled - newest,
    }


def measured(*arguments: str) -> Any:
    """Run a measurement in a new process, and return its result."""
    command = [sys.executable, __file__, "--measure", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def measure(what: str, home: str, backend: str, count: str) -> dict[str, float]:
    """Run a measurement in this process."""
    if what == "reopen":
        return anyio.run(reopen, home, backend=backend)

    async def filled() -> dict[str, float]:
        return await fill(home, int(count), keep=what == "keep")

    return anyio.run(filled, backend=backend)


def main(options: argparse.Namespace) -> int:
    print(f"{options.jobs} jobs wait in one queue")
    verdicts = Verdicts()
    for backend in options.backends:
        for what, label in (("keep", "Job objects kept"), ("drop", "Job objects dropped")):
            with runners.fresh_folder() as folder:
                home = str(folder / "home")
                filled = measured(what, home, backend, str(options.jobs))
                again = measured("reopen", home, backend, "0")
            print(f"\n{backend}, {label}")
            verdicts.note("submit", filled["jobs/s"], "jobs/s")
            verdicts.judge("memory of a job", filled["KiB a job"], "KiB", 2)
            verdicts.judge("jobs found in the home again", again["jobs"], "", least=options.jobs + 1)
            verdicts.note("open the home", again["open s"], "s")
            verdicts.note("list all", again["list s"], "s")
            verdicts.note("list the newest 100", again["newest s"], "s")
            verdicts.note("cancel all", again["cancel s"], "s")
    return int(verdicts.failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000, help="number of waiting jobs (default: %(default)s)")
    parser.add_argument("--backends", nargs="+", default=["asyncio"], choices=["asyncio", "trio"])
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure)))
    else:
        sys.exit(main(options))
