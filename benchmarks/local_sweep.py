"""Measures the memory of a long sweep in local mode. Exits with 1 if the memory grows."""

from __future__ import annotations

import argparse
import gc
import sys
import time

import anyio
import health
from _figures import Verdicts, machine
from runners import SLOTS, fresh_folder

import aiomig

SAMPLES = 10


async def sweep(count: int, in_flight: int) -> list[tuple[int, float, float]]:
    """Run a sweep. Return ten samples of the number of ended jobs, the memory in MiB and the elapsed seconds."""
    samples: list[tuple[int, float, float]] = []
    with fresh_folder() as folder:
        async with aiomig.local(folder / "home", slots=SLOTS) as mig:
            began, ended = time.perf_counter(), 0
            parameters = ({"NUMBER": str(number)} for number in range(count))
            async for job in mig.sweep("echo $NUMBER", parameters, in_flight=in_flight):
                if not (await job.result()).ok:
                    raise RuntimeError(f"{job} failed")
                ended += 1
                if ended % (count // SAMPLES) == 0:
                    gc.collect()
                    samples.append((ended, health.memory("VmRSS") / 1024, time.perf_counter() - began))
    return samples


def main(options: argparse.Namespace) -> int:
    print(machine())
    samples = anyio.run(sweep, options.jobs, options.in_flight, backend=options.backend)
    print(f"{options.jobs} jobs by sweep(in_flight={options.in_flight}), {SLOTS} at once, {options.backend}")
    for ended, memory, seconds in samples:
        print(f"{ended:>8} ended  {memory:>7.1f} MiB  {ended / seconds:>6.0f} jobs/s")
    verdicts = Verdicts()
    # The first fifth fills the caches of the interpreter and of SQLite.
    verdicts.judge("growth from a fifth of the jobs to the end", samples[-1][1] - samples[1][1], "MiB", 1.0)
    verdicts.judge("memory at the end", samples[-1][1], "MiB", 50.0)
    return int(verdicts.failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000, help="number of jobs (default: %(default)s)")
    parser.add_argument("--in-flight", type=int, default=100, help="jobs at once (default: %(default)s)")
    parser.add_argument("--backend", default="asyncio", choices=["asyncio", "trio"])
    sys.exit(main(parser.parse_args()))
