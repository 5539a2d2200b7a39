"""Reading, writing and copying files of this machine in pieces on the event loop, without threads.

No piece is longer than `PIECE` bytes, and each is followed by a checkpoint, so that other tasks go on and
cancellation is seen. What is written appears under its name at once and whole, or not at all.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from anyio.lowlevel import checkpoint

from .._core.errors import FileExists, FileNotFound, LocalError, MigError, PathRefused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

PIECE = 1 << 20
"""The most bytes that are read or written between two checkpoints."""

_ENTRIES = 200  # directory entries between two checkpoints: well below a millisecond a stretch
_NO_KERNEL_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}


@contextmanager
def translate_os_errors(path: str, place: str = "in the MiG home") -> Iterator[None]:
    """Turn what the operating system says about a path into an error of aiomig.

    Raises:
        FileNotFound, FileExists, PathRefused: where that is what it means.
        LocalError: anything else, such as a full disk or missing permissions.
    """
    try:
        yield
    except MigError:
        raise
    except OSError as error:
        raise _translate(error, path, place) from error


def _translate(error: OSError, path: str, place: str) -> MigError:
    match error.errno:
        case errno.ENOENT:
            return FileNotFound(path, f"no such file or directory {place}")
        case errno.EEXIST:
            return FileExists(path)
        case errno.ENOTEMPTY:
            return FileExists(path, "the directory is not empty; remove(recursive=True) removes it with all it holds")
        case errno.ENOTDIR:
            return FileExists(path, "a file is in the way, where a directory is needed")
        case errno.EISDIR:
            return PathRefused(path, "is a directory, where a file is needed")
        case errno.ENAMETOOLONG | errno.ELOOP:
            return PathRefused(path, f"{error.strerror}; use a shorter name, or one without circular links")
        case errno.ENOSPC | errno.EDQUOT:
            return LocalError(f"{path}: {error.strerror}", path=path, remedy="free some space and try again")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return LocalError(f"{path}: {error.strerror}", path=path, remedy="check who may read and write there")
    return LocalError(f"{path}: {error.strerror or error}", path=path, remedy="check the disk and the folder")


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; anything but a regular file is refused without waiting for it.

    Raises:
        OSError: EISDIR for a directory; EINVAL for a pipe, socket or device.
    """
    # Without O_NONBLOCK a named pipe would stop the whole event loop until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "Is neither a file nor a directory", str(path))
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


async def read_file(
    path: Path, start: int = 0, end: int | None = None, *, piece_size: int = PIECE
) -> AsyncGenerator[bytes, None]:
    """The bytes of a file from ``start`` up to ``end``, in pieces; to be closed by the caller.

    Raises:
        OSError: as `open_regular`.
    """
    with open_regular(path) as file:
        file.seek(start)
        left = None if end is None else max(0, end - start)
        while left is None or left > 0:
            piece = file.read(piece_size if left is None else min(piece_size, left))
            if not piece:
                break
            yield piece
            if left is not None:
                left -= len(piece)
            await checkpoint()


async def write_pieces(file: BinaryIO, data: bytes) -> None:
    """Write bytes of any length to a file, with checkpoints."""
    view = memoryview(data)
    while view:
        view = view[file.write(view[:PIECE]) :]
        await checkpoint()


