"""Measures the cost of watching many jobs of a grid at the default polling rate.

The grid is a `FakeGrid` over TLS in another process, and each measurement runs in its own process. The way ``watch`` is
one loop over ``session.watch(jobs)``; ``tasks`` is a task with its own loop for each job. Exits with 1 if a figure of
``watch`` misses its target. The share of a core is the client's CPU time divided by the time of watching. Stalls are
judged without the time spent waiting for a core, because the server occupies one.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import health
from _figures import Verdicts, machine
from _watched import WatchedServer

import aiomig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

WARM = 250
CHANGES = 400
CHANGING = 30.0
WAYS = ("watch", "tasks")


@dataclass
class Received:
    """The statuses that the watchers received.

    Attributes:
        jobs: the ids of all jobs with a status.
        executing: the time at which each job was first reported as EXECUTING.
    """

    jobs: set[str] = field(default_factory=set)
    executing: dict[str, float] = field(default_factory=dict)

    async def record(self, statuses: aiomig.Watch) -> None:
        async for status in statuses:
            self.jobs.add(status.job_id)
            if status.state == aiomig.JobState.EXECUTING:
                self.executing.setdefault(status.job_id, time.monotonic())


async def follow(mig: aiomig.Session, way: str, ids: Sequence[str], received: Received) -> None:
    if way == "watch":
        await received.record(mig.watch(ids))
        return
    async with anyio.create_task_group() as tasks:
        for job_id in ids:
            tasks.start_soon(received.record, mig.watch(job_id))
            await anyio.lowlevel.checkpoint()  # the tasks start one by one, like requests to a service


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await anyio.sleep(0.05)


@asynccontextmanager
async def heartbeat() -> AsyncIterator[health.Heartbeat]:
    """Measure stalls of the event loop during the block."""
    heart = health.Heartbeat()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(heart.beat)
        yield heart
        tasks.cancel_scope.cancel()


def memory() -> int:
    """Return the memory of this process in KiB after a garbage collection."""
    gc.collect()
    return health.memory("VmRSS")


async def measure(way: str, count: int, seconds: float) -> dict[str, float]:
    """Run a measurement in this process."""
    async with (
        WatchedServer(count) as server,
        aiomig.grid(url=server.url, certificate=server.certificate, key=server.key, ca=server.ca) as mig,
    ):
        async with anyio.create_task_group() as tasks:  # a warm-up excludes one-time costs
            warmup, ids = Received(), server.ids[:WARM]
            tasks.start_soon(follow, mig, way, ids, warmup)
            await until(lambda: len(warmup.jobs) == len(ids))
            tasks.cancel_scope.cancel()
        return await watched(server, mig, way, seconds)


async def watched(server: WatchedServer, mig: aiomig.Session, way: str, seconds: float) -> dict[str, float]:
    count, received = len(server.ids), Received()
    await server.polls()
    before = memory()
    async with anyio.create_task_group() as tasks:
        async with heartbeat() as start:
            tasks.start_soon(follow, mig, way, server.ids, received)
            await until(lambda: len(received.jobs) == count)
        first = await server.polls()
        cpu, began = time.process_time(), time.monotonic()
        await anyio.sleep(seconds)
        share = (time.process_time() - cpu) / (time.monotonic() - began)
        polls = await server.polls()
        growth = memory() - before
        async with heartbeat() as heart:
            changed = await server.change(CHANGES, CHANGING)
            await until(lambda: received.executing.keys() >= changed.keys())
        tasks.cancel_scope.cancel()
    later = await server.polls()
    delays = [received.executing[job_id] - changed_at for job_id, changed_at in changed.items()]
    return {
        "first": first["requests"],
        "requests": polls["requests"] * count / polls["ids"],
        "interval": polls["interval"],
        "share": share * 100,
        "memory": growth / count,
        "threads": max(start.threads, heart.threads),
        "start": start.worst * 1e3,
        "own start": start.worst_without_core * 1e3,
        "stall": heart.worst * 1e3,
        "own stall": heart.worst_without_core * 1e3,
        "delay": statistics.median(delays),
        "worst delay": max(delays),
        "delay share": statistics.median(delays) / (later["interval"] or polls["interval"]),
    }


# -- all measurements

ROWS = (
    ("first", "requests until all statuses are known", "{:.0f}"),
    ("requests", "requests a round", "{:.1f}"),
    ("interval", "seconds between two requests for a job", "{:.2f}"),
    ("share", "client CPU, % of a core", "{:.2f}"),
    ("memory", "KiB a watched job", "{:.2f}"),
    ("threads", "threads", "{:.0f}"),
    ("start", "worst stall of the loop at start, ms", "{:.1f}"),
    ("own start", "  without waiting for a core, ms", "{:.1f}"),
    ("stall", "worst stall of the loop later, ms", "{:.1f}"),
    ("own stall", "  without waiting for a core, ms", "{:.1f}"),
    ("delay", "median seconds from change to wake", "{:.2f}"),
    ("worst delay", "  worst", "{:.2f}"),
    ("delay share", "  median / interval", "{:.2f}"),
)


def measured(way: str, backend: str, count: int, seconds: float) -> dict[str, float]:
    """Run a measurement in a new process, and return its result."""
    arguments = [way, backend, str(count), str(seconds)]
    done = subprocess.run([sys.executable, __file__, "--measure", *arguments], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def judge(verdicts: Verdicts, count: int, figures: dict[str, float]) -> None:
    verdicts.judge(f"{count} jobs: client CPU", figures["share"], "% of a core", 2)
    verdicts.judge(f"{count} jobs: requests a round", round(figures["requests"], 1), "", max(1.0, count / 2000))
    if count >= 1000:  # with fewer jobs, the allocator's pages matter more than the jobs
        verdicts.judge(f"{count} jobs: memory of a watched job", figures["memory"], "KiB", 4)
    verdicts.judge(f"{count} jobs: threads", figures["threads"], "", 1)
    verdicts.judge(f"{count} jobs: worst stall of the loop at start", figures["own start"], "ms", 50)
    verdicts.judge(f"{count} jobs: worst stall of the loop later", figures["own stall"], "ms", 50)
    verdicts.judge(f"{count} jobs: median delay / interval", figures["delay share"], "", 0.6)


def main(options: argparse.Namespace) -> int:
    print(machine())
    print(f"FakeGrid over TLS in another process, watched for {options.seconds:g} s at the default pace")
    verdicts = Verdicts()
    for backend in options.backends:
        for count in options.jobs:
            figures = {way: measured(way, backend, count, options.seconds) for way in options.ways}
            print(f"\n{f'{count} jobs ({backend})':<44}" + "".join(f"{way:>12}" for way in figures))
            for name, label, form in ROWS:
                print(f"{label:<44}" + "".join(f"{form.format(row[name]):>12}" for row in figures.values()))
            if "watch" in figures:
                judge(verdicts, count, figures["watch"])
            sys.stdout.flush()
    return int(verdicts.failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=[100, 1000, 10_000], help="watched jobs (%(default)s)")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of watching (default: %(default)s)")
    parser.add_argument("--backends", nargs="+", default=["asyncio"], choices=["asyncio", "trio"])
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        way, backend, count, seconds = options.measure
        print(json.dumps(anyio.run(measure, way, int(count), float(seconds), backend=backend)))
    else:
        sys.exit(main(options))
