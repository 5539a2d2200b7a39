"""Submits two jobs, forks and dies: ``forked.py BACKEND HOME COMMAND COMMAND``. Prints the process id of the child."""

from __future__ import annotations

import os
import signal
import sys

import anyio

import aiomig


async def main(home: str, commands: list[str]) -> None:
    async with aiomig.local(home, slots=1) as mig:
        for command in commands:
            await mig.submit(command)
        child = os.fork()
        if not child:
            signal.pause()
        os.write(1, f"{child}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    anyio.run(main, sys.argv[2], sys.argv[3:], backend=sys.argv[1])
