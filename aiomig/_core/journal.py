"""Append-only journal files, which remain readable after a crash or a full disk."""

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
    """A private, locked file of JSON objects, one per line.

    The lock (``flock``) excludes all other users of the file, including other sessions of this process. It is released
    when the process ends. If a crash left an incomplete line, `rows` skips it and `append` starts a new line.

    Attributes:
        path: the file.
        size: its size in bytes.
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
            create: create a missing file, readable by this user only.

        Returns:
            The log, or ``None`` if someone else has locked the file or has just removed it.

        Raises:
            OSError: the file cannot be opened or locked.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0), _PRIVATE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                log = cls(path, descriptor)
                if create and not log.size:
                    _sync_folder(path.parent)  # otherwise a power failure could remove the new file
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
            OSError: the file cannot be read, or is larger than 1 GiB.
        """
        if self.size > _LARGEST:
            raise OSError(errno.EFBIG, f"Has more than {_LARGEST} bytes", str(self.path))
        return os.pread(self._descriptor, self.size, 0)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the objects in order. Skip lines that are damaged or not objects."""
        return rows_of(self.read())

    def append(self, rows: Iterable[Mapping[str, object]], *, sync: bool = False) -> None:
        """Append objects: all or, unless the process dies meanwhile, none.

        Args:
            rows: the objects.
            sync: also flush to the disk, so that the objects survive a power failure.

        Raises:
            OSError: the objects cannot be written; the file is unchanged.
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
        """Remove all content."""
        os.ftruncate(self._descriptor, 0)
        self.size, self._is_torn = 0, False

    def remove(self) -> None:
        """Remove the file and close it."""
        with suppress(FileNotFoundError):
            self.path.unlink()
        self.close()

    def close(self) -> None:
        """Close the file and release the lock. Calling it again does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def rows_of(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the objects in the content of a file, as `JsonLinesLog.rows` does."""
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
