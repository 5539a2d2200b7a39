"""How fast local mode runs 1,000 jobs of `true`, beside a bare loop that runs the same scripts, and what it costs.

Rounds are interleaved, each measurement is a process of its own, and medians are compared, so that a machine that
is busy with other things as well disturbs all alike. Exits with 1 where a figure is not reached.
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

WAYS = ("floor", "aiomig", "run_process", "parsl", "psij")
OPTIONAL = ("parsl", "psij")


def measured(*arguments: str) -> Any:
    """What this program says of one measurement, made in a process of its own."""
    command = [sys.executable, __file__, "--measure", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str, backend: str, count: int) -> Any:
    """One measurement, in this process."""
    if name == "health":
        return anyio.run(health.health, count, backend=backend)
    if name == "latency":
        return anyio.run(health.latency, count, backend=backend)
    return runners.run(name, backend, count)


def throughput(options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each way and backend, one a round."""
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


class Verdicts:
    """Figures against what they shall be."""

    def __init__(self) -> None:
        self.failed = False

    def say(self, what: str, value: float, unit: str, *, least: float | None = None, most: float | None = None) -> None:
        good = (least is None or value >= least) and (most is None or value <= most)
        self.failed |= not good
        bound = f">= {least:g}" if least is not None else f"<= {most:g}"
        print(f"{'PASS' if good else 'FAIL'}  {what:<38}{value:>8.3g} {unit:<4} ({bound})")


def main(options: argparse.Namespace) -> int:
    times = throughput(options)
    base = times["floor"]
    print(f"{options.jobs} jobs of `true`, {runners.SLOTS} at once, medians of {options.rounds} interleaved rounds")
    print(f"{'':<24}{'seconds':>9}{'jobs/s':>9}{'of the floor':>14}")
    ratios = {}
    for name, seconds in times.items():
        # Each round's own floor: what else the machine does changes from round to round.
        ratios[name] = statistics.median(bare / each for bare, each in zip(base, seconds, strict=True))
        middle = statistics.median(seconds)
        print(f"{name:<24}{middle:>9.3f}{options.jobs / middle:>9.0f}{ratios[name]:>14.2f}")
    print()
    verdicts = Verdicts()
    for backend in options.backends:
        verdicts.say(f"throughput ({backend})", ratios[label("aiomig", backend)], "", least=0.75)
    for backend in options.backends:
        found = measured("health", backend, str(options.jobs))
        alone = measured("latency", backend, str(options.single))
        verdicts.say(f"one job beyond its run time ({backend})", alone["beyond ms"], "ms", most=5)
        verdicts.say(f"peak memory ({backend})", found["peak MiB"], "MiB", most=45)
        verdicts.say(f"threads ({backend})", found["threads"], "", most=1)
        verdicts.say(f"worst stall of the loop ({backend})", found["stall ms"], "ms", most=20)
        print(f"      {'  without waiting for a core':<38}{found['own stall ms']:>8.3g} ms")
    verdicts.say("import aiomig", health.import_time(9), "s", most=0.15)
    return int(verdicts.failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000, help="jobs a run (default: %(default)s)")
    parser.add_argument("--single", type=int, default=200, help="jobs one by one (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--backends", nargs="+", default=["asyncio", "trio"], choices=["asyncio", "trio"])
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        name, backend, count = given.measure
        print(json.dumps(measure(name, backend, int(count))))
    else:
        with tempfile.TemporaryDirectory(prefix="aiomig-benchmark-") as kept:
            os.environ[runners.KEPT] = kept
            sys.exit(main(given))
