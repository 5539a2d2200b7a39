"""Helpers of the benchmarks: a description of the machine, figures compared with their targets, a cost meter."""

from __future__ import annotations

import os
import platform
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator

    from aiomig.testing import ServerProcess


def machine() -> str:
    """Describe the machine and its load in one line. Other programs on the machine affect every figure."""
    load = "/".join(f"{average:.1f}" for average in os.getloadavg())
    return (
        f"machine: {os.cpu_count()} cores shared by the client, server and other programs (load {load}), "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"anyio {version('anyio')}, httpx {version('httpx')}; times are noisy, counts are not"
    )


class Verdicts:
    """Prints figures and compares them with their targets.

    Attributes:
        failed: whether a figure missed its target.
    """

    def __init__(self) -> None:
        self.failed = False

    def judge(
        self, name: str, value: float, unit: str, most: float | None = None, *, least: float | None = None
    ) -> None:
        """Print a figure, and whether it reaches its target: at most ``most``, or at least ``least``."""
        passed = (most is None or value <= most) and (least is None or value >= least)
        self.failed |= not passed
        target = f"<= {most:g}" if most is not None else f">= {least:g}"
        print(f"{'PASS' if passed else 'FAIL'}  {name:<44}{_number(value):>9} {unit:<9} ({target})")

    @staticmethod
    def note(name: str, value: float, unit: str) -> None:
        """Print a figure without a target."""
        print(f"      {name:<44}{_number(value):>9} {unit}")


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


@dataclass
class Cost:
    """The cost of a measured block.

    Attributes:
        seconds: wall time.
        cpu: CPU time of this process in seconds.
        counts: requests by operation.
        connections: new TLS connections.
    """

    seconds: float
    cpu: float
    counts: Counter[str]
    connections: int

    @property
    def requests(self) -> int:
        """The number of requests."""
        return self.counts.total()

    def row(self, name: str) -> str:
        """Return a row of the table with the heading `HEAD`."""
        milliseconds = self.cpu / max(self.requests, 1) * 1e3
        return (
            f"{name:<28}{self.requests:>9}{self.connections:>13}{self.seconds:>10.2f}{self.cpu:>10.2f}"
            f"{milliseconds:>16.2f}"
        )

    def detail(self) -> str:
        """Return the number of requests for each operation as text."""
        return ", ".join(f"{operation} {count}" for operation, count in self.counts.most_common())


HEAD = f"{'':<28}{'requests':>9}{'connections':>13}{'seconds':>10}{'CPU s':>10}{'CPU ms/request':>16}"


class Meter:
    """The cost of a `metered` block, available after its end."""

    cost: Cost


@asynccontextmanager
async def metered(server: ServerProcess) -> AsyncIterator[Meter]:
    """Measure the requests that a client in this process sends to a server process."""
    meter = Meter()
    counts, connections = await server.counts(), await server.connections()
    began, began_cpu = time.perf_counter(), time.process_time()
    yield meter
    seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    with anyio.CancelScope(shield=True):
        meter.cost = Cost(seconds, cpu, await server.counts() - counts, await server.connections() - connections)
