"""Journal files: appended to by one process at a time, and readable after a crash or a full disk."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_PRIVATE = 0o600
_LARGEST = 1 << 30


class JsonLinesLog:
    """A private file of JSON objects, one on each line, that one process at a time appends to.

    The lock (``flock``) excludes every other user of the file, other sessions of this process included, and ends with
    the process. A line that a crash cut off is skipped by `rows`, and the next line begins after it.

    Attributes:
        path: the file.
        size: its length in bytes.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.size = os.fstat(descriptor).st_size
        self._descriptor = descriptor
        self._is_torn = self.size > 0 and os.pread(descriptor, 1, self.size - 1) != b"\n"

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> Self | None:
        """Open and lock a file.

        Args:
            path: the file.
            create: make a missing file, readable by this user only.

        Returns:
            The log, or ``None`` if another one has the file open or has just removed it.

        Raises:
            OSError: the file cannot be opened or locked.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0), _PRIVATE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                log = cls(path, descriptor)
                if create and not log.size:
                    _sync_folder(path.parent)  # a loss of power would take the new name away, and the content with it
                return log
        except BlockingIOError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def read(self) -> bytes:
        """Return the whole content.

        Raises:
            OSError: it cannot be read, or has more than a gibibyte.
        """
        if self.size > _LARGEST:
            raise OSError(errno.EFBIG, f"Has more than {_LARGEST} bytes", str(self.path))
        return os.pread(self._descriptor, self.size, 0)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the objects in order. Skip every line that is damaged or is not an object."""
        return rows_of(self.read())

    def append(self, rows: Iterable[Mapping[str, object]], *, sync: bool = False) -> None:
        """Write objects at the end: all of them or, unless the process dies in between, none.

        Args:
            rows: the objects.
            sync: return only when a loss of power cannot undo it.

        Raises:
            OSError: they cannot be written; the file is unchanged.
        """
        text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
        data = ("\n" * self._is_torn + text).encode("ascii")
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
        self._is_torn = False

    def clear(self) -> None:
        """Make the file empty."""
        os.ftruncate(self._descriptor, 0)
        self.size, self._is_torn = 0, False

    def remove(self) -> None:
        """Remove the file and close it."""
        with suppress(FileNotFoundError):
            self.path.unlink()
        self.close()

    def close(self) -> None:
        """Close the file and give up the lock. Harmless if repeated."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def rows_of(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the objects that the content of a file holds, as `JsonLinesLog.rows` does."""
    for line in data.splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
