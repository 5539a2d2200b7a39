"""Jobs that wait for the test: they read a line from a pipe which the test writes."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import aiomig


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


async def until(job: aiomig.Job, state: aiomig.JobState) -> aiomig.JobStatus:
    """Waits for a state; an end before it is an error of the test."""
    async for status in job:
        if status.state is state:
            return status
    raise AssertionError(f"{job} ended before it was {state}")
