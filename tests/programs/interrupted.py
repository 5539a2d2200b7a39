"""Runs jobs, and gets SIGINT at a chosen moment, as by Ctrl-C: ``interrupted.py BACKEND HOME LOGS MOMENT``."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from functools import partial

import anyio

import aiomig
from tests.programs.mines import lay


async def main(home: str, logs: str) -> None:
    async with aiomig.local(home, slots=2) as mig:
        for number in range(8):
            await mig.submit(f"echo run >> {shlex.quote(logs)}/{number}", name=str(number))
        await mig.wait(await mig.jobs())
    os.write(1, b"never\n")


if __name__ == "__main__":
    backend, home, logs, moment = sys.argv[1:]
    lay(moment, partial(signal.raise_signal, signal.SIGINT))
    anyio.run(main, home, logs, backend=backend)
