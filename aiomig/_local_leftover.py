"""What a program left that died after the end of a job was recorded, and before it had cleaned up."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from . import _local_process
from ._local_attempt import RECOVERED
from ._local_staging import remove_tree

if TYPE_CHECKING:
    from pathlib import Path

    from ._local_process import Process

_CLAIM_LASTS = 86_400.0
"""Seconds after which nobody can be about to start the script of a claim."""


class Leftover:
    """What a program that died left of an attempt whose end is in the records.

    Args:
        runs: where the job directories are.
        local_name: the attempt.
        pidfd: whether there are process descriptors.
    """

    def __init__(self, runs: Path, local_name: str, *, pidfd: bool) -> None:
        self._folder = f"{runs}/job-dir_{local_name}"
        self._control = runs / f"{local_name}.control"
        self._pidfd = pidfd

    def process(self) -> Process | None:
        """Its shell, if it still runs: the program died after it wrote that the job is canceled."""
        pid = ""
        with suppress(OSError):
            pid = self._control.read_text("ascii", "replace").partition("\n")[0]
        process = _local_process.attach(int(pid), pidfd=self._pidfd) if pid.isdigit() else None
        if process is not None and not _local_process.belongs_to(process.pid, self._folder):
            process.release()
            return None
        return process

    async def end(self, process: Process) -> None:
        """Kills its process group, then removes it."""
        process.kill()
        await process.wait()
        self.remove()

    def remove(self) -> None:
        """Removes the job directory and the control file; of a claim see `Attempt.clean`."""
        remove_tree(self._folder)
        with suppress(OSError):
            old = time.time() - self._control.stat().st_mtime > _CLAIM_LASTS
            if old or self._control.read_bytes() != RECOVERED or not _local_process.anyone_in(self._folder):
                self._control.unlink()
