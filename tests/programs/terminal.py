"""A program in the foreground of a terminal: ``terminal.py BACKEND HOME HANDLER COMMANDS``.

It makes its standard input its controlling terminal, runs one job with COMMANDS (JSON) and waits for it. With HANDLER
``count`` it prints a line at SIGINT and continues; ``default`` leaves SIGINT to Python.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import termios
from typing import TYPE_CHECKING

import anyio

import aiomig

if TYPE_CHECKING:
    from types import FrameType


def note(number: int, frame: FrameType | None) -> None:
    os.write(1, b"interrupted\n")


async def main(home: str, commands: list[str]) -> None:
    async with aiomig.local(home) as mig:
        job = await mig.submit(commands)
        result = await job
        os.write(1, result.stdout.encode())


if __name__ == "__main__":
    backend, home, handler, commands = sys.argv[1:]
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    if handler == "count":
        signal.signal(signal.SIGINT, note)
    anyio.run(main, home, json.loads(commands), backend=backend)
