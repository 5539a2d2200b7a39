"""Reading and writing tar archives as streams, with headers of limited size.

The standard library reads extended headers of any size and parses them in quadratic time. Here, a header has at most
`MOST_HEADER` bytes, and other tasks run between two chunks.
"""

from __future__ import annotations

import tarfile
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from .._core.errors import PathRefused
from .._core.turns import Paced
from .transfer import file_content

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from .._backend import PutFile

BLOCK = 512
MOST_HEADER = 1 << 16
PIECE = 1 << 17  # small enough that compressing a chunk does not block other tasks for long

_PAX = {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE}
_LONG = {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}


@dataclass(frozen=True, slots=True)
class TarMember:
    """A member of a tar archive.

    Attributes:
        name: its name in the archive, without a trailing ``/``.
        is_dir: whether it is a directory.
        size: the size of its content in bytes.
        problem: why it cannot be unpacked; empty for a file or a directory.
    """

    name: str
    is_dir: bool
    size: int
    problem: str = ""


class TarReader:
    """Reads the members of an archive in order.

    Args:
        read: returns the given number of bytes of the uncompressed archive, or fewer at its end.
        count: called with the number of bytes of each header; may raise to stop.
    """

    def __init__(
        self, read: Callable[[int], Awaitable[bytes]], count: Callable[[int], object] = lambda size: None
    ) -> None:
        self._source = read
        self._count = count
        self._unread = 0
        self._padding = 0
        self._shared: dict[str, bytes] = {}

    async def next(self) -> TarMember | None:
        """Return the next member, or ``None`` at the end.

        Raises:
            PathRefused: the header of the member is too large.
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
                self._shared |= _pax_records(await self._extension(info))
            elif info.type in _PAX:
                records |= _pax_records(await self._extension(info))
            elif info.type in _LONG:
                text = await self._extension(info)
                long_name = text.rstrip(b"\0") if info.type == tarfile.GNUTYPE_LONGNAME else long_name
            else:
                return self._member(info, long_name, self._shared | records)
        return None

    async def content(self) -> AsyncGenerator[bytes, None]:
        """Yield the unread bytes of the current member. The caller closes the generator."""
        while self._unread > 0:
            piece = await self._read(min(PIECE, self._unread))
            self._unread -= len(piece)
            yield piece
            await checkpoint()

    async def _read(self, size: int) -> bytes:
        data = await self._source(size)
        if len(data) < size:
            raise tarfile.ReadError("it is truncated in the middle of a member")
        return data

    async def _header(self) -> tarfile.TarInfo | None:
        await checkpoint()
        block = await self._source(BLOCK)
        if not any(block):
            return None
        self._count(BLOCK)
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if info.size < 0:
            raise tarfile.ReadError("a header in it is damaged")
        return info

    async def _extension(self, info: tarfile.TarInfo) -> bytes:
        if info.size > MOST_HEADER:
            raise PathRefused(info.name, f"this member of the archive has a header of {info.size} bytes")
        self._count(info.size)
        return (await self._read(info.size + -info.size % BLOCK))[: info.size]

    def _member(self, info: tarfile.TarInfo, long_name: bytes, records: dict[str, bytes]) -> TarMember:
        name = records.get("path", long_name).decode("utf-8", "surrogateescape") or info.name
        problem = ""
        if info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in records):
            problem = "this member is sparse; pack it without --sparse"
        elif not info.isdir() and not info.isreg():
            problem = "this member is a link or a device; pack what it points to instead"
        size = records.get("size", b"%d" % info.size)
        if not size.isdigit() or len(size) > 20:
            raise tarfile.ReadError("a header in it is damaged")
        self._unread = int(size) if info.isreg() else 0
        self._padding = -self._unread % BLOCK
        return TarMember(name.rstrip("/"), info.isdir() or name.endswith("/"), self._unread, problem)


def _pax_records(data: bytes) -> dict[str, bytes]:
    """Parse the records of an extended header. Each is ``LENGTH KEYWORD=VALUE`` and a line end."""
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


class Pieces:
    """Reads a given number of bytes at a time from a stream of chunks."""

    def __init__(self, content: AsyncGenerator[bytes, None]) -> None:
        self._content = content
        self._waiting = bytearray()

    async def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes, or fewer at the end of the stream."""
        while len(self._waiting) < size and (piece := await anext(self._content, None)) is not None:
            self._waiting += piece
        data = bytes(self._waiting[:size])
        del self._waiting[:size]
        return data


async def tar_size(folders: Iterable[str], files: Iterable[PutFile]) -> int:
    """Return the number of bytes that `tar_content` yields."""
    size = 2 * BLOCK
    async for folder in Paced(folders):
        size += len(_header(folder, None))
    async for file in Paced(files):
        size += len(_header(file.path, file.size)) + file.size + -file.size % BLOCK
    return size


async def tar_content(
    folders: Iterable[str], files: Iterable[PutFile], report: Callable[[int], object]
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of an uncompressed archive of local files. The caller closes the generator.

    Args:
        folders: the directories in the archive, parents first.
        files: the files in the archive, with their paths.
        report: called with the number of bytes of each chunk of a file.

    Raises:
        LocalError: a file cannot be read, or was truncated meanwhile.
    """
    for folder in folders:
        yield _header(folder, None)
    for file in files:
        yield _header(file.path, file.size)
        if isinstance(file.source, bytes):
            yield file.source
            report(file.size)
        elif file.size:
            async with aclosing(file_content(file.source, file.size, report)) as pieces:
                async for piece in pieces:
                    yield piece
        yield bytes(-file.size % BLOCK)
        await checkpoint()
    yield bytes(2 * BLOCK)


def _header(name: str, size: int | None) -> bytes:
    """Return the header of a file, or of a directory if the size is ``None``."""
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE if size is None else tarfile.REGTYPE
    info.mode = 0o755 if size is None else 0o644
    info.size = size or 0
    info.mtime = int(time.time())
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
