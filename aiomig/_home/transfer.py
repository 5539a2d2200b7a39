"""Files and directories between this machine and the MiG home: what `Files.put` and `Files.get` do.

Everything is looked at and checked before the first byte moves: a name that MiG cannot carry, or two sources
that would meet in one place, stop the whole call with nothing changed.
"""

from __future__ import annotations

import glob
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

from anyio.lowlevel import checkpoint

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
from .disk import atomic_write, read_file, translate_os_errors, walk, write_pieces

if TYPE_CHECKING:
    from .._backend import HomeBackend
    from .._core.models import FileInfo

LocalPath: TypeAlias = str | os.PathLike[str]
"""A path of this machine."""

Progress: TypeAlias = Callable[[int, int], object]
"""Called with the bytes done and the bytes in all, over all files of one call."""

_HERE = "on this machine"


class Meter:
    """Adds up what is done and tells a callback, also once where there is nothing to carry."""

    def __init__(self, report: Progress | None, total: int) -> None:
        self._report = report
        self._total = total
        self._done = 0
        if total == 0:
            self.add(0)

    def add(self, count: int) -> None:
        """Count bytes that have arrived."""
        self._done += count
        # A file that grows while it is read must not make more than everything.
        self._total = max(self._total, self._done)
        if self._report is not None:
            self._report(self._done, self._total)


@dataclass(frozen=True, slots=True)
class _Upload:
    source: Path
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class _Download:
    source: FileInfo
    destination: Path


async def upload(
    home: HomeBackend,
    sources: LocalPath | Iterable[LocalPath],
    destination: HomePath,
    progress: Progress | None,
) -> tuple[str, ...]:
    """Carry local files and directories into the home; see `Files.put`."""
    found, many = _local_sources(sources)
    base = home_path(destination)
    inside = await _goes_inside(home, destination, base, many=many)
    folders: list[str] = []
    files: list[_Upload] = []
    for source in found:
        target = join(base, _local_name(source)) if inside else base
        await _plan_upload(source, target, folders, files)
    _refuse_doubles([file.path for file in files])
    folders.extend(folder_of(path) for path in (*folders, *(file.path for file in files)))
    needed = sorted({step for folder in folders for step in chain(folder)})
    for path in (*needed, *(file.path for file in files)):
        check_characters(path)
    if needed:
        await home.make_directories(needed)
    meter = Meter(progress, sum(file.size for file in files))
    for file in files:
        async with aclosing(_local_content(file, meter)) as content:
            await home.write(file.path, content, file.size)
    return tuple(file.path for file in files)


async def _goes_inside(home: HomeBackend, given: HomePath, base: str, *, many: bool) -> bool:
    if base == "." or str(given).endswith("/"):
        return True
    present = await home.stat(base)
    if many and present is not None and not present.is_dir:
        raise FileExists(base, "is a file; several sources need a directory")
    return many or (present is not None and present.is_dir)


def _local_sources(given: LocalPath | Iterable[LocalPath]) -> tuple[list[Path], bool]:
    several = not isinstance(given, str | os.PathLike)
    found: list[Path] = []
    for source in (given,) if isinstance(given, str | os.PathLike) else given:
        path = local_path(source)
        if os.path.lexists(path):
            found.append(path)
        elif has_pattern(str(path)):
            several = True
            # Only * and ? are patterns, as everywhere in the home: a name may well hold brackets.
            matches = sorted(glob.glob(str(path).replace("[", "[[]")))
            if not matches:
                raise FileNotFound(str(path), f"matches nothing {_HERE}")
            found.extend(map(Path, matches))
        else:
            raise FileNotFound(str(path), f"no such file or directory {_HERE}")
    return found, several


def local_path(given: LocalPath) -> Path:
    """A path of this machine.

    Raises:
        PathRefused: it is empty or holds a NUL.
        TypeError: it is no path.
    """
    text = os.fspath(given)
    if not isinstance(text, str):
        raise TypeError(f"{given!r}: a local path is str or a path object of text, not {type(text).__name__}")
    if not text or "\0" in text:
        raise PathRefused(text, "a local path is neither empty nor holds a NUL; give another one")
    return Path(text)


def _local_name(path: Path) -> str:
    # "." and ".." name a directory that has a name of its own.
    return path.name if path.name not in {"", ".."} else path.resolve().name or "."


async def _plan_upload(source: Path, target: str, folders: list[str], files: list[_Upload]) -> None:
    with translate_os_errors(str(source), _HERE):
        if not source.is_dir():
            status = source.stat()
            if not source.is_file():
                raise PathRefused(str(source), "is neither a file nor a directory; leave it out")
            files.append(_Upload(source, home_path(target), status.st_size))
            return
        folders.append(home_path(target))
        for entry in await walk(source):
            path = home_path(join(target, entry.name))
            if entry.is_dir:
                folders.append(path)
            elif entry.is_file and entry.status is not None:
                files.append(_Upload(entry.path, path, entry.status.st_size))
            elif entry.status is None:
                raise FileNotFound(str(entry.path), f"is a broken link, or vanished, {_HERE}")
            else:
                raise PathRefused(str(entry.path), "is neither a file nor a directory; leave it out")


