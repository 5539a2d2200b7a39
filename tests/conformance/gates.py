"""Jobs that wait for the test: they read a line from a pipe which the test writes."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from pathlib import Path

    import aiomig

LONGEST = 600.0
"""Seconds that a state is waited for: a real grid takes its time, and a broken one for ever."""


class Gate:
    """A pipe; ``command`` waits at it until `open` lets it through."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.command = f"read -r _ < {shlex.quote(str(path))}"

    def open(self, jobs: int = 1) -> None:
        """Lets so many jobs through, now or when they come."""
        os.write(self._descriptor, b"\n" * jobs)

    def close(self) -> None:
        os.close(self._descriptor)


async def until(job: aiomig.Job, *states: aiomig.JobState) -> aiomig.JobStatus:
    """Waits for one of some states; an end before it is an error of the test."""
    with anyio.fail_after(LONGEST):
        async for status in job:
            if status.state in states:
                return status
    raise AssertionError(f"{job} ended before it was {' or '.join(states)}")
