"""The MiG home of local mode: a folder of this machine.

Links inside the folder are followed as long as they stay inside; nothing outside it can be reached, and a
link that leads there, or nowhere, is left out of listings, copies and archives. This guards against mistakes
and hostile names, not against another process that swaps links while a file is opened.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from .._core.errors import FileExists, FileNotFound, LocalError, PathRefused
from .._core.models import FileInfo
from .._core.paths import INVISIBLE, OWN_FOLDER, archive_format, join, name_of
from .._home.disk import (
    Entry,
    atomic_directory,
    atomic_write,
    copy_file,
    open_regular,
    read_file,
    remove_tree,
    translate_os_errors,
    walk,
    write_pieces,
)
from .archives import Packing, pack, unpack

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Sequence

__all__ = ["LocalHome", "copy_file"]


class LocalHome:
    """`aiomig._backend.HomeBackend` on a folder.

    Args:
        root: the folder, made where it is missing. What is being written lies in its ``.aiomig/tmp`` until
            it is whole, so all of it has to be one file system.

    Raises:
        LocalError: the folder cannot be made.
        FileExists: a file is there.
    """

    def __init__(self, root: Path) -> None:
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise FileExists(
                str(root), "a file is in the way, where the home must be; give another: aiomig.local(home=…)"
            ) from error
        except OSError as error:
            raise LocalError(
                f"the home {root} cannot be made: {error.strerror}",
                path=str(root),
                remedy="give a folder that you may write to: aiomig.local(home=…)",
            ) from error
        self.root = Path(os.path.realpath(root))
        self._own = self.root / OWN_FOLDER

    def locate(self, path: str, *, follow: bool = True) -> Path:
        """Where a normalised path of the home lies, links resolved.

        Args:
            path: relative to the home.
            follow: whether to resolve the last component, too.

        Raises:
            PathRefused: a link leads out of the home or into aiomig's own folder.
        """
        place = self.root / path
        if follow or path == ".":
            real = Path(os.path.realpath(place))
        else:
            real = Path(os.path.realpath(place.parent)) / place.name
        if not self._admits(real):
            raise PathRefused(path, "a symbolic link leads out of the MiG home; remove it, or copy what it points to")
        return real

    async def stat(self, path: str) -> FileInfo | None:
        """As `HomeBackend.stat`; pipes, sockets and devices count as nothing."""
        with translate_os_errors(path):
            real = self.locate(path)
            try:
                status = real.stat()
            except (FileNotFoundError, NotADirectoryError):
                status = None
        await checkpoint()
        return None if status is None else _info(path, status)

    async def listing(self, path: str, *, recursive: bool = False) -> list[FileInfo]:
        """As `HomeBackend.listing`; links out of the home, pipes, sockets and devices are left out."""
        info = await self._existing(path)
        if not info.is_dir:
            return [info]
        entries = await self._walk(path, recursive=recursive)
        found = (_info(join(path, entry.name), entry.status) for entry in entries if entry.status)
        return [info for info in found if info is not None]

    async def make_directories(self, paths: Sequence[str]) -> None:
        """As `HomeBackend.make_directories`."""
        for path in paths:
            real = self.locate(path)
            with translate_os_errors(path):
                try:
                    real.mkdir()
                except FileExistsError:
                    if not real.is_dir():
                        raise FileExists(path, "is a file, where a directory is needed") from None
            await checkpoint()

    async def read(self, path: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """As `HomeBackend.read`."""
        with translate_os_errors(path):
            async with aclosing(read_file(self.locate(path), start, end)) as pieces:
                async for piece in pieces:
                    yield piece

    async def write(self, path: str, content: AsyncIterable[bytes], size: int) -> None:
        """As `HomeBackend.write`."""
        real = self.locate(path)
        with translate_os_errors(path), atomic_write(real, folder=self.temporary_folder()) as file:
            async for piece in content:
                await write_pieces(file, piece)
            await checkpoint()
            if file.tell() != size:
                raise ValueError(f"size={size}: the content of {path!r} has {file.tell()} bytes")

    async def write_range(self, path: str, start: int, data: bytes) -> None:
        """As `HomeBackend.write_range`."""
        real = self._regular(path)
        with translate_os_errors(path), os.fdopen(os.open(real, os.O_WRONLY | os.O_CLOEXEC), "wb") as file:
            file.seek(start)
            await write_pieces(file, data)

    async def touch(self, path: str) -> None:
        """As `HomeBackend.touch`."""
        real = self.locate(path)
        with translate_os_errors(path):
            real.touch()
        await checkpoint()

    async def truncate(self, path: str, size: int) -> None:
        """As `HomeBackend.truncate`."""
        real = self._regular(path)
        with translate_os_errors(path):
            os.truncate(real, size)
        await checkpoint()

    async def copy(self, source: str, destination: str) -> None:
        """As `HomeBackend.copy`; the copy appears whole, also that of a directory."""
        info = await self._existing(source)
        origin, target, folder = self.locate(source), self.locate(destination), self.temporary_folder()
        if not info.is_dir:
            await copy_file(origin, target, folder=folder)
            return
        with translate_os_errors(destination), atomic_directory(target, folder=folder) as copied:
            for entry in await self._walk(source):
                if entry.is_dir:
                    (copied / entry.name).mkdir()
                elif entry.is_file:
                    await copy_file(entry.path, copied / entry.name)
            await checkpoint()

    async def move(self, source: str, destination: str) -> None:
        """As `HomeBackend.move`; a link is moved, not what it points to."""
        origin, target = self.locate(source, follow=False), self.locate(destination, follow=False)
        await checkpoint()
        with translate_os_errors(destination):
            origin.rename(target)

    async def remove(self, path: str, *, recursive: bool) -> None:
        """As `HomeBackend.remove`; a link is removed, not its target. Cancelled, it has removed a part."""
        real = self.locate(path, follow=False)
        with translate_os_errors(path):
            try:
                is_dir = stat.S_ISDIR(real.lstat().st_mode)
            except NotADirectoryError:
                raise FileNotFound(path) from None
            if is_dir and not recursive:
                raise PathRefused(path, "is a directory; remove it with recursive=True, or with rmdir if it is empty")
            await checkpoint()
            if is_dir:
                await remove_tree(real)
            else:
                real.unlink()

    async def remove_directory(self, path: str) -> None:
        """As `HomeBackend.remove_directory`."""
        if not (await self._existing(path)).is_dir:
            raise PathRefused(path, "is a file, where a directory is needed")
        with translate_os_errors(path):
            self.locate(path, follow=False).rmdir()

    async def checksum(self, path: str, algorithm: str) -> str:
        """As `HomeBackend.checksum`."""
        digest = hashlib.new(algorithm, usedforsecurity=False)
        async with aclosing(self.read(path)) as pieces:
            async for piece in pieces:
                digest.update(piece)
        return digest.hexdigest()

    async def pack(self, source: str, archive: str) -> None:
        """As `HomeBackend.pack`; the archive appears whole."""
        info = await self._existing(source)
        sources = [Packing(info.name, self.locate(source), is_dir=info.is_dir)]
        if info.is_dir:
            sources += [
                Packing(f"{info.name}/{entry.name}", entry.path, is_dir=entry.is_dir)
                for entry in await self._walk(source)
                if entry.is_dir or entry.is_file
            ]
        target = self.locate(archive)
        with translate_os_errors(archive), atomic_write(target, folder=self.temporary_folder()) as file:
            await pack(file, archive_format(archive), sources)
            await checkpoint()

    async def unpack(self, archive: str, destination: str) -> None:
        """As `HomeBackend.unpack`; all members are checked before the first is written.

        Raises:
            PathRefused: a member leads out of ``destination`` or cannot be written; it is named.
            LocalError: the archive is damaged.
        """
        with translate_os_errors(archive), open_regular(self.locate(archive)) as file:
            await unpack(self, file, archive, destination)

    def temporary_folder(self) -> Path:
        """Where files lie until they are whole: in the home, out of sight; made where it is missing."""
        folder = self._own / "tmp"
        with translate_os_errors(str(folder), "on this machine"):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _admits(self, real: Path) -> bool:
        return real.is_relative_to(self.root) and not real.is_relative_to(self._own)

    async def _walk(self, path: str, *, recursive: bool = True) -> list[Entry]:
        def admit(name: str, real: Path) -> bool:
            return self._admits(real) and name.rpartition("/")[2] not in INVISIBLE

        with translate_os_errors(path):
            return await walk(self.locate(path), recursive=recursive, admit=admit)

    async def _existing(self, path: str) -> FileInfo:
        info = await self.stat(path)
        if info is None:
            raise FileNotFound(path)
        return info

    def _regular(self, path: str) -> Path:
        real = self.locate(path)
        with translate_os_errors(path):
            open_regular(real).close()  # refuses directories and pipes
        return real


def _info(path: str, status: os.stat_result) -> FileInfo | None:
    is_dir = stat.S_ISDIR(status.st_mode)
    if not is_dir and not stat.S_ISREG(status.st_mode):
        return None
    return FileInfo(
        path=path,
        name=name_of(path),
        is_dir=is_dir,
        size=0 if is_dir else status.st_size,
        modified_at=datetime.fromtimestamp(status.st_mtime, UTC),
    )
