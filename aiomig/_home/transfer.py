"""Copying files and directories between this machine and the MiG home, for `Files.put` and `Files.get`.

All names are checked before the transfer starts, so a name that MiG does not accept, or two sources with the same
destination, raise an error before anything is changed.
"""

from __future__ import annotations

import glob
import inspect
import os
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

from anyio.lowlevel import checkpoint

from .._backend import GetFile, PutFile
from .._core.display import short_repr
from .._core.errors import FileExists, FileNotFound, GridError, LocalError, PathRefused
from .._core.paths import (
    HomePath,
    below,
    chain,
    check_characters,
    folder_of,
    has_pattern,
    home_path,
    is_inside,
    join,
    listed_path,
    name_matches,
    name_of,
)
from .._core.turns import Paced, give_way, sort_steps
from .._core.validation import plain_text
from .disk import (
    ON_THIS_MACHINE,
    atomic_write,
    ensure_replaceable,
    mark_as_callers,
    read_file,
    translate_os_errors,
    write_pieces,
)
from .folders import Entry, walk

if TYPE_CHECKING:
    from .._backend import HomeBackend
    from .._core.paths import FileInfo

LocalPath: TypeAlias = str | os.PathLike[str]
"""A path on this machine."""

Progress: TypeAlias = Callable[[int, int], object]
"""Called with the number of bytes copied so far and the total, over all files of one call."""

_SAME_NAME = "several sources would be copied to this file; rename one of them"
_MOST_UNSIZED = 64 << 20
"""The largest file, in bytes, whose size is not known before it is read."""


class Meter:
    """Adds up the copied bytes and reports them to a callback, at least once."""

    def __init__(self, report: Progress | None, total: int) -> None:
        if inspect.iscoroutinefunction(report):
            raise TypeError(f"progress={short_repr(report)}: must be a function, not a coroutine function")
        self._report = report
        self._total = total
        self._done = 0
        if total == 0:
            self.add(0)

    def add(self, count: int) -> None:
        """Add copied bytes, and report the sum."""
        self._done += count
        # A file may grow while it is read.
        self._total = max(self._total, self._done)
        if self._report is not None:
            try:
                self._report(self._done, self._total)
            except OSError as error:
                mark_as_callers(error)
                raise


async def upload(
    home: HomeBackend,
    sources: LocalPath | Iterable[LocalPath],
    destination: HomePath,
    progress: Progress | None,
) -> tuple[str, ...]:
    """Copy local files and directories to the home; see `Files.put`."""
    paths, several = _local_sources(sources)
    base = home_path(destination)
    inside = await _goes_inside(home, destination, base, several=several)
    folders: set[str] = set()
    files: dict[str, PutFile] = {}
    for source in paths:
        await _plan_upload(source, join(base, _local_name(source)) if inside else base, folders, files)
    needed: set[str] = set()
    async for folder in Paced([*folders, *map(folder_of, files), *map(folder_of, folders)]):
        needed.update(chain(folder))
    async for path in Paced((*sorted(needed), *files)):
        check_characters(path)
    meter = Meter(progress, sum(file.size for file in files.values()))
    await home.put_files(sorted(needed), list(files.values()), meter.add)
    return tuple(files)


async def put_each(home: HomeBackend, files: Iterable[PutFile], report: Callable[[int], object]) -> None:
    """Copy local files to existing directories of the home, one after the other."""
    for file in files:
        if isinstance(file.source, bytes):
            async with aclosing(once(file.source)) as content:
                await home.write(file.path, content, len(file.source))
            report(len(file.source))
        else:
            await home.put_file(file.source, file.path, file.size, report)


async def once(data: bytes) -> AsyncGenerator[bytes, None]:
    """Yield bytes as one chunk."""
    yield data


async def _goes_inside(home: HomeBackend, destination: HomePath, base: str, *, several: bool) -> bool:
    if base == "." or str(destination).endswith("/"):
        return True
    present = await home.stat(base)
    if several and present is not None and not present.is_dir:
        raise FileExists(base, "is a file; several sources need a directory")
    return several or (present is not None and present.is_dir)


