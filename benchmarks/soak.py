"""Uses a session randomly for a long time. Memory, file descriptors, tasks and processes must not grow.

The grid is a `FakeGrid` over TLS in its own process, with occasional faults. Figures are measured while all users
pause; the first third of the time is a warm-up. Exits with 1 if a figure grew.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import anyio
from _figures import Verdicts, machine

import aiomig
from aiomig.testing import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

USERS = 6
MEMORY_SHARE = 0.04
"""The relative growth of memory that counts as noise, because the interpreter's heap is never completely full."""

CONNECTIONS = 8
"""The number of idle connections that a session may keep."""

FAULTS = ("jobstatus", "submitfields", "textarea", "jobaction", "uploadchunked", "cert_redirect", "mkdir")


@dataclass(frozen=True, slots=True)
class Figures:
    """The resources in use during a pause."""

    memory_kib: int
    descriptors: int
    tasks: int
    processes: int

    @classmethod
    def now(cls) -> Figures:
        gc.collect()
        status = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
        memory = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii").split()
        return cls(memory, len(os.listdir("/proc/self/fd")), len(anyio.get_running_tasks()), len(children))


class Users:
    """Tasks that perform random actions and pause on command."""

    def __init__(self, mig: aiomig.Session, folder: Path, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._mig = mig
        self._folder = folder
        self._rng = random.Random(seed)
        self._busy = 0
        self._resumed = anyio.Event()
        self._idle = anyio.Event()
        self._numbers = 0

    async def work(self) -> None:
        """Perform random actions forever."""
        actions: list[Callable[[], Coroutine[Any, Any, object]]] = [
            self.run, self.bulk, self.sweep, self.left_sweep, self.scope, self.given_up, self.transfer,
            self.abandoned_watch, self.follow, self.again, self.look,
        ]  # fmt: skip
        while True:
            await self._resumed.wait()
            self._busy += 1
            action = self._rng.choice(actions)
            try:
                await action()
                self.done[action.__name__] += 1
            except aiomig.MigError as error:
                self.failed[f"{action.__name__}: {type(error).__name__}"] += 1
            finally:
                self._busy -= 1
                if not self._busy:
                    self._idle.set()
            await anyio.sleep(self._rng.expovariate(20))

    async def work_for(self, seconds: float) -> None:
        """Let the users work for some seconds, then pause. Return when all have finished their last action."""
        self._resumed.set()
        await anyio.sleep(seconds)
        self._resumed = anyio.Event()
        while self._busy:
            self._idle = anyio.Event()
            await self._idle.wait()
        await anyio.sleep(0.5)  # let background cancellations finish

    def _command(self) -> str:
        self._numbers += 1
        return f"echo {self._numbers}"

    # -- the actions

    async def run(self) -> None:
        job = await self._mig.submit(self._command(), inputs=[(b"data", "in.txt")], outputs=["out.txt"])
        await job.result(check=False)
        await job.clean()

    async def bulk(self) -> None:
        jobs = await self._mig.submit_many([aiomig.JobSpec(self._command(), inputs=[(b"x", "a")]) for _ in range(10)])
        await self._mig.cancel(jobs[:5])
        await self._mig.wait(jobs)

    async def sweep(self) -> None:
        async for job in self._mig.sweep("echo $N", ({"N": str(n)} for n in range(10)), in_flight=3):
            await job.status()

    async def left_sweep(self) -> None:
        async with self._mig.sweep("echo $N", ({"N": str(n)} for n in range(50)), in_flight=3) as jobs:
            async for _ in jobs:
                break

    async def scope(self) -> None:
        with anyio.move_on_after(self._rng.uniform(0, 0.1)):
            async with self._mig.scope() as jobs:
                for _ in range(3):
                    await jobs.submit(self._command())

    async def given_up(self) -> None:
        with anyio.move_on_after(self._rng.uniform(0, 0.03)):
            await self._mig.submit(self._command(), inputs=[(b"data", "in.txt")], project="mine")
        self._mig.confirm(*await self._mig.unconfirmed())

    async def transfer(self) -> None:
        self._numbers += 1
        name = f"f{self._numbers}"
        content = self._rng.randbytes(self._rng.randrange(1 << 18))
        await self._mig.files.write_bytes(name, content)
        await self._mig.files.get(name, self._folder / name)
        if (self._folder / name).read_bytes() != content:
            raise RuntimeError(f"{name} differs from what was written")
        (self._folder / name).unlink()
        await self._mig.files.ls()
        await self._mig.files.remove(name, missing_ok=True)

    async def abandoned_watch(self) -> None:
        jobs = [await self._mig.submit(self._command()) for _ in range(2)]
        with anyio.move_on_after(self._rng.uniform(0, 0.1)):
            async for _ in self._mig.watch(jobs):
                pass

    async def follow(self) -> None:
        job = await self._mig.submit(self._command())
        async for _ in job.tail("stdout"):
            pass

    async def again(self) -> None:
        job = await self._mig.submit(self._command(), inputs=[(b"data", "in.txt")])
        with suppress(aiomig.ActionRefused):  # the job may be running already
            await job.freeze()
            await job.thaw()
        other = await job.resubmit()
        await self._mig.wait([job, other])

    async def look(self) -> None:
        jobs = await self._mig.submit_many([self._command() for _ in range(3)])
        # By id, not by pattern, because the number of jobs on the server grows.
        for job in await self._mig.jobs(jobs[0].id):
            await job.status()
            await job.plan()
        await self._mig.statuses(jobs)


async def soak(mode: str, minutes: float, seed: int) -> tuple[list[Figures], Users]:
    """Run the users. Return the figures of each pause."""
    figures: list[Figures] = []
    pauses = max(12, round(minutes * 3))
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aiomig-soak-")))
        server: ServerProcess | None = None
        if mode == "grid":
            server = await stack.enter_async_context(ServerProcess(folder / "home", finish_after=0.05))
            session = aiomig.grid(
                url=server.url, certificate=server.certificate, key=server.key, ca=server.ca,
                journal=folder / "journal",
                # Filling the default memory of 10,000 ended jobs takes an hour and would look like growth.
                polling=aiomig.Polling(floor=0.1, ceiling=0.5, requests_a_minute=6000, remembered=100),
            )  # fmt: skip
        else:
            session = aiomig.local(folder / "home", slots=2)
        mig = await stack.enter_async_context(session)
        users = Users(mig, folder, seed)
        rng = random.Random(seed)
        async with anyio.create_task_group() as group:
            for _ in range(USERS):
                group.start_soon(users.work)
            for number in range(pauses):
                if server is not None:
                    kind = rng.choice(["drop", "error", "truncate", "crash", "html"])
                    await server.add_fault(rng.choice(FAULTS), kind, times=2)  # type: ignore[arg-type]
                await users.work_for(minutes * 60 / pauses)
                figures.append(Figures.now())
                print(f"{number + 1:>4}/{pauses}  {figures[-1]}", file=sys.stderr, flush=True)
            group.cancel_scope.cancel()
    return figures, users


def judge(mode: str, figures: list[Figures], verdicts: Verdicts) -> None:
    """Compare the medians of the last third with the medians of the second."""
    third = len(figures) // 3
    before, after = figures[third : 2 * third], figures[2 * third :]
    slack = {
        "memory_kib": MEMORY_SHARE * before[0].memory_kib,
        "descriptors": CONNECTIONS if mode == "grid" else 0,
        "tasks": 0,
        "processes": 0,
    }
    for name in (field.name for field in fields(Figures)):
        first, last = (median(getattr(row, name) for row in rows) for rows in (before, after))
        verdicts.note(f"{name}, after the warm-up", first, "")
        verdicts.judge(f"growth of {name}", last - first, "", slack[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="minutes for each mode (default: %(default)s)")
    parser.add_argument("--mode", choices=("grid", "local", "both"), default="both")
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.getLogger("aiomig").setLevel(logging.CRITICAL)  # faults are expected
    print(machine())
    verdicts = Verdicts()
    for mode in ("grid", "local") if options.mode == "both" else (options.mode,):
        began = time.monotonic()
        figures, users = anyio.run(soak, mode, options.minutes, options.seed, backend=options.backend)
        total = users.done.total()
        print(f"\n{mode} on {options.backend}: {total} actions in {time.monotonic() - began:.0f} s, {dict(users.done)}")
        print(f"failed: {dict(users.failed)}")
        judge(mode, figures, verdicts)
    sys.exit(verdicts.failed)


if __name__ == "__main__":
    main()
