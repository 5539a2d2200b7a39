"""Transfers many small files as one archive that the server packs or unpacks.

A single file costs up to four requests. The archive is an uncompressed tar, which is written and read as a stream, and
whose size is known in advance. The server unpacks it into a new folder in the cache of uploads. If the sizes are right,
the files are moved to their places, so each file is replaced atomically, and nothing is unpacked over a link. All other
files are transferred one by one (docs/protocol.md#archives).
"""

from __future__ import annotations

import logging
import posixpath
import secrets
import tarfile
from collections import defaultdict
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING

from .._core.errors import FileExists, FileNotFound, GridError, PathRefused, ServerError
from .._core.paths import below, folder_of, has_pattern, join, name_of, stray_character
from .._core.tasks import run_shielded
from .._core.turns import Paced
from .._home.disk import ON_THIS_MACHINE, read_file, translate_os_errors
from .._home.tar import Pieces, TarReader, tar_content, tar_size
from .._home.transfer import put_each, receive_file
from .home import CACHE, GridHome
from .protocol.answer import raise_for_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from .._backend import GetFile, PutFile
    from .config import RequestLimits
    from .operations import OperationClient

logger = logging.getLogger("aiomig.grid")

_PREFIX = "aiomig-"
_FORGOTTEN = timedelta(days=1)
_MOST_MEMBERS = 20_000
_PATHS_A_REQUEST = 500
_REFUSALS = (GridError, FileExists, FileNotFound, PathRefused)


