"""Opens a home as another user: ``stranger.py BACKEND HOME UID``; prints the error, or ``open``."""

from __future__ import annotations

import os
import sys

import anyio

import aiomig


async def main(home: str, user: int) -> None:
    os.setuid(user)
    os.environ["HOME"] = "/"
    try:
        async with aiomig.local(home) as mig:
            await mig.submit("true")
    except aiomig.MigError as error:
        os.write(1, f"{type(error).__name__}: {error}\n".encode())
        return
    os.write(1, b"open\n")


if __name__ == "__main__":
    anyio.run(main, sys.argv[2], int(sys.argv[3]), backend=sys.argv[1])
