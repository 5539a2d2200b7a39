"""Reads a tar archive as a stream, from its beginning to its end, with headers of bounded size.

The standard library reads each extended header as a whole, however big it says that it is, and looks for records in
it in quadratic time. Here no header has more than `MOST_HEADER` bytes, and other tasks run between two pieces.
"""

from __future__ import annotations

import tarfile
from contextlib import aclosing
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from anyio.lowlevel import checkpoint

from .._core.errors import PathRefused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

BLOCK = 512
MOST_HEADER = 1 << 16
PIECE = 1 << 17  # what a compressor takes without holding up other tasks for long

_PAX = {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE}
_LONG = {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file or a directory in a tar archive."""

    name: str
    is_dir: bool
    size: int


class TarReader:
    """The members of an archive, one after the other.

    Args:
        stream: the archive, without compression.
        count: called with the bytes of each header; may raise if there are too many.
    """

    def __init__(self, stream: IO[bytes], count: Callable[[int], object]) -> None:
        self._stream = stream
        self._count = count
        self._unread = 0
        self._padding = 0
        self._shared: dict[str, bytes] = {}

    async def next(self) -> TarMember | None:
        """Return the next member; ``None`` at the end.

        Raises:
            PathRefused: it is neither a file nor a directory, or has a huge header.
            tarfile.TarError: the archive is damaged.
        """
        self._unread += self._padding
        async with aclosing(self.content()) as pieces:
            async for _ in pieces:
                pass
        long_name = b""
        records: dict[str, bytes] = {}
        while (info := await self._header()) is not None:
            if info.type == tarfile.XGLTYPE:
                self._shared |= _pax_records(self._extension(info))
            elif info.type in _PAX:
                records |= _pax_records(self._extension(info))
            elif info.type in _LONG:
                text = self._extension(info)
                long_name = text.rstrip(b"\0") if info.type == tarfile.GNUTYPE_LONGNAME else long_name
            else:
                return self._member(info, long_name, self._shared | records)
        return None

    async def content(self) -> AsyncGenerator[bytes, None]:
        """Give the bytes of the present member that are not read yet. The caller closes the generator."""
        while self._unread > 0:
            piece = self._read(min(PIECE, self._unread))
            self._unread -= len(piece)
            yield piece
            await checkpoint()

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise tarfile.ReadError("it ends in the middle of a member")
        return data

    async def _header(self) -> tarfile.TarInfo | None:
        await checkpoint()
        block = self._stream.read(BLOCK)
        if not any(block):
            return None
        self._count(BLOCK)
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if info.size < 0:
            raise tarfile.ReadError("a header in it is damaged")
        return info

    def _extension(self, info: tarfile.TarInfo) -> bytes:
        if info.size > MOST_HEADER:
            raise PathRefused(info.name, f"this member of the archive has a header of {info.size} bytes")
        self._count(info.size)
        return self._read(info.size + -info.size % BLOCK)[: info.size]

    def _member(self, info: tarfile.TarInfo, long_name: bytes, records: dict[str, bytes]) -> TarMember:
        name = records.get("path", long_name).decode("utf-8", "surrogateescape") or info.name
        if info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in records):
            raise PathRefused(name, "this member is sparse; pack it without --sparse")
        if not info.isdir() and not info.isreg():
            raise PathRefused(name, "this member is a link or a device; pack what it points to instead")
        size = records.get("size", b"%d" % info.size)
        if not size.isdigit() or len(size) > 20:
            raise tarfile.ReadError("a header in it is damaged")
        self._unread = 0 if info.isdir() else int(size)
        self._padding = -self._unread % BLOCK
        return TarMember(name.rstrip("/"), info.isdir() or name.endswith("/"), self._unread)


def _pax_records(data: bytes) -> dict[str, bytes]:
    """Return the records of an extended header, each ``LENGTH KEYWORD=VALUE`` and a line end."""
    records: dict[str, bytes] = {}
    position = 0
    while position < len(data):
        blank = data.find(b" ", position, position + 8)
        length = data[position : max(blank, position)]
        end = position + int(length) if length.isdigit() else position
        if end <= blank or end > len(data) or data[end - 1 : end] != b"\n":
            raise tarfile.ReadError("an extended header in it is damaged")
        keyword, _, value = data[blank + 1 : end - 1].partition(b"=")
        records[keyword.decode("utf-8", "replace")] = value
        position = end
    return records