def _local_sources(sources: LocalPath | Iterable[LocalPath]) -> tuple[list[Path], bool]:
    """Return the local paths of sources, and whether the sources can be more than one path."""
    several = not isinstance(sources, str | os.PathLike)
    paths: list[Path] = []
    for source in (sources,) if isinstance(sources, str | os.PathLike) else sources:
        path = local_path(source)
        if os.path.lexists(path):
            paths.append(path)
        elif has_pattern(str(path)):
            several = True
            # Only * and ? are wildcards, as in paths of the home. Brackets are ordinary characters.
            matches = sorted(glob.glob(str(path).replace("[", "[[]")))
            if not matches:
                raise FileNotFound(str(path), f"matches nothing {ON_THIS_MACHINE}")
            paths.extend(map(Path, matches))
        else:
            raise FileNotFound(str(path), f"no such file or directory {ON_THIS_MACHINE}")
    return paths, several


def local_path(path: LocalPath) -> Path:
    """Convert a local path to a `Path`.

    Raises:
        PathRefused: the path is empty or contains NUL.
        TypeError: the argument is not a path.
    """
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"{path!r}: a local path must be str or a path object, not {type(text).__name__}")
    if not text or "\0" in text:
        raise PathRefused(text, "is empty or contains NUL; give a valid local path")
    return Path(plain_text(text))


def _local_name(path: Path) -> str:
    # "." and ".." have no base name, but the directories that they refer to have one.
    return path.name if path.name not in {"", ".."} else path.resolve().name or "."


async def _plan_upload(source: Path, target: str, folders: set[str], files: dict[str, PutFile]) -> None:
    with translate_os_errors(str(source), ON_THIS_MACHINE):
        entries = [Entry(".", source, source.stat())]
        if entries[0].is_dir:
            entries += await walk(source)
    async for entry in Paced(entries):
        path = home_path(join(target, entry.name))
        if entry.status is None:
            raise FileNotFound(str(entry.path), f"is a broken link or has disappeared {ON_THIS_MACHINE}")
        if entry.is_dir:
            folders.add(path)
        elif not entry.is_file:
            raise PathRefused(str(entry.path), "is neither a file nor a directory; leave it out")
        elif path in files:
            raise FileExists(path, _SAME_NAME)
        else:
            files[path] = PutFile(entry.path, path, entry.status.st_size)


async def file_content(source: Path, size: int, report: Callable[[int], object]) -> AsyncGenerator[bytes, None]:
    """Yield the first ``size`` bytes of a local file. The caller closes the generator.

    Args:
        source: the file.
        size: its size in bytes; the file may have grown since.
        report: called with the number of bytes of each chunk.

    Raises:
        LocalError: the file has become shorter.
    """
    sent = 0
    with translate_os_errors(str(source), ON_THIS_MACHINE):
        async with aclosing(read_file(source, 0, size)) as pieces:
            async for piece in pieces:
                yield piece
                sent += len(piece)
                report(len(piece))
    require_size(str(source), sent, size)


def require_size(path: str, count: int, size: int) -> None:
    """Raise `LocalError` if fewer bytes were read from a local file than its size."""
    if count < size:
        raise LocalError(
            f"{path}: became shorter while it was read, {count} bytes instead of {size}",
            path=path,
            remedy="copy it when no program writes to it",
        )


async def unsized_content(source: Path) -> bytes:
    """Return the content of a local file that reports size 0, like files of ``/proc``.

    Raises:
        LocalError: the file is too large to be read into memory, or cannot be read.
    """
    content = bytearray()
    with translate_os_errors(str(source), ON_THIS_MACHINE):
        async with aclosing(read_file(source)) as pieces:
            async for piece in pieces:
                content += piece
                if len(content) > _MOST_UNSIZED:
                    raise LocalError(
                        f"{source}: reports a size of 0 bytes, but has more than {_MOST_UNSIZED}",
                        path=str(source),
                        remedy="copy it to a regular file, and put that",
                    )
    return bytes(content)