def _refuse_doubles(paths: Sequence[object]) -> None:
    seen: set[object] = set()
    for path in paths:
        if path in seen:
            raise FileExists(str(path), "several sources would become this one file; rename one of them")
        seen.add(path)


async def _local_content(file: _Upload, meter: Meter) -> AsyncGenerator[bytes, None]:
    sent = 0
    with translate_os_errors(str(file.source), _HERE):
        async with aclosing(read_file(file.source, 0, file.size)) as pieces:
            async for piece in pieces:
                yield piece
                sent += len(piece)
                meter.add(len(piece))
    if sent < file.size:
        raise LocalError(
            f"{file.source}: became shorter while it was read, {sent} bytes instead of {file.size}",
            path=str(file.source),
            remedy="put it when nothing writes to it",
        )


async def download(
    home: HomeBackend,
    sources: HomePath | Iterable[HomePath],
    destination: LocalPath,
    progress: Progress | None,
) -> tuple[Path, ...]:
    """Carry files and directories of the home to this machine; see `Files.get`."""
    found, many = await _home_sources(home, sources)
    base = local_path(destination)
    with translate_os_errors(str(base), _HERE):
        inside = many or os.fspath(destination).endswith("/") or base.is_dir()
        if many and base.is_file():
            raise FileExists(str(base), "is a file; several sources need a directory")
    folders: list[Path] = []
    files: list[_Download] = []
    for source in found:
        await _plan_download(home, source, base / source.name if inside else base, folders, files)
    _refuse_doubles([file.destination for file in files])
    for folder in (*folders, *(file.destination.parent for file in files)):
        with translate_os_errors(str(folder), _HERE):
            folder.mkdir(parents=True, exist_ok=True)
    meter = Meter(progress, sum(file.source.size for file in files))
    for file in files:
        await _fetch(home, file, meter)
    return tuple(file.destination for file in files)


async def _home_sources(home: HomeBackend, given: HomePath | Iterable[HomePath]) -> tuple[list[FileInfo], bool]:
    several = not isinstance(given, str | PurePosixPath)
    found: list[FileInfo] = []
    for source in (given,) if isinstance(given, str | PurePosixPath) else given:
        path = home_path(source, pattern=True)
        if has_pattern(path):
            several = True
            matches = await matching(home, path)
            if not matches:
                raise FileNotFound(path, "matches nothing in the MiG home")
            found.extend(matches)
        elif (info := await home.stat(path)) is not None:
            found.append(info)
        else:
            raise FileNotFound(path)
    return found, several


async def matching(home: HomeBackend, pattern: str, *, hidden: bool = False) -> list[FileInfo]:
    """What a pattern in the last component of a path matches, sorted.

    Dot names match where ``hidden`` is true or the pattern begins with a dot.

    Raises:
        FileNotFound: the directory does not exist.
    """
    folder, name = folder_of(pattern), name_of(pattern)
    dots = hidden or name.startswith(".")
    return sorted(
        (
            info
            for info in await home.listing(folder)
            if is_inside(info.path, folder)
            and (dots or not info.name.startswith("."))
            and name_matches(info.name, name)
        ),
        key=lambda info: info.path,
    )


async def _plan_download(
    home: HomeBackend, source: FileInfo, target: Path, folders: list[Path], files: list[_Download]
) -> None:
    listed_path(source.path)
    entries = [source]
    if source.is_dir:
        entries += sorted(await home.listing(source.path, recursive=True), key=lambda info: info.path)
    for entry in entries:
        # The name comes from a server: what is not below the source must not become a path of this machine.
        relative = below(source.path, listed_path(entry.path))
        if entry is not source and not is_inside(entry.path, source.path):
            raise PathRefused(entry.path, f"the listing of {source.path!r} holds something outside it")
        place = target if entry is source else target / relative
        with translate_os_errors(str(place), _HERE):
            if entry.is_dir:
                folders.append(place)
            elif place.is_dir():
                raise FileExists(str(place), "is a directory, where a file is to be put")
            else:
                files.append(_Download(entry, place))


async def _fetch(home: HomeBackend, file: _Download, meter: Meter) -> None:
    done = 0
    with translate_os_errors(str(file.destination), _HERE), atomic_write(file.destination) as target:
        async with aclosing(home.read(file.source.path)) as pieces:
            async for piece in pieces:
                await write_pieces(target, piece)
                done += len(piece)
                meter.add(len(piece))
        await checkpoint()
        if done < file.source.size:
            raise GridError(
                f"{file.source.path}: only {done} of {file.source.size} bytes arrived; "
                "the file was cut meanwhile or the transfer broke, so get it again"
            )
