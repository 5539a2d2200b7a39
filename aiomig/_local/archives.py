"""Writes and reads zip and tar archives in pieces, with the standard library."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from anyio.lowlevel import checkpoint

from .._core.errors import FileExists, LocalError, MigError, PathRefused
from .._core.paths import ArchiveFormat, archive_format, chain, folder_of, join, listed_path
from .._core.turns import Paced, give_way, sort_steps
from .._home.disk import read_file
from .._home.tar import BLOCK, PIECE, TarMember, TarReader
from .zip import zip_slices

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from .._backend import HomeBackend

_FREE_SIZE = 1 << 30  # bytes that any archive may grow to
_FREE_RATIO = 200  # times its own size that a larger archive may grow to
_MOST_MEMBERS = 1_000_000
_DAMAGE = (
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class Packing:
    """A file or directory to pack.

    Attributes:
        name: its name in the archive, with ``/``.
        path: where it is on this machine; links are followed.
        is_dir: whether it is a directory. Only its name is packed.
    """

    name: str
    path: Path
    is_dir: bool


async def pack(file: BinaryIO, kind: ArchiveFormat, sources: Sequence[Packing]) -> None:
    """Write an archive into an empty file.

    Raises:
        OSError: a source cannot be read, or the archive not written.
        PathRefused: a name cannot stand in such an archive.
        LocalError: a file became shorter while it was packed.
    """
    if kind == "zip":
        await _pack_zip(file, sources)
        return
    with _compressor(file, kind) as out:
        await _pack_tar(out, sources)


def _compressor(file: BinaryIO, kind: ArchiveFormat) -> AbstractContextManager[BinaryIO]:
    if kind == "gz":
        return cast("BinaryIO", gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6))
    if kind == "bz2":
        return cast("BinaryIO", bz2.BZ2File(file, "wb"))
    return nullcontext(file)


async def _pack_zip(file: BinaryIO, sources: Sequence[Packing]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for source in sources:
            try:
                source.name.encode()
            except UnicodeEncodeError:
                raise PathRefused(source.name, "is not UTF-8, which a zip archive needs; pack it as .tar") from None
            info = zipfile.ZipInfo.from_file(source.path, source.name, strict_timestamps=False)
            info.compress_type = zipfile.ZIP_STORED if source.is_dir else zipfile.ZIP_DEFLATED
            with archive.open(info, "w") as out:
                if not source.is_dir:
                    await _pack_content(source.path, info.file_size, out)
            await checkpoint()


async def _pack_tar(out: BinaryIO, sources: Sequence[Packing]) -> None:
    # TarFile.addfile copies a whole file at once; headers and padding by hand leave room for checkpoints.
    for source in sources:
        status = source.path.stat()
        info = tarfile.TarInfo(source.name)
        info.mode = stat.S_IMODE(status.st_mode)
        info.mtime = int(status.st_mtime)
        info.type = tarfile.DIRTYPE if source.is_dir else tarfile.REGTYPE
        info.size = 0 if source.is_dir else status.st_size
        out.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        if not source.is_dir:
            await _pack_content(source.path, info.size, out)
            out.write(bytes(-info.size % BLOCK))
        await checkpoint()
    out.write(bytes(2 * BLOCK))


async def _pack_content(path: Path, size: int, out: IO[bytes]) -> None:
    packed = 0
    async with aclosing(read_file(path, 0, size, piece_size=PIECE)) as pieces:
        async for piece in pieces:
            packed += out.write(piece)
    if packed < size:
        raise LocalError(
            f"{path}: became shorter while it was packed",
            path=str(path),
            remedy="pack it when nothing writes to it",
        )


@dataclass(frozen=True, slots=True)
class _Member:
    path: str
    is_dir: bool
    size: int
    open: Callable[[], IO[bytes] | None]


@dataclass(slots=True)
class _Budget:
    """Refuses an archive that expands too much."""

    archive: str
    size: int
    members: int = 0
    total: int = 0

    def take(self, size: int, members: int = 0) -> None:
        self.members += members
        self.total += size
        if self.members > _MOST_MEMBERS:
            raise PathRefused(self.archive, f"holds more than {_MOST_MEMBERS} members; unpack it by other means")
        if self.total > max(_FREE_SIZE, self.size * _FREE_RATIO):
            raise PathRefused(
                self.archive,
                f"its {self.size} bytes would become {self.total} or more, over {_FREE_RATIO} times as many; "
                "unpack it by other means if it can be trusted",
            )


async def unpack(home: HomeBackend, file: BinaryIO, archive: str, destination: str) -> None:
    """Unpack an archive into a directory of the home, after checking all of its members.

    Links and devices are refused: MiG homes have none. Permissions are not restored.

    Args:
        home: the home.
        file: the archive, opened.
        archive: its name. The ending determines its kind.
        destination: an existing directory of the home.

    Raises:
        PathRefused: a member has no place below ``destination``, is a link or a device, is encrypted, or the
            whole is too big; nothing has been written.
        FileExists: a file has the path of a directory, or the reverse; nothing has been written.
        LocalError: the archive is damaged.
    """
    kind = archive_format(archive)
    budget = _Budget(archive, file.seek(0, 2))
    file.seek(0)
    with _damage(archive):
        if kind == "zip":
            await _write_zip(home, await _zip_members(file, destination, budget), destination)
        else:
            await _unpack_tar(home, partial(_decompressor, file, kind), destination, budget)


@contextmanager
def _damage(archive: str) -> Iterator[None]:
    try:
        yield
    except MigError:
        raise
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk, not the archive
            raise
        raise LocalError(
            f"{archive}: cannot be unpacked: {error}", path=archive, remedy="check that it arrived whole"
        ) from error


async def _zip_members(file: BinaryIO, destination: str, budget: _Budget) -> list[_Member]:
    members: list[_Member] = []
    async with aclosing(zip_slices(file, partial(budget.take, 0))) as slices:
        async for zipped in slices:
            for info in zipped.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                    raise PathRefused(
                        info.filename, "this member is a link or a device; pack what it points to instead"
                    )
                if info.flag_bits & 1:
                    raise PathRefused(info.filename, "this member is encrypted; pack it without a password")
                budget.take(info.file_size)
                path = _member_path(destination, info.filename)
                members.append(_Member(path, info.is_dir(), info.file_size, partial(zipped.open, info)))
    return members


async def _unpack_tar(
    home: HomeBackend, opened: Callable[[], AbstractContextManager[IO[bytes]]], destination: str, budget: _Budget
) -> None:
    """Read the archive twice, because a tar archive has no directory: once to check all members, once to write them."""
    members: dict[str, TarMember] = {}
    with opened() as stream:
        reader = TarReader(_reading(stream), budget.take)
        while (member := await reader.next()) is not None:
            if member.problem:
                raise PathRefused(member.name, member.problem)
            budget.take(member.size, 1)
            members[_member_path(destination, member.name)] = member
    if not members:
        raise tarfile.ReadError("it holds nothing")
    files = {path async for path, member in Paced(members.items()) if not member.is_dir}
    await _make_room(home, files, set(members) - files, destination)
    with opened() as stream:
        reader = TarReader(_reading(stream), _Budget(budget.archive, budget.size).take)
        while (member := await reader.next()) is not None:
            if not member.is_dir:
                async with aclosing(reader.content()) as content:
                    await home.write(_member_path(destination, member.name), content, member.size)


def _reading(stream: IO[bytes]) -> Callable[[int], Awaitable[bytes]]:
    async def read(size: int) -> bytes:
        return stream.read(size)

    return read


def _decompressor(file: BinaryIO, kind: ArchiveFormat) -> AbstractContextManager[IO[bytes]]:
    file.seek(0)
    if kind == "gz":
        return cast("AbstractContextManager[IO[bytes]]", gzip.GzipFile(fileobj=file, mode="rb"))
    if kind == "bz2":
        return bz2.BZ2File(file, "rb")
    return nullcontext(file)


def _member_path(destination: str, name: str) -> str:
    if not name or name.startswith("/") or ".." in name.split("/"):
        raise PathRefused(name, "this member of the archive leads out of the directory; nothing was unpacked")
    return listed_path(join(destination, name))


async def _make_room(home: HomeBackend, files: set[str], folders: set[str], destination: str) -> None:
    """Create the directories of an archive, unless an existing file conflicts with a member."""
    above = set(folders)
    async for path in Paced(files):
        above.add(folder_of(path))
    needed: set[str] = set()
    async for path in Paced(above):
        needed.update(chain(path))
    needed.difference_update(chain(destination))
    directories = await give_way(sort_steps(needed, str))
    for path in directories:
        present = await home.stat(path)
        if path in files or (present is not None and not present.is_dir):
            raise FileExists(path, "a file is in the way of a directory of the archive; nothing was unpacked")
    for path in files:
        present = await home.stat(path)
        if path == destination or (present is not None and present.is_dir):
            raise FileExists(path, "a directory is in the way of a file of the archive; nothing was unpacked")
    await home.make_directories(directories)


async def _write_zip(home: HomeBackend, members: Sequence[_Member], destination: str) -> None:
    files = {member.path: member async for member in Paced(members) if not member.is_dir}
    folders = {member.path async for member in Paced(members) if member.is_dir}
    await _make_room(home, set(files), folders, destination)
    for member in files.values():
        async with aclosing(_content(member)) as content:
            await home.write(member.path, content, member.size)


async def _content(member: _Member) -> AsyncGenerator[bytes, None]:
    source = member.open()
    if source is None:
        return
    with source:
        while piece := source.read(PIECE):
            yield piece
            await checkpoint()
