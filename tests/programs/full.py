"""Fills the disk of its home: ``full.py BACKEND HOME LIMIT``.

Submits jobs until local mode fails, and prints the id of each. A LIMIT other than 0 is the largest size of a file of
this program, in bytes. The last line is the error.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

import anyio

import aiomig

WORDS = "x" * 4000
"""Makes the record of each job larger than a page of the database."""


def say(text: object) -> None:
    os.write(1, f"{text}\n".encode())


async def main(home: str, limit: int) -> None:
    async with aiomig.local(home, slots=1, on_exit="leave") as mig:
        if limit:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        try:
            for number in range(2000):
                job = await mig.submit([f"echo {number}", "read -r _ < ../../../gate", f": {WORDS}"])
                say(job.id)
        except aiomig.LocalError as error:
            say(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    anyio.run(main, sys.argv[2], int(sys.argv[3]), backend=sys.argv[1])