@contextmanager
def atomic_write(destination: Path, *, folder: Path | None = None, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``destination`` at the end of the block, or vanishes with an error.

    Args:
        destination: the final name.
        folder: where the file lies until then, on the same file system; by default beside ``destination``.
        mode: its permissions, before the umask.
    """
    temporary = _temporary(folder or destination.parent)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
        temporary.replace(destination)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_directory(destination: Path, *, folder: Path) -> Iterator[Path]:
    """A new directory that becomes ``destination`` at the end of the block, or vanishes with an error."""
    temporary = _temporary(folder)
    temporary.mkdir()
    try:
        yield temporary
        temporary.rename(destination)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _temporary(folder: Path) -> Path:
    # The name is short, random and hidden, so that it fits wherever the final name does and meets no other.
    return folder / f".aiomig-{secrets.token_hex(8)}.part"


async def copy_file(source: Path, destination: Path, *, folder: Path | None = None, mode: int = 0o666) -> None:
    """Copy a file, inside the kernel where it can, atomically: ``destination`` is whole or untouched.

    Cancellation is seen between pieces of at most 1 MiB and leaves nothing behind.

    Args:
        source: a regular file; links are followed.
        destination: the final name, in an existing directory; a file there is replaced.
        folder: where the copy is made, on the same file system; by default beside ``destination``.
        mode: the permissions of the copy, before the umask; not those of the source.

    Raises:
        FileNotFound: the source, or the directory of the destination, does not exist.
        PathRefused: one of them is a directory, or the source is no regular file.
        LocalError: anything else, such as a full disk.
    """
    with translate_os_errors(str(source), "on this machine"):
        origin = open_regular(source)
    with (
        origin,
        translate_os_errors(str(destination), "on this machine"),
        atomic_write(destination, folder=folder, mode=mode) as target,
    ):
        await _copy_content(origin, target)


async def _copy_content(source: BinaryIO, target: BinaryIO) -> None:
    kernel_copy: Callable[[int, int, int], int] | None = getattr(os, "copy_file_range", None)
    try:
        while kernel_copy and kernel_copy(source.fileno(), target.fileno(), PIECE):
            await checkpoint()
    except OSError as error:
        if error.errno not in _NO_KERNEL_COPY:
            raise
    # The kernel may copy nothing between some file systems without an error; whatever is left is copied here.
    target.seek(0, os.SEEK_END)  # the buffer of the file knows nothing of what the kernel wrote
    while piece := source.read(PIECE):
        await write_pieces(target, piece)
    await checkpoint()


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that `walk` found.

    Attributes:
        name: relative to where the walk began, with ``/``.
        path: where it is.
        status: what ``stat`` says, links followed; ``None`` where a link is broken or the entry vanished.
    """

    name: str
    path: Path
    status: os.stat_result | None

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory, or a link to one."""
        return self.status is not None and stat.S_ISDIR(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file, or a link to one."""
        return self.status is not None and stat.S_ISREG(self.status.st_mode)


def admit_all(name: str, path: Path) -> bool:
    """The `walk` of everything."""
    return True


async def walk(top: Path, *, recursive: bool = True, admit: Callable[[str, Path], bool] = admit_all) -> list[Entry]:
    """What a directory holds, each directory before its content; links are followed, but never in a circle.

    Args:
        top: an existing directory.
        recursive: whether to go below its own entries.
        admit: called with the relative name and the resolved path; what it refuses is left out.

    Raises:
        OSError: a directory cannot be read.
    """
    found: list[Entry] = []
    real_top = Path(os.path.realpath(top))
    pending = [("", real_top, frozenset({real_top}))]
    while pending:
        prefix, folder, above = pending.pop()
        for number, (name, is_link) in enumerate(_names(folder)):
            path = folder / name
            real = Path(os.path.realpath(path)) if is_link else path
            if not admit(prefix + name, real):
                continue
            entry = Entry(prefix + name, path, _status(path))
            found.append(entry)
            if recursive and entry.is_dir and real not in above:
                pending.append((f"{prefix}{name}/", real, above | {real}))
            if number % _ENTRIES == _ENTRIES - 1:
                await checkpoint()
        await checkpoint()
    return found


def _names(folder: Path) -> list[tuple[str, bool]]:
    with os.scandir(folder) as entries:
        return sorted((entry.name, entry.is_symlink()) for entry in entries)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


async def remove_tree(top: Path) -> None:
    """Remove a directory and all below it, without following links; cancellation leaves the rest in place."""
    pending = [top]
    emptied: list[Path] = []
    while pending:
        folder = pending.pop()
        emptied.append(folder)
        for number, (path, is_dir) in enumerate(_children(folder)):
            if is_dir:
                pending.append(path)
            else:
                path.unlink(missing_ok=True)
            if number % _ENTRIES == _ENTRIES - 1:
                await checkpoint()
        await checkpoint()
    for number, folder in enumerate(reversed(emptied)):
        folder.rmdir()
        if number % _ENTRIES == _ENTRIES - 1:
            await checkpoint()


def _children(folder: Path) -> list[tuple[Path, bool]]:
    with os.scandir(folder) as entries:
        return [(Path(entry.path), entry.is_dir(follow_symlinks=False)) for entry in entries]
