"""Reads the directory of a zip archive in slices with the standard library, so that other tasks run in between.

`zipfile.ZipFile` reads all of it at once: with a hundred thousand members, it blocks the event loop for a second. So it
gets each slice as a separate archive: the same members, and a directory that lists some of them.
"""

from __future__ import annotations

import io
import struct
import zipfile
from typing import TYPE_CHECKING, BinaryIO, cast

from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

_RECORD = b"PK\1\2"
_RECORD_SIZE = 46
_SLICE = 1 << 18  # more bytes than any record has
_RECORDS_PER_SLICE = 500

# PKWARE's APPNOTE.TXT, 4.3.14 to 4.3.16: the end of the directory, first in the form for large archives.
_LARGE_END = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")
_LONGEST_COMMENT = 0xFFFF


class _Slice(io.RawIOBase):
    """An archive up to its directory, then another directory."""

    def __init__(self, file: BinaryIO, start: int, directory: bytes) -> None:
        self._file = file
        self._start = start
        self._directory = directory
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._start + len(self._directory)}
        if bases[whence] + offset < 0:
            raise zipfile.BadZipFile("it leads to a place before its beginning")
        self._position = bases[whence] + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._position < self._start:
            self._file.seek(self._position)
            data = self._file.read(min(len(buffer), self._start - self._position))
        else:
            at = self._position - self._start
            data = self._directory[at : at + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


async def zip_slices(file: BinaryIO, count: Callable[[int], object]) -> AsyncGenerator[zipfile.ZipFile, None]:
    """Yield archives that together have the members of one. The caller closes the generator.

    Args:
        file: the archive.
        count: called with the number of members of the next slice; may raise if there are too many.

    Raises:
        zipfile.BadZipFile: it is damaged, or not a zip archive.
    """
    start, end, prefix = _directory(file)
    position = start
    while position < end:
        file.seek(position)
        length, members = _whole_records(file.read(min(_SLICE, end - position)))
        count(members)
        file.seek(position)
        large = _LARGE_END.pack(
            *(b"PK\6\6", _LARGE_END.size - 12, 45, 45, 0, 0), *(members, members, length, start - prefix)
        )
        locator = _LOCATOR.pack(b"PK\6\7", 0, start - prefix + length, 1)
        final = _END.pack(b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
        directory = file.read(length) + large + locator + final
        yield zipfile.ZipFile(cast("BinaryIO", _Slice(file, start, directory)))
        position += length
        await checkpoint()


def _whole_records(data: bytes) -> tuple[int, int]:
    """Return the bytes and the number of the complete records in a piece of a directory, at most one slice."""
    length = members = 0
    while members < _RECORDS_PER_SLICE and length + _RECORD_SIZE <= len(data):
        if not data.startswith(_RECORD, length):
            raise zipfile.BadZipFile("its directory is damaged")
        size = _RECORD_SIZE + sum(struct.unpack_from("<3H", data, length + 28))
        if length + size > len(data):
            break
        length, members = length + size, members + 1
    if not members:
        raise zipfile.BadZipFile("its directory is damaged")
    return length, members


def _directory(file: BinaryIO) -> tuple[int, int, int]:
    """Return where the directory begins and ends, and how many bytes precede the archive in its file."""
    size = file.seek(0, io.SEEK_END)
    first = max(0, size - _LONGEST_COMMENT - _END.size - _LOCATOR.size - _LARGE_END.size)
    file.seek(first)
    tail = file.read(size - first)
    at = tail.rfind(b"PK\5\6", 0, len(tail) - _END.size + 4)
    if at < 0:
        raise zipfile.BadZipFile("it is not a zip archive")
    _, _, _, _, _, length, offset, _ = _END.unpack_from(tail, at)
    if at >= _LOCATOR.size + _LARGE_END.size and tail.startswith(b"PK\6\7", at - _LOCATOR.size):
        at -= _LOCATOR.size + _LARGE_END.size
        if not tail.startswith(b"PK\6\6", at):
            raise zipfile.BadZipFile("the end of its directory is damaged")
        *_, length, offset = _LARGE_END.unpack_from(tail, at)
    end = first + at
    prefix = end - length - offset
    if prefix < 0:
        raise zipfile.BadZipFile("its directory is damaged")
    return end - length, end, prefix
