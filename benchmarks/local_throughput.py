"""Measures how fast local mode runs 1,000 jobs of `true`, compared with a bare loop that runs the same scripts.

Rounds are interleaved, each measurement runs in its own process, and medians are compared. So other programs on the
machine affect all ways equally. Exits with 1 if a figure misses its target.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any

import anyio
import health
import runners
from _figures import Verdicts

WAYS = ("floor", "aiomig", "run_process", "parsl", "psij")
OPTIONAL = ("parsl", "psij")


def measured(*arguments: str) -> Any:
    """Run a measurement in a new process, and return its result."""
    command = [sys.executable, __file__, "--measure", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str, backend: str, count: int) -> Any:
    """Run a measurement in this process."""
    if name == "health":
        return anyio.run(health.health, count, backend=backend)
    if name == "latency":
        return anyio.run(health.latency, count, backend=backend)
    return runners.run(name, backend, count)


def throughput(options: argparse.Namespace) -> dict[str, list[float]]:
    """Return the seconds of each way and backend in each round."""
    ways = [
        (way, backend)
        for way in WAYS
        if way not in OPTIONAL or importlib.util.find_spec(way)
        for backend in (options.backends if way in runners.ASYNCHRONOUS else ["-"])
    ]
    times: dict[str, list[float]] = {label(*way): [] for way in ways}
    for _ in range(options.rounds):
        for way, backend in ways:
            times[label(way, backend)].append(measured(way, backend, str(options.jobs)))
    return times


def label(way: str, backend: str) -> str:
    return way if backend == "-" else f"{way} ({backend})"


def main(options: argparse.Namespace) -> int:
    times = throughput(options)
    base = times["floor"]
    print(f"{options.jobs} jobs of `true`, {runners.SLOTS} at once, medians of {options.rounds} interleaved rounds")
    print(f"{'':<24}{'seconds':>9}{'jobs/s':>9}{'of the floor':>14}")
    ratios = {}
    for name, seconds in times.items():
        # Compare with the floor of the same round, because the load of the machine changes between rounds.
        ratios[name] = statistics.median(floor / way for floor, way in zip(base, seconds, strict=True))
        median = statistics.median(seconds)
        print(f"{name:<24}{median:>9.3f}{options.jobs / median:>9.0f}{ratios[name]:>14.2f}")
    print()
    verdicts = Verdicts()
    for backend in options.backends:
        verdicts.judge(f"throughput ({backend})", ratios[label("aiomig", backend)], "", least=0.75)
    for backend in options.backends:
        figures = measured("health", backend, str(options.jobs))
        latency = measured("latency", backend, str(options.single))
        verdicts.judge(f"one job beyond its run time ({backend})", latency["beyond ms"], "ms", 5)
        verdicts.judge(f"peak memory ({backend})", figures["peak MiB"], "MiB", 45)
        verdicts.judge(f"threads ({backend})", figures["threads"], "", 1)
        verdicts.judge(f"worst stall of the loop ({backend})", figures["stall ms"], "ms", 20)
        verdicts.note("  without waiting for a core", figures["own stall ms"], "ms")
    return int(verdicts.failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000, help="jobs per run (default: %(default)s)")
    parser.add_argument("--single", type=int, default=200, help="jobs for the latency (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds (default: %(default)s)")
    parser.add_argument("--backends", nargs="+", default=["asyncio", "trio"], choices=["asyncio", "trio"])
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, backend, count = options.measure
        print(json.dumps(measure(name, backend, int(count))))
    else:
        with tempfile.TemporaryDirectory(prefix="aiomig-benchmark-") as folder:
            os.environ[runners.KEPT] = folder
            sys.exit(main(options))
