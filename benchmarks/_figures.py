"""What the benchmarks of the grid share: the machine they ran on, their verdicts, and a cost meter."""

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
    """One line on what the figures were made on; other work on the machine shows in every one of them."""
    load = "/".join(f"{each:.1f}" for each in os.getloadavg())
    return (
        f"machine: {os.cpu_count()} cores shared by client, server and whatever else ran (load {load}), "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"anyio {version('anyio')}, httpx {version('httpx')}; times are noisy, counts are not"
    )


class Verdicts:
    """Figures against what they shall be."""

    def __init__(self) -> None:
        self.failed = False

    def say(self, what: str, value: float, unit: str, most: float) -> None:
        """Prints a figure and whether it is low enough."""
        good = value <= most
        self.failed |= not good
        print(f"{'PASS' if good else 'FAIL'}  {what:<44}{value:>9.3g} {unit:<9} (<= {most:g})")

    @staticmethod
    def note(what: str, value: float, unit: str) -> None:
        """Prints a figure that has no bound."""
        print(f"      {what:<44}{value:>9.3g} {unit}")


@dataclass
class Cost:
    """What something took.

    Attributes:
        seconds: by the clock.
        cpu: seconds of this process's processor time.
        counts: requests by operation.
        connections: TLS connections that were made.
    """

    seconds: float
    cpu: float
    counts: Counter[str]
    connections: int

    @property
    def requests(self) -> int:
        """Requests of all operations."""
        return self.counts.total()

    def row(self, name: str) -> str:
        """A line of the table under `HEAD`."""
        each = self.cpu / max(self.requests, 1) * 1e3
        return f"{name:<28}{self.requests:>9}{self.connections:>13}{self.seconds:>10.2f}{self.cpu:>10.2f}{each:>16.2f}"

    def detail(self) -> str:
        """The requests by operation."""
        return ", ".join(f"{operation} {count}" for operation, count in self.counts.most_common())


HEAD = f"{'':<28}{'requests':>9}{'connections':>13}{'seconds':>10}{'CPU s':>10}{'CPU ms/request':>16}"


class Meter:
    """Measures the block of `metered`."""

    cost: Cost


@asynccontextmanager
async def metered(server: ServerProcess) -> AsyncIterator[Meter]:
    """Measures what a client in this process does to a server in another."""
    meter = Meter()
    counts, connections = await server.counts(), await server.connections()
    began, cpu = time.perf_counter(), time.process_time()
    yield meter
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    with anyio.CancelScope(shield=True):
        meter.cost = Cost(seconds, used, await server.counts() - counts, await server.connections() - connections)