class BundlingHome(GridHome):
    """A home that transfers many small files as archives. Its arguments are those of `GridHome`."""

    def __init__(self, operations: OperationClient, limits: RequestLimits) -> None:
        super().__init__(operations, limits)
        self._refused: set[str] = set()
        self._has_looked = False

    # -- into the home

    async def put_files(
        self, folders: Sequence[str], files: Sequence[PutFile], report: Callable[[int], object]
    ) -> None:
        """As `HomeBackend.put_files`."""
        small = [file async for file in Paced(files) if await self._is_small(file)] if self._many(files) else []
        if not self._many(small) or "unpack" in self._refused:
            await self.make_directories(folders)
            await put_each(self, files, report)
            return
        done = await self._put_small(folders, small, report)
        if not done:
            await self.make_directories(folders)
        await put_each(self, [file for file in files if file.path not in done], report)

    def _many(self, files: Sequence[object]) -> bool:
        return len(files) >= self._limits.archive_from

    async def _is_small(self, file: PutFile) -> bool:
        if file.size or isinstance(file.source, bytes):
            return file.size <= self._limits.archived_file
        # Files in /proc report 0 bytes.
        with translate_os_errors(str(file.source), ON_THIS_MACHINE):
            async with aclosing(read_file(file.source, 0, 1)) as pieces:
                return await anext(pieces, b"") == b""

    async def _put_small(
        self, folders: Sequence[str], files: Sequence[PutFile], report: Callable[[int], object]
    ) -> set[str]:
        """Upload small files. Return the paths of those that arrived. If any did, all directories exist."""
        present = await self.stat_many(folders)
        for path, info in present.items():
            if not info.is_dir:
                raise FileExists(path, "a file is in the way")
        missing = [path for path in folders if path not in present]
        done: set[str] = set()
        for batch in _batches(files, self._limits.archive_bytes):
            if not await self._put_archive(folders, missing, batch, report):
                break
            done.update(file.path for file in batch)
            missing = []
        return done

    async def _put_archive(
        self,
        folders: Sequence[str],
        missing: Sequence[str],
        files: Sequence[PutFile],
        report: Callable[[int], object],
    ) -> bool:
        """Upload files as an archive. Return whether all files and directories are in their places."""
        folder = f"{CACHE}/{_PREFIX}{secrets.token_hex(12)}"
        archive, sent, forgotten = f"{folder}.tar", 0, [folder]

        def count(size: int) -> None:
            nonlocal sent
            sent += size
            report(size)

        size = await tar_size(folders, files)
        try:
            async with aclosing(tar_content(folders, files, count)) as content:
                await self.upload(name_of(archive), content, size)
            try:
                forgotten += await self._left_behind(archive)
                await self._unpack(archive, folder, files)
                await self._move(folder, missing, files)
            except _REFUSALS as error:
                logger.info("%d files go one by one: %s", len(files), error)
                report(-sent)
                return False
        finally:
            await self.forget(archive, *forgotten)
        return True

    async def _unpack(self, archive: str, folder: str, files: Sequence[PutFile]) -> None:
        """Unpack, and compare the sizes.

        A cancellation waits for the server, which would otherwise write files after their removal.
        """
        try:
            await self._finish("unpack", [("src", archive), ("dst", f"{folder}/")])  # which makes the folder
            listed = await self.listing(folder, recursive=True)
            sizes = {below(folder, info.path): info.size async for info in Paced(listed) if not info.is_dir}
            wrong = [file.path for file in files if sizes.get(file.path) != file.size]
            if wrong:
                raise ServerError("unpack", [f"{len(wrong)} files did not arrive completely, such as {wrong[0]}"])
        except _REFUSALS:
            self._refused.add("unpack")
            raise

    async def _finish(self, operation: str, fields: Sequence[tuple[str, str]]) -> None:
        async def run() -> None:
            raise_for_errors(operation, await self._operations.execute(operation, fields, repeatable=True))

        await run_shielded(run, seconds_if_cancelled=self._limits.clean_up)

    async def _move(self, folder: str, missing: Sequence[str], files: Sequence[PutFile]) -> None:
        """Move new directories as a whole, and the other files into their directories."""
        new = set(missing)
        moves: dict[str, list[str]] = defaultdict(list)
        for path in (*missing, *(file.path for file in files)):
            if folder_of(path) not in new:
                moves[folder_of(path)].append(path)
        sizes = {file.path: file.size for file in files}
        for parent, paths in moves.items():
            for part in _parts(paths, _PATHS_A_REQUEST):
                fields = [*(("src", join(folder, path)) for path in part), ("dst", parent)]
                try:
                    raise_for_errors("mv", await self._operations.execute("mv", fields))
                except _REFUSALS:
                    await self._move_again(folder, part, sizes)

    async def _move_again(self, folder: str, paths: Sequence[str], sizes: dict[str, int]) -> None:
        """Move what is left in the folder. Move each file to its full path, which replaces an existing file."""
        left = await self.stat_many([join(folder, path) for path in paths])
        present = await self.stat_many([below(folder, path) for path in left])
        for source, info in left.items():
            path = below(folder, source)
            if info.is_dir or (path in present and present[path].is_dir):
                raise FileExists(path, "is in the way")
            await self.put_in_place(source, path, sizes[path])

    async def _left_behind(self, archive: str) -> list[str]:
        """Return the files in the cache that killed programs left at least a day ago, by the server's clock."""
        if self._has_looked:
            return []
        self._has_looked = True
        entries = {info.path: info for info in await self.listing(CACHE)}
        now = entries[archive].modified_at if archive in entries else None
        return [
            info.path
            for info in entries.values()
            if now is not None
            and info.name.startswith(_PREFIX)
            and info.modified_at is not None
            and now - info.modified_at > _FORGOTTEN
        ]

    # -- out of the home

    async def get_files(self, files: Sequence[GetFile], folder: str | None, report: Callable[[int], object]) -> None:
        """As `HomeBackend.get_files`."""
        done: set[Path] = set()
        for root, inside in self._packable(folder, files) if folder is not None else ():
            done |= await self._get_archive(root, {file.info.path: file for file in inside}, report)
        for inside in self._copyable([file for file in files if file.destination not in done]):
            done |= await self._get_copies(inside, report)
        for file in files:
            if file.destination not in done:
                await self.get_file(file.info, file.destination, report)

    def _packable(self, folder: str, files: Sequence[GetFile]) -> Iterator[tuple[str, Sequence[GetFile]]]:
        """Yield the topmost directories with enough files for an archive, but not too many bytes, and their files."""
        pending: list[tuple[str, Sequence[GetFile]]] = [(folder, files)]
        while pending:
            root, inside = pending.pop()
            if not self._many(inside):
                continue
            size = sum(file.info.size for file in inside)
            # The home itself cannot be packed, because it contains the archive.
            if root != "." and size <= self._limits.archive_bytes and _is_addressable(root):
                yield root, inside
                continue
            children: dict[str, list[GetFile]] = defaultdict(list)
            for file in inside:
                name, slash, _ = below(root, file.info.path).partition("/")
                if slash:
                    children[join(root, name)].append(file)
            pending += children.items()

    def _copyable(self, files: Sequence[GetFile]) -> Iterator[Sequence[GetFile]]:
        """Yield the small files of each directory, if they are enough for an archive, but not too many bytes."""
        folders: dict[str, list[GetFile]] = defaultdict(list)
        for file in files:
            if file.info.size <= self._limits.archived_file and _is_addressable(file.info.path):
                folders[folder_of(file.info.path)].append(file)
        for inside in folders.values():
            if self._many(inside) and sum(file.info.size for file in inside) <= self._limits.archive_bytes:
                yield inside

    async def _get_copies(self, files: Sequence[GetFile], report: Callable[[int], object]) -> set[Path]:
        """Copy files into a temporary directory on the server, and get that directory by `_get_archive`."""
        folder = f"{CACHE}/{_PREFIX}{secrets.token_hex(12)}"
        copies = {join(folder, file.info.name): file for file in files}
        if "pack" in self._refused:
            return set()
        try:
            await self.make_directories([CACHE, folder])
            for part in _parts([file.info.path for file in copies.values()], _PATHS_A_REQUEST):
                await self._finish("cp", [*(("src", path) for path in part), ("dst", folder)])
            return await self._get_archive(folder, copies, report)
        except _REFUSALS as error:
            logger.info("%d files are fetched one by one: %s", len(files), error)
            return set()
        finally:
            await self.forget(folder)

    async def _get_archive(self, root: str, wanted: dict[str, GetFile], report: Callable[[int], object]) -> set[Path]:
        """Make the server pack a directory, and get the files in it.

        Args:
            root: the directory.
            wanted: the files, by their paths in the home. Files that arrive are removed from it.
            report: as for `get_files`.

        Returns:
            The local paths of the files that arrived; an empty set if the server does not pack.
        """
        if "pack" in self._refused:
            return set()
        archive = f"{CACHE}/{_PREFIX}{secrets.token_hex(12)}.tar"
        done: set[Path] = set()
        received = 0

        def count(size: int) -> None:
            nonlocal received
            received += size
            report(size)

        try:
            await self.make_directories([CACHE])
            await self._finish("pack", [("src", root), ("dst", archive), ("current_dir", ".")])
            async with aclosing(self.read(archive)) as content:
                reader = TarReader(Pieces(content).read)
                while (file := await _next_file(reader, root, wanted)) is not None:
                    await receive_file(reader.content(), file.info, file.destination, count)
                    done.add(file.destination)
                    received = 0
        except (*_REFUSALS, tarfile.TarError) as error:
            logger.info("%d files are fetched one by one: %s", len(wanted), error)
            self._refused.add("pack")
            report(-received)
        finally:
            await self.forget(archive)
        return done


async def _next_file(reader: TarReader, root: str, wanted: dict[str, GetFile]) -> GetFile | None:
    """Return the file of the next member with the listed size, and remove it from ``wanted``.

    Links and other members are skipped. Names are relative to the home, or to the parent of the packed directory.
    """
    while (member := await reader.next()) is not None:
        name = posixpath.normpath(member.name)
        file = wanted.pop(name, None) or wanted.pop(join(folder_of(root), name), None)
        if file is not None and not member.is_dir and not member.problem and member.size == file.info.size:
            return file
    return None


def _batches(files: Iterable[PutFile], most: int) -> Iterator[list[PutFile]]:
    batch: list[PutFile] = []
    size = 0
    for file in files:
        if batch and (size + file.size > most or len(batch) == _MOST_MEMBERS):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size
    yield batch


def _parts(items: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    return (items[start : start + most] for start in range(0, len(items), most))


def _is_addressable(path: str) -> bool:
    return stray_character(path) is None and not has_pattern(path)
