"""Opens a home as another user: ``stranger.py BACKEND HOME UID``. Prints the error, or ``open``."""

from __future__ import annotations

import os
import sys
import tempfile

import anyio

import aiomig


async def run_a_job(home: str) -> None:
    async with aiomig.local(home) as mig:
        await (await mig.submit("true"))


async def main(home: str, user: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        await run_a_job(folder)  # late imports happen now, because the other user may be unable to read Python
    os.setuid(user)
    os.environ["HOME"] = "/"
    try:
        await run_a_job(home)
    except aiomig.MigError as error:
        os.write(1, f"{type(error).__name__}: {error}\n".encode())
        return
    os.write(1, b"open\n")


if __name__ == "__main__":
    anyio.run(main, sys.argv[2], int(sys.argv[3]), backend=sys.argv[1])
