"""A `FakeGrid` over TLS in its own process, with many waiting jobs that change on command.

Run as a program, this module is the server, which reads commands as JSON lines from standard input. `WatchedServer`
starts it.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio

import aiomig
from aiomig.testing import FakeGrid

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_READ = 1 << 16


class WatchedServer:
    """Runs the server while its context is open.

    All times come from `time.monotonic`, which all processes of a machine share. The benchmarks count threads, and
    asyncio uses threads to wait for a process and to resolve host names. Therefore this class reads the pipe directly,
    and the server has a numeric address.

    Args:
        count: the number of jobs.
    """

    def __init__(self, count: int) -> None:
        self._command = [sys.executable, __file__, str(count)]
        self._process: subprocess.Popen[bytes]
        self._received = bytearray()
        self._lock = anyio.Lock()
        self.url = self.ca = self.certificate = self.key = ""
        self.ids: list[str] = []

    async def __aenter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name, value in (await self._read()).items():
            setattr(self, name, value)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:  # closes its input, and the server ends
            pass

    async def _read(self) -> Any:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while not self._received.endswith(b"\n"):
            await anyio.wait_readable(descriptor)
            data = os.read(descriptor, _READ)
            if not data:
                raise RuntimeError("the server has ended")
            self._received += data
        line = bytes(self._received)
        self._received.clear()
        return json.loads(line)

    async def _call(self, **command: object) -> Any:
        async with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
            return await self._read()

    async def polls(self) -> dict[str, float]:
        """Return the numbers of status ``requests`` and of ``ids`` in them since the last call, and the ``interval``.

        The interval is the median time between two requests for the same job in seconds, or 0 if there were none.
        """
        figures: dict[str, float] = await self._call(do="polls")
        return figures

    async def change(self, count: int, seconds: float) -> dict[str, float]:
        """Start jobs at random times within some seconds. Return the time of each start by job id."""
        times: dict[str, float] = await self._call(do="change", count=count, seconds=seconds)
        return times


# -- the server


async def _serve(count: int) -> None:
    async with FakeGrid() as grid, grid.serve("127.0.0.1") as address:
        grid.hold()
        files = {name: str(getattr(address, name)) for name in ("url", "ca", "certificate", "key")}
        async with aiomig.grid(**files, transport=grid.transport()) as mig:  # type: ignore[arg-type]
            ids = [job.id for job in await mig.submit_many(["true"] * count)]
        _print({**files, "ids": ids})
        waiting = random.Random(7).sample(ids, len(ids))
        grid.requests.clear()
        pending = b""
        while True:
            await anyio.wait_readable(sys.stdin.fileno())
            data = os.read(sys.stdin.fileno(), _READ)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                command = json.loads(line)
                if command["do"] == "polls":
                    _print(_polls(grid))
                else:
                    _print(await _change(grid, waiting, command["count"], command["seconds"]))


def _print(reply: object) -> None:
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


def _polls(grid: FakeGrid) -> dict[str, float]:
    requests = [request for request in grid.requests if request.operation == "jobstatus"]
    grid.requests.clear()
    times: dict[str, list[float]] = {}
    for request in requests:
        for job_id in request.parameters.get("job_id", ()):
            times.setdefault(job_id, []).append(request.at)
    gaps = [later - sooner for job_times in times.values() for sooner, later in pairwise(job_times)]
    return {
        "requests": len(requests),
        "ids": sum(map(len, times.values())),
        "interval": statistics.median(gaps) if gaps else 0.0,
    }


async def _change(grid: FakeGrid, waiting: list[str], count: int, seconds: float) -> dict[str, float]:
    began = time.monotonic()
    start_times = sorted(began + random.uniform(0, seconds) for _ in range(min(count, len(waiting))))
    changed: dict[str, float] = {}
    for start_time in start_times:
        await anyio.sleep(max(0.0, start_time - time.monotonic()))
        job_id = waiting.pop()
        changed[job_id] = time.monotonic()
        grid.job(job_id).executing()
    return changed


if __name__ == "__main__":
    anyio.run(_serve, int(sys.argv[1]))
