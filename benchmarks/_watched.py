"""A `FakeGrid` over TLS in a process of its own, with many jobs that wait, and change when they are told to.

Run as a program it is the server, obeying lines of JSON on its standard input; `WatchedServer` is the other end.
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

    from aiomig.testing import RecordedRequest

_READ = 1 << 16
_LOOK = 0.02


class WatchedServer:
    """The server, while the context is open.

    Times are those of `time.monotonic`, which all processes of a machine share. The process is started and heard
    without the event loop's own means, for asyncio waits for processes in a thread, and this one's are counted. For the
    same reason the server is found by its address: asyncio looks up names in a thread.

    Args:
        count: jobs that it has.
    """

    def __init__(self, count: int) -> None:
        self._command = [sys.executable, __file__, str(count)]
        self._process: subprocess.Popen[bytes]
        self._heard = bytearray()
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
        with self._process:  # which closes its input, at whose end it ends
            pass

    async def _read(self) -> Any:
        assert self._process.stdout is not None
        number = self._process.stdout.fileno()
        while not self._heard.endswith(b"\n"):
            await anyio.wait_readable(number)
            data = os.read(number, _READ)
            if not data:
                raise RuntimeError("the server has ended")
            self._heard += data
        line = bytes(self._heard)
        self._heard.clear()
        return json.loads(line)

    async def _ask(self, **order: object) -> Any:
        async with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
            return await self._read()

    async def asked(self, ids: int) -> dict[str, float]:
        """Waits until ``jobstatus`` was asked for so many ids from now on; an id counts each time it is asked for.

        Returns:
            ``requests`` and ``ids`` that were asked, and the median ``interval`` between two looks at a job.
        """
        found: dict[str, float] = await self._ask(do="asked", ids=ids)
        return found

    async def change(self, count: int, seconds: float) -> dict[str, float]:
        """Lets so many jobs begin to execute, at random moments of so many seconds; the moment of each."""
        found: dict[str, float] = await self._ask(do="change", count=count, seconds=seconds)
        return found


# -- the server


async def _serve(count: int) -> None:
    async with FakeGrid() as grid, grid.serve("127.0.0.1") as address:
        grid.hold()
        files = {name: str(getattr(address, name)) for name in ("url", "ca", "certificate", "key")}
        async with aiomig.grid(**files, transport=grid.transport()) as mig:  # type: ignore[arg-type]
            ids = [job.id for job in await mig.submit_many(["true"] * count)]
        _say({**files, "ids": ids})
        waiting = random.Random(7).sample(ids, len(ids))
        pending = b""
        while True:
            await anyio.wait_readable(sys.stdin.fileno())
            data = os.read(sys.stdin.fileno(), _READ)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                _say(await _obey(grid, waiting, json.loads(line)))


def _say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def _obey(grid: FakeGrid, waiting: list[str], order: dict[str, Any]) -> object:
    if order["do"] == "asked":
        return await _asked(grid, order["ids"], len(grid.jobs))
    return await _change(grid, waiting, order["count"], order["seconds"])


async def _asked(grid: FakeGrid, ids: int, jobs: int) -> dict[str, float]:
    grid.requests.clear()
    began = time.monotonic()
    seen = total = 0
    while total < ids:
        await anyio.sleep(_LOOK)
        total += sum(len(_ids(each)) for each in grid.requests[seen:])
        seen = len(grid.requests)
    # Where no job came up twice, the pace says how long it takes until one does.
    interval = _interval(grid.requests) if total > jobs else (time.monotonic() - began) * jobs / total
    return {"requests": grid.count("jobstatus"), "ids": total, "interval": interval}


def _ids(request: RecordedRequest) -> tuple[str, ...]:
    return request.parameters.get("job_id", ()) if request.operation == "jobstatus" else ()


def _interval(requests: list[RecordedRequest]) -> float:
    looks: dict[str, list[float]] = {}
    for request in requests:
        for job_id in _ids(request):
            looks.setdefault(job_id, []).append(request.at)
    gaps = [later - sooner for times in looks.values() for sooner, later in pairwise(times)]
    return statistics.median(gaps) if gaps else 0.0


async def _change(grid: FakeGrid, waiting: list[str], count: int, seconds: float) -> dict[str, float]:
    began = time.monotonic()
    moments = sorted(began + random.uniform(0, seconds) for _ in range(min(count, len(waiting))))
    changed: dict[str, float] = {}
    for moment in moments:
        await anyio.sleep(max(0.0, moment - time.monotonic()))
        job_id = waiting.pop()
        changed[job_id] = time.monotonic()
        grid.job(job_id).executing()
    return changed


if __name__ == "__main__":
    anyio.run(_serve, int(sys.argv[1]))
