"""The MiG home of local mode: a directory of this machine.

Links are followed if they stay inside the home. Listings, copies and archives omit links that lead out of it or
nowhere. Removing and moving use descriptors and follow no links at all. Reading and writing guard against mistakes and
hostile names, but not against a process that swaps links at that moment.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from .._core.errors import FileExists, FileNotFound, LocalError, PathRefused
from .._core.paths import INVISIBLE, OWN_FOLDER, FileInfo, archive_format, join, name_of
from .._core.turns import Paced
from .._home.disk import (
    ON_THIS_MACHINE,
    atomic_directory,
    atomic_write,
    copy_content,
    copy_file,
    open_regular,
    read_file,
    translate_os_errors,
    write_pieces,
)
from .._home.folders import Entry, make_private, open_below, open_directory, remove_tree, walk
from .._home.transfer import put_each, require_size
from .archives import Packing, pack, unpack

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator, Sequence

    from .._backend import GetFile, PutFile


class LocalHome:
    """`aiomig._backend.HomeBackend` on a folder.

    Args:
        root: the directory, created if needed. Files are written in its ``.aiomig/tmp`` and then renamed, so the home
            must be one file system.

    Raises:
        LocalError: the directory cannot be created or used.
    """

    def __init__(self, root: Path) -> None:
        make_home_folder(root)
        self.root = Path(os.path.realpath(root))
        self._own = self.root / OWN_FOLDER

    def locate(self, path: str) -> Path:
        """Return where a normalised path of the home lies, links resolved.

        Raises:
            PathRefused: a link leads out of the home or into aiomig's own directory.
        """
        real = Path(os.path.realpath(self.root / path))
        if not self._admits(real):
            raise PathRefused(path, "a symbolic link leads out of the MiG home; remove it, or copy what it points to")
        return real

    @contextmanager
    def _holder(self, path: str) -> Iterator[tuple[int, str]]:
        """Yield the descriptor of the directory of a path, and the name in it. The last link is not resolved."""
        folder, name = os.path.split(path)
        real = self.locate(folder or ".")
        if real / name == self._own:
            raise PathRefused(path, "belongs to aiomig's local mode; use another name")
        with open_below(self.root, str(real.relative_to(self.root))) as descriptor:
            yield descriptor, name

    async def stat(self, path: str) -> FileInfo | None:
        """As `HomeBackend.stat`; pipes, sockets and devices do not exist for it."""
        with translate_os_errors(path):
            real = self.locate(path)
            try:
                entry = Entry(path, real, real.stat())
            except (FileNotFoundError, NotADirectoryError):
                entry = Entry(path, real, None)
        await checkpoint()
        return _info(path, entry.status) if entry.status and (entry.is_dir or entry.is_file) else None

    async def stat_many(self, paths: Sequence[str]) -> dict[str, FileInfo]:
        """As `HomeBackend.stat_many`."""
        return {path: info for path in paths if (info := await self.stat(path)) is not None}

    async def listing(self, path: str, *, recursive: bool = False) -> list[FileInfo]:
        """As `HomeBackend.listing`; links out of the home, pipes, sockets and devices are left out."""
        info = await self._existing(path)
        if not info.is_dir:
            return [info]
        entries = await self._walk(path, recursive=recursive)
        return [
            _info(join(path, entry.name), entry.status)
            async for entry in Paced(entries)
            if entry.status and (entry.is_dir or entry.is_file)
        ]

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

    async def write(self, path: str, content: AsyncIterable[bytes], size: int | None) -> None:
        """As `HomeBackend.write`."""
        real = self.locate(path)
        with translate_os_errors(path), atomic_write(real, folder=self.temporary_folder()) as file:
            async for piece in content:
                await write_pieces(file, piece)
            await checkpoint()
            if size not in (None, file.tell()):
                raise ValueError(f"size={size}: the content of {path!r} has {file.tell()} bytes")

    async def put_file(self, source: Path, path: str, size: int, report: Callable[[int], object]) -> None:
        """As `HomeBackend.put_file`; holes stay holes."""
        with translate_os_errors(str(source), ON_THIS_MACHINE):
            origin = open_regular(source)
        real = self.locate(path)
        with origin, translate_os_errors(path), atomic_write(real, folder=self.temporary_folder()) as target:
            copied = await copy_content(origin, target, size=size, report=report)
            require_size(str(source), copied, size)

    async def get_file(self, info: FileInfo, destination: Path, report: Callable[[int], object]) -> None:
        """As `HomeBackend.get_file`; holes stay holes."""
        with translate_os_errors(info.path):
            origin = open_regular(self.locate(info.path))
        with origin, translate_os_errors(str(destination), ON_THIS_MACHINE), atomic_write(destination) as target:
            require_size(info.path, await copy_content(origin, target, report=report), info.size)

    async def put_files(
        self, folders: Sequence[str], files: Sequence[PutFile], report: Callable[[int], object]
    ) -> None:
        """As `HomeBackend.put_files`, one after the other."""
        await self.make_directories(folders)
        await put_each(self, files, report)

    async def get_files(self, files: Sequence[GetFile], folder: str | None, report: Callable[[int], object]) -> None:
        """As `HomeBackend.get_files`, one after the other."""
        for file in files:
            await self.get_file(file.info, file.destination, report)

    async def write_range(self, path: str, start: int, data: bytes) -> None:
        """As `HomeBackend.write_range`."""
        with translate_os_errors(path), open_regular(self.locate(path), write=True) as file:
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
        with translate_os_errors(path), open_regular(self.locate(path), write=True) as file:
            file.truncate(size)
        await checkpoint()

    async def copy(self, source: str, destination: str) -> None:
        """As `HomeBackend.copy`; the copy appears whole, also that of a directory."""
        info = await self._existing(source)
        origin, target, folder = self.locate(source), self.locate(destination), self.temporary_folder()
        if not info.is_dir:
            await copy_file(origin, target, folder=folder)
            return
        with translate_os_errors(destination):
            async with atomic_directory(target, folder=folder) as copied:
                async for entry in Paced(await self._walk(source)):
                    if entry.is_dir:
                        (copied / entry.name).mkdir()
                    elif entry.is_file:
                        await copy_file(entry.path, copied / entry.name)
                await checkpoint()

    async def move(self, source: str, destination: str) -> None:
        """As `HomeBackend.move`; a link is moved, not what it points to."""
        await checkpoint()
        with (
            translate_os_errors(destination),
            self._holder(source) as (old_folder, old_name),
            self._holder(destination) as (new_folder, new_name),
        ):
            os.rename(old_name, new_name, src_dir_fd=old_folder, dst_dir_fd=new_folder)

    async def remove(self, path: str, *, recursive: bool) -> None:
        """As `HomeBackend.remove`; a link is removed, not its target. Cancelled, it has removed a part."""
        await checkpoint()
        with translate_os_errors(path):
            try:
                with self._holder(path) as (folder, name):
                    if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                        os.unlink(name, dir_fd=folder)
                    elif recursive:
                        await remove_tree(name, folder)
                    else:
                        raise PathRefused(path, "is a directory; remove it with recursive=True, or rmdir if empty")
            except NotADirectoryError:
                raise FileNotFound(path) from None

    async def remove_directory(self, path: str) -> None:
        """As `HomeBackend.remove_directory`."""
        if not (await self._existing(path)).is_dir:
            raise PathRefused(path, "is a file, where a directory is needed")
        with translate_os_errors(path), self._holder(path) as (folder, name):
            os.rmdir(name, dir_fd=folder)

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
        """Return the hidden directory for incomplete files, created if needed."""
        folder = self._own / "tmp"
        with translate_os_errors(str(folder), "on this machine"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
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


def make_home_folder(folder: Path) -> None:
    """Create the home or its parent, private if it is new.

    Raises:
        LocalError: it cannot be created or used.
    """
    try:
        make_private(folder)
    except OSError as error:
        raise LocalError(
            f"the home {folder} cannot be used: {error.strerror}",
            path=str(folder),
            remedy="give a folder of your own: aiomig.local(home=…)",
        ) from error


def make_own_folder(folder: Path) -> None:
    """Create a directory of aiomig in the home, and make it private.

    Raises:
        LocalError: it cannot be created or used, or a job replaced it by a link.
    """
    make_home_folder(folder)
    if folder.is_symlink():
        raise LocalError(
            f"the home cannot be used: {folder} is a symbolic link, and aiomig follows none in its own folder",
            path=str(folder),
            remedy="remove the link",
        )
    with open_directory(str(folder)) as descriptor:
        os.fchmod(descriptor, 0o700)


def _info(path: str, status: os.stat_result) -> FileInfo:
    is_dir = stat.S_ISDIR(status.st_mode)
    size = 0 if is_dir else status.st_size
    return FileInfo(path, name_of(path), is_dir, size, datetime.fromtimestamp(status.st_mtime, UTC))
