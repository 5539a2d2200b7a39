"""Measures the cost of local mode for a program: memory, threads, stalls of the event loop, latency."""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import anyio
from runners import SLOTS, Script, fresh_folder

import aiomig

BEAT = 0.002


@dataclass
class Heartbeat:
    """Sleeps repeatedly for a short time, and records the longest delay of a wake-up.

    If all cores are busy with jobs, the program may be ready to run but wait for a core. Linux counts that time, so it
    can be subtracted.

    Attributes:
        worst: the longest delay in seconds.
        worst_without_core: the longest delay without the time spent waiting for a core.
        threads: the largest number of threads.
    """

    worst: float = 0.0
    worst_without_core: float = 0.0
    threads: int = 1

    async def beat(self) -> None:
        while True:
            began, waited = time.perf_counter(), core_wait()
            await anyio.sleep(BEAT)
            late = time.perf_counter() - began - BEAT
            self.worst = max(self.worst, late)
            self.worst_without_core = max(self.worst_without_core, late - (core_wait() - waited))
            self.threads = max(self.threads, thread_count())


def core_wait() -> float:
    """Return the seconds that this thread has been ready to run but waiting for a core."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text("ascii").split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def thread_count() -> int:
    """Return the number of threads of this process."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 1


def memory(field: str) -> int:
    """Return a memory field of ``/proc/self/status`` in KiB.

    VmHWM is the peak. getrusage is not usable, because a child process inherits the peak of its parent.
    """
    for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {field}; the benchmarks need Linux")


async def health(count: int) -> dict[str, float]:
    """Run many jobs and wait for them. Return peak memory in MiB, threads, and the worst stall in milliseconds."""
    heart = Heartbeat()
    with fresh_folder() as home:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(heart.beat)
            async with aiomig.local(home / "home", slots=SLOTS) as mig:
                await mig.wait([await mig.submit("true") for _ in range(count)])
            tasks.cancel_scope.cancel()
    return {
        "peak MiB": memory("VmHWM") / 1024,
        "threads": heart.threads,
        "stall ms": heart.worst * 1e3,
        "own stall ms": heart.worst_without_core * 1e3,
    }


async def latency(count: int) -> dict[str, float]:
    """Time a job from submit to result, and the same script alone, alternately. Return medians in milliseconds."""
    jobs, bare = [], []
    null = os.open(os.devnull, os.O_RDWR)
    with fresh_folder() as base:
        async with aiomig.local(base / "home", slots=SLOTS) as mig:
            for number in range(count):
                began = time.perf_counter()
                await (await mig.submit("true"))
                jobs.append(time.perf_counter() - began)
                began = time.perf_counter()
                os.waitpid(Script(base, number).spawn(null), 0)
                bare.append(time.perf_counter() - began)
        os.chdir("/")
    os.close(null)
    job, alone = statistics.median(jobs) * 1e3, statistics.median(bare) * 1e3
    return {"job ms": job, "bare ms": alone, "beyond ms": job - alone}
