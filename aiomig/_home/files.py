"""The user's MiG home: `Files`, the same on the grid and in local mode."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from .._core.errors import FileExists, FileNotFound, PathRefused
from .._core.paths import (
    archive_format,
    chain,
    check_characters,
    folder_of,
    home_path,
    is_inside,
    join,
)
from .reading import HomeReader, require_number, require_text
from .streams import upload_stream
from .transfer import download, upload

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Iterable
    from pathlib import Path

    from .._core.paths import FileInfo, HomePath
    from .transfer import LocalPath, Progress

_PIECE = 1 << 20


class Files(HomeReader):
    """The files of the MiG home, reached as ``session.files``.

    Paths are `str` or `PurePosixPath`, relative to the home. A leading ``/`` is the home, and so is ``"."``. Only
    `put`, `get`, `ls` and `find` accept the wildcards ``*`` and ``?``. Methods that create a file or directory also
    create missing parent directories. They replace an existing file, but never a directory.

    All methods raise `PathRefused` if a path leaves the home, is hidden by MiG, or is a directory instead of a file,
    `FileNotFound` if a path does not exist, and `GridError` or `LocalError` if the grid or this machine fails. A
    cancelled method leaves no partial files: each file has either its old or its new content. A method with several
    steps (directories, several files) may stop between two steps. Only `write_range` changes a file in place.

    Example::

        await session.files.put("data/*.csv", "input/")
        for info in await session.files.ls("input", recursive=True):
            print(info.path, info.size)                    # bytes
    """

    async def put(
        self,
        source: LocalPath | Iterable[LocalPath],
        destination: HomePath,
        *,
        progress: Progress | None = None,
    ) -> tuple[str, ...]:
        """Copy local files and directories to the home.

        Args:
            source: a file, a directory (copied recursively), a pattern, or several of these.
            destination: the new path. The sources are copied into it under their own names if it is a directory or ends
                with ``/``, or if ``source`` is a pattern or several sources.
            progress: called with the number of bytes copied so far, and the total.

        Returns:
            The paths of the copied files in the home, in order.

        Raises:
            FileNotFound: a source does not exist, or a pattern matches nothing.
            FileExists: two sources have the same name, or a file exists where a directory is needed.
        """
        return await upload(self._home, source, destination, progress)

    async def get(
        self,
        source: HomePath | Iterable[HomePath],
        destination: LocalPath,
        *,
        progress: Progress | None = None,
    ) -> tuple[Path, ...]:
        """Copy files and directories from the home to this machine; the reverse of `put`.

        Each file appears under its name when it is complete. Its permissions follow the umask.

        Args:
            source: a file, a directory (copied recursively), a pattern in the last component, or several of these.
            destination: the new path, or the directory to copy into, as in `put`. A missing directory is created.
            progress: called with the number of bytes copied so far, and the total.

        Returns:
            The local paths of the copied files, in order.

        Raises:
            FileNotFound: a source does not exist, or a pattern matches nothing.
            FileExists: two sources have the same name, or an existing file or directory is in the way.
            GridError: fewer bytes arrived than the size of the file.
        """
        return await download(self._home, source, destination, progress)

    async def put_stream(self, source: AsyncIterable[bytes], path: HomePath, *, size: int | None = None) -> int:
        """Create or replace a file atomically with the bytes of a stream. At most 16 MiB are held in memory.

        Example::

            await session.files.put_stream(request.stream(), "uploads/data.bin")      # in a route of Starlette

        Args:
            source: an async iterable of bytes, such as an async generator. It is read once and closed at the end.
            path: the file.
            size: the number of bytes in the stream, if known.

        Returns:
            The number of bytes written.

        Raises:
            SpecError: ``source`` does not yield bytes, or the number of bytes is not ``size``.
            GridError: the upload failed. aiomig retries requests as usual, but cannot restart a stream.
        """
        return await upload_stream(self._home, source, await self._new(path), size)

    async def write_bytes(self, path: HomePath, data: bytes | bytearray | memoryview) -> None:
        """Create or replace a file atomically."""
        content = bytes(memoryview(data))
        target = await self._new(path)
        async with aclosing(_pieces(content)) as pieces:
            await self._home.write(target, pieces, len(content))

    async def write_text(self, path: HomePath, text: str, encoding: str = "utf-8", errors: str = "strict") -> None:
        """Create or replace a file atomically. Line ends are not changed."""
        require_text("text", text)
        await self.write_bytes(path, text.encode(encoding, errors))

    async def write_range(self, path: HomePath, start: int, data: bytes | bytearray | memoryview) -> None:
        """Write to an existing file from byte ``start``. A gap is filled with zero bytes. This is not atomic."""
        clean = home_path(path)
        require_number("start", start, 0)
        await self._home.write_range(clean, start, bytes(memoryview(data)))

    async def mkdir(self, path: HomePath, *, parents: bool = True, exist_ok: bool = True) -> None:
        """Create a directory.

        Args:
            path: the directory.
            parents: create missing parent directories; otherwise raise `FileNotFound`.
            exist_ok: accept an existing directory.

        Raises:
            FileExists: a file is in the way, or the directory exists and ``exist_ok`` is false.
        """
        clean = self._named(path)
        if not exist_ok and await self._home.stat(clean) is not None:
            raise FileExists(clean)
        if parents:
            await self._make(clean)
        elif clean != ".":
            await self._present(folder_of(clean))
            await self._home.make_directories((clean,))

    async def copy(self, source: HomePath, destination: HomePath, *, recursive: bool = False) -> str:
        """Copy a file, or with ``recursive`` a directory, within the home.

        Args:
            source: the file or directory to copy.
            destination: the new path. If it is a directory or ends with ``/``, the copy is placed in it.
            recursive: allow copying a directory.

        Returns:
            The path of the copy.

        Raises:
            FileExists: the new path is a directory, or the source is a directory and the new path exists.
        """
        info = await self._present(home_path(source))
        if info.is_dir and not recursive:
            raise PathRefused(info.path, "is a directory; copy it with recursive=True")
        target = await self._target(info, destination)
        await self._home.copy(info.path, target)
        return target

    async def move(self, source: HomePath, destination: HomePath) -> str:
        """Move or rename a file or directory within the home. Arguments, result and errors are those of `copy`."""
        info = await self._present(home_path(source))
        target = await self._target(info, destination)
        await self._home.move(info.path, target)
        return target

    async def remove(self, path: HomePath, *, recursive: bool = False, missing_ok: bool = False) -> None:
        """Remove a file, or with ``recursive`` a directory and its contents, without moving it to MiG's trash.

        Args:
            path: the file or directory to remove, except the home itself.
            recursive: allow removing a directory.
            missing_ok: do nothing if it does not exist.
        """
        clean = _not_home(home_path(path))
        try:
            await self._home.remove(clean, recursive=recursive)
        except FileNotFound:
            if not missing_ok:
                raise

    async def rmdir(self, path: HomePath) -> None:
        """Remove an empty directory.

        Raises:
            FileExists: the directory is not empty.
        """
        await self._home.remove_directory(_not_home(home_path(path)))

    async def touch(self, path: HomePath) -> None:
        """Set the modification time of a file or directory to now, or create an empty file."""
        await self._home.touch(await self._new(path))

    async def truncate(self, path: HomePath, size: int = 0) -> None:
        """Shorten an existing file to ``size`` bytes, or extend it with zero bytes."""
        clean = home_path(path)
        require_number("size", size, 0)
        await self._home.truncate(clean, size)

    async def pack(self, source: HomePath, archive: HomePath) -> None:
        """Create an archive of one file or directory. The names in it begin with the name of the source.

        To pack several files, copy them to one directory first: a MiG server would keep only the last of several
        sources (docs/protocol.md#archives).

        Args:
            source: a file or directory, not the home itself.
            archive: a path outside the source that ends with ``.zip .tar .tar.gz .tgz .tar.bz2`` or ``.tbz``.
        """
        clean = _not_home(home_path(source))
        target = self._named(archive)
        archive_format(target)
        if target == clean or is_inside(target, clean):
            raise PathRefused(target, f"the archive would be inside its source {clean!r}; choose another place")
        await self._present(clean)
        await self._home.pack(clean, await self._new(target))

    async def unpack(self, archive: HomePath, destination: HomePath = ".") -> None:
        """Unpack an archive into a directory, which is created if missing. Existing files are replaced.

        Local mode checks all members first. It raises `PathRefused` and writes nothing if a member would leave the
        directory, is a link or a device, or is disproportionately large.

        Args:
            archive: the archive, with one of the suffixes listed in `pack`.
            destination: the directory.
        """
        clean = home_path(archive)
        archive_format(clean)
        await self._file(clean)
        target = self._named(destination)
        await self._make(target)
        await self._home.unpack(clean, target)

    @staticmethod
    def _named(path: HomePath) -> str:
        clean = home_path(path)
        check_characters(clean)
        return clean

    async def _new(self, path: HomePath) -> str:
        clean = self._named(path)
        if str(path).endswith("/") or clean == ".":
            raise PathRefused(str(path), "names a directory, not a file")
        await self._make(folder_of(clean))
        return clean

    async def _make(self, path: str) -> None:
        if directories := chain(path):
            await self._home.make_directories(directories)

    async def _target(self, source: FileInfo, destination: HomePath) -> str:
        target = self._named(destination)
        present = await self._home.stat(target)
        if str(destination).endswith("/") or (present is not None and present.is_dir):
            target = join(target, source.name)
            check_characters(target)
            present = await self._home.stat(target)
        if target == source.path or (source.is_dir and is_inside(target, source.path)):
            raise PathRefused(target, f"is {source.path!r} itself, or inside it; choose another destination")
        if present is not None and (present.is_dir or source.is_dir):
            raise FileExists(target, "is in the way; remove it first")
        await self._make(folder_of(target))
        return target


def _not_home(path: str) -> str:
    if path == ".":
        raise PathRefused(path, "is the home itself; name something inside it")
    return path


async def _pieces(data: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]
