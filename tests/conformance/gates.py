"""Jobs that wait for the test: they read a line from a pipe, and the test writes it."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from pathlib import Path

    import aiomig

LONGEST = 600.0
"""Seconds to wait for a state. A real grid is slow, and a broken one never gets there."""


class Gate:
    """A pipe. A job with ``command`` waits until `open` lets it through."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.command = f"read -r _ < {shlex.quote(str(path))}"

    def open(self, jobs: int = 1) -> None:
        """Let so many jobs through, now or when they arrive."""
        os.write(self._descriptor, b"\n" * jobs)

    def close(self) -> None:
        os.close(self._descriptor)


async def until(job: aiomig.Job, *states: aiomig.JobState) -> aiomig.JobStatus:
    """Wait for one of some states. Raises AssertionError if the job ends before."""
    with anyio.fail_after(LONGEST):
        async for status in job:
            if status.state in states:
                return status
    raise AssertionError(f"{job} ended before it was {' or '.join(states)}")
