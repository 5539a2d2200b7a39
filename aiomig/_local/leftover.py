"""What a program left that died after the end of a job was recorded, and before it had cleaned up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .control_file import Control
from .staging import remove_tree

if TYPE_CHECKING:
    from pathlib import Path

    from .._shell.process import Process


class Leftover:
    """What a program that died left of an attempt whose end is in the records.

    Args:
        runs: where the job directories are.
        local_name: the attempt.
        pidfd: whether there are process descriptors.
    """

    def __init__(self, runs: Path, local_name: str, *, pidfd: bool) -> None:
        self._folder = f"{runs}/job-dir_{local_name}"
        self._control = Control(runs, local_name, pidfd=pidfd)

    def process(self) -> Process | None:
        """Its shell, if it still runs: the program died after it wrote that the job is canceled."""
        return self._control.shell()

    async def end(self, process: Process) -> None:
        """Kills its process group, then removes it."""
        process.kill()
        await process.wait()
        self.remove()

    def remove(self) -> None:
        """Removes the job directory and the control file."""
        remove_tree(self._folder)
        self._control.is_claim()  # then it may have to stay
        self._control.remove()