async def download(
    home: HomeBackend,
    sources: HomePath | Iterable[HomePath],
    destination: LocalPath,
    progress: Progress | None,
) -> tuple[Path, ...]:
    """Copy files and directories of the home to this machine; see `Files.get`."""
    entries, several = await _home_sources(home, sources)
    base = local_path(destination)
    with translate_os_errors(str(base), ON_THIS_MACHINE):
        inside = several or os.fspath(destination).endswith("/") or base.is_dir()
        if several and base.is_file():
            raise FileExists(str(base), "is a file; several sources need a directory")
    folders: list[Path] = []
    files: dict[Path, FileInfo] = {}
    ends: list[int] = []
    for source in entries:
        await _plan_download(home, source, base / source.name if inside else base, folders, files)
        ends.append(len(files))
    async for folder in Paced(dict.fromkeys((*folders, *(path.parent for path in files)))):
        with translate_os_errors(str(folder), ON_THIS_MACHINE):
            folder.mkdir(parents=True, exist_ok=True)
    meter = Meter(progress, sum(info.size for info in files.values()))
    wanted = [GetFile(info, path) for path, info in files.items()]
    alone: list[GetFile] = []
    for source, start, end in zip(entries, [0, *ends], ends, strict=False):
        if source.is_dir:
            await home.get_files(wanted[start:end], source.path, meter.add)
        else:
            alone += wanted[start:end]
    await home.get_files(alone, None, meter.add)
    return tuple(files)


async def _home_sources(home: HomeBackend, sources: HomePath | Iterable[HomePath]) -> tuple[list[FileInfo], bool]:
    """Return the files and directories that sources refer to, and whether the sources can be more than one path."""
    several = not isinstance(sources, str | PurePosixPath)
    entries: list[FileInfo] = []
    for source in (sources,) if isinstance(sources, str | PurePosixPath) else sources:
        path = home_path(source, pattern=True)
        if has_pattern(path):
            several = True
            matches = await matching(home, path)
            if not matches:
                raise FileNotFound(path, "matches nothing in the MiG home")
            entries.extend(matches)
        elif (info := await home.stat(path)) is not None:
            entries.append(info)
        else:
            raise FileNotFound(path)
    return entries, several


async def matching(home: HomeBackend, pattern: str, *, hidden: bool = False) -> list[FileInfo]:
    """Return the matches of a path with a pattern in its last component, sorted by path.

    Names with a leading dot match if ``hidden`` is true or the pattern begins with a dot.

    Raises:
        FileNotFound: the directory does not exist.
    """
    folder, name = folder_of(pattern), name_of(pattern)
    dots = hidden or name.startswith(".")
    matches = [
        info
        async for info in Paced(await home.listing(folder))
        if is_inside(info.path, folder) and (dots or not info.name.startswith(".")) and name_matches(info.name, name)
    ]
    return await give_way(sort_steps(matches, lambda info: info.path))


async def _plan_download(
    home: HomeBackend, source: FileInfo, target: Path, folders: list[Path], files: dict[Path, FileInfo]
) -> None:
    listed_path(source.path)
    entries = [source]
    if source.is_dir:
        below_it = await home.listing(source.path, recursive=True)
        entries += await give_way(sort_steps(below_it, lambda info: info.path))
    async for entry in Paced(entries):
        # The names come from a server: do not write to local paths outside the destination.
        relative = below(source.path, listed_path(entry.path))
        if entry is not source and not is_inside(entry.path, source.path):
            raise PathRefused(entry.path, f"the listing of {source.path!r} contains a path outside it")
        path = target if entry is source else target / relative
        with translate_os_errors(str(path), ON_THIS_MACHINE):
            if entry.is_dir:
                folders.append(path)
            elif path in files:
                raise FileExists(str(path), _SAME_NAME)
            else:
                ensure_replaceable(path)
                files[path] = entry


async def receive_file(
    content: AsyncGenerator[bytes, None], info: FileInfo, destination: Path, report: Callable[[int], object]
) -> None:
    """Write the content of a file of the home to a local file atomically.

    Args:
        content: the content of the file; closed at the end.
        info: the file of the home.
        destination: the local file, in an existing directory.
        report: called with the number of bytes of each chunk.

    Raises:
        GridError: fewer bytes arrived than the size of the file.
    """
    done = 0
    with translate_os_errors(str(destination), ON_THIS_MACHINE), atomic_write(destination) as target:
        async with aclosing(content):
            async for piece in content:
                await write_pieces(target, piece)
                done += len(piece)
                report(len(piece))
        await checkpoint()
        if done < info.size:
            raise GridError(
                f"{info.path}: only {done} of {info.size} bytes arrived; "
                "the file was truncated or the transfer was interrupted, so get it again"
            )
