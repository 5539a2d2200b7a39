"""A private file of lines that one process at a time appends to, and that a crash or a full disk leaves readable."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

_PRIVATE = 0o600


class AppendFile:
    """An open file, locked against everyone else, threads and sessions of this process included.

    The lock is the kernel's (``flock``) and ends with the process, however that ends.

    Attributes:
        path: where it is.
        size: its length in bytes.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.size = os.fstat(descriptor).st_size
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> Self | None:
        """Opens and locks a file; makes it, for this user only, where it is missing and ``create`` says so.

        Returns:
            The file; ``None`` where another one has it open, or has just removed it.

        Raises:
            OSError: it cannot be opened or locked.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0), _PRIVATE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                file = cls(path, descriptor)
                if create and not file.size:
                    _sync_folder(path.parent)  # or a loss of power takes the name away, and all that is in it
                return file
        except BlockingIOError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def read(self) -> bytes:
        """All of it."""
        return os.pread(self._descriptor, self.size, 0)

    def append(self, data: bytes, *, sync: bool = False) -> None:
        """Writes at the end: all or nothing, unless the process dies in between.

        Args:
            data: what to write.
            sync: return only when a loss of power cannot undo it.

        Raises:
            OSError: it cannot be written; the file is as it was.
        """
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
            if sync:
                os.fsync(self._descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.size)
            raise
        self.size += written

    def clear(self) -> None:
        """Makes it empty."""
        os.ftruncate(self._descriptor, 0)
        self.size = 0

    def remove(self) -> None:
        """Removes and closes it."""
        with suppress(FileNotFoundError):
            self.path.unlink()
        self.close()

    def close(self) -> None:
        """Closes it and gives up the lock; a second time does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
