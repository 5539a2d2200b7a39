"""The control file of an attempt: who owns the attempt, which process is its shell, and how the shell ended.

The process that creates the file owns the attempt: its script, a session that found after a crash that the attempt had
not begun, or a session that cancels it. So an attempt that was given up before it began cannot begin later. A script
writes ``pid NUMBER inode NUMBER`` for its process and its directory, and at its end its exit code on another line.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from .._home.disk import read_small
from .._shell.proc import anyone_in, belongs_to
from .._shell.process import attach
from .faults import HomeBroken

if TYPE_CHECKING:
    from .._shell.process import Process

_CLAIM = b"recovered\n"
_OWNER = re.compile(r"pid (\d{1,9})(?: inode (\d{1,20}))?", re.ASCII)  # earlier versions wrote no inode
_EXIT_CODE = re.compile(r"\d{1,3}", re.ASCII)

_BEGINNING_LASTS = 2.0
"""Seconds to wait for a script that is about to make its control file, or has not yet written to it."""

_CLAIM_LASTS = 86_400.0
"""Seconds after which the script of a claimed attempt can no longer be about to start, if processes cannot be seen."""


class Control:
    """The control file of one attempt.

    Args:
        runs: the folder of the job directories and control files.
        local_name: the attempt.
        pidfd: whether processes can be waited for by descriptors.
    """

    __slots__ = ("_claimed", "_folder", "_pidfd", "path")

    def __init__(self, runs: str | os.PathLike[str], local_name: str, *, pidfd: bool) -> None:
        self.path = f"{runs}/{local_name}.control"
        self._folder = f"{runs}/job-dir_{local_name}"
        self._pidfd = pidfd
        self._claimed = False

    def claim(self) -> bool:
        """Claim the attempt, so that its script cannot begin; return False if the file exists.

        Raises:
            HomeBroken: it cannot be written.
        """
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return False
        except OSError as error:
            raise HomeBroken(self.path, error) from error
        try:
            os.write(descriptor, _CLAIM)
        except OSError as error:
            os.unlink(self.path)
            raise HomeBroken(self.path, error) from error
        finally:
            os.close(descriptor)
        self._claimed = True
        return True

    def is_claim(self) -> bool:
        """Return whether any session has claimed the attempt."""
        self._claimed = self._claimed or self._lines() == [_CLAIM.decode().strip()]
        return self._claimed

    def has_begun(self) -> bool:
        """Return whether the script has written its process id."""
        return self._pid() is not None

    async def settle(self) -> None:
        """Wait until a script that is about to begin has written its process id, or is gone."""
        with anyio.move_on_after(_BEGINNING_LASTS):
            while not self.has_begun() and not self.is_deserted():  # noqa: ASYNC110 - another program writes that
                await anyio.sleep(0.01)

    def shell(self) -> Process | None:
        """Return the shell of the attempt if it runs. The caller releases it or waits for it."""
        pid = self._pid()
        process = attach(pid, pidfd=self._pidfd) if pid is not None else None
        if process is not None and not belongs_to(process.pid, self._folder):
            process.release()
            return None
        return process

    def kill_elsewhere(self) -> None:
        """Kill an attempt that another session runs. If it has not begun, it never will.

        Raises:
            HomeBroken: the file cannot be written.
        """
        if not self.claim() and (shell := self.shell()) is not None:
            shell.kill()
            shell.release()

    def is_deserted(self) -> bool:
        """Return whether no process of the attempt is visible any more."""
        return not anyone_in(self._folder)

    def code(self) -> int | None:
        """Return the exit code that the script wrote, or ``None``."""
        lines = self._lines()
        return int(lines[1]) if len(lines) > 1 and _EXIT_CODE.fullmatch(lines[1]) else None

    def inode(self) -> int | None:
        """Return the inode of the job directory in which the script began."""
        owner = self._owner()
        return int(owner[2]) if owner is not None and owner[2] else None

    def written_at(self) -> float | None:
        """Return when the script last wrote, in seconds since 1970: its exit code, if there is one."""
        try:
            return os.stat(self.path).st_mtime
        except OSError:
            return None

    def remove(self) -> None:
        """Remove the file. A claim stays while a script may still begin."""
        with suppress(OSError):
            if not self._claimed or self.is_deserted() or self._is_old():
                os.unlink(self.path)

    def _is_old(self) -> bool:
        return time.time() - os.stat(self.path).st_mtime > _CLAIM_LASTS

    def _pid(self) -> int | None:
        owner = self._owner()
        return int(owner[1]) if owner is not None and int(owner[1]) > 1 else None

    def _owner(self) -> re.Match[str] | None:
        # If the file was removed, the script makes it again with its exit code, which is not a process id.
        lines = self._lines()
        return _OWNER.fullmatch(lines[0]) if lines else None

    def _lines(self) -> list[str]:
        # A line without its end may be half written.
        with suppress(OSError):
            return read_small(self.path).decode("ascii", "replace").split("\n")[:-1]
        return []
