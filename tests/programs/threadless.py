"""Runs jobs and counts its own threads meanwhile: ``threadless.py BACKEND HOME``; BACKEND may be ``uvloop``."""

from __future__ import annotations

import os
import sys
import threading

import anyio

import aiomig


class Threads:
    """The largest number of threads, as Python and the system count them."""

    def __init__(self) -> None:
        self.python = self.system = self.looks = 0

    def look(self) -> None:
        self.looks += 1
        self.python = max(self.python, threading.active_count())
        self.system = max(self.system, len(os.listdir("/proc/self/task")))

    async def keep_looking(self) -> None:
        while True:
            self.look()
            await anyio.sleep(0.001)


async def main(home: str) -> None:
    threads = Threads()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(threads.keep_looking)
        async with aiomig.local(home, slots=2) as mig:
            jobs = []
            for number in range(20):
                jobs.append(await mig.submit(f"echo {number} | tee out.txt", outputs=["out.txt"]))
                threads.look()
            async for _ in mig.watch(jobs):
                threads.look()
            for number, job in enumerate(jobs):
                assert (await job).stdout == f"{number}\n"
                threads.look()
        threads.look()
        tasks.cancel_scope.cancel()
    assert threads.looks > 60
    os.write(1, f"{threads.python} {threads.system}\n".encode())


if __name__ == "__main__":
    name, home = sys.argv[1:]
    if name == "uvloop":
        anyio.run(main, home, backend="asyncio", backend_options={"use_uvloop": True})
    else:
        anyio.run(main, home, backend=name)
