"""Reads, writes and copies files of this machine in pieces on the event loop, without threads.

A piece has at most `PIECE` bytes, and a checkpoint follows it, so that other tasks run and cancellation is noticed.
A file that is written appears under its name at once and whole, or not at all.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from anyio.lowlevel import checkpoint

from .._core.errors import FileExists, FileNotFound, LocalError, MigError, PathRefused
from .._core.tasks import run_shielded
from .folders import remove_tree

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

PIECE = 1 << 20
"""The most bytes that are read or written between two checkpoints."""

RAISE_THE_LIMIT = "raise the limit on the size of files (ulimit -f), or use a file system that takes larger ones"
"""What to do if the system says that a file is too large."""

ON_THIS_MACHINE = "on this machine"

_OF_CALLER = "_aiomig_of_caller"
_NO_KERNEL_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}
_HOLES_UNKNOWN = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


@contextmanager
def translate_os_errors(path: str, place: str = "in the MiG home") -> Iterator[None]:
    """Turn an error of the operating system about a path into an error of aiomig.

    Errors that `mark_as_callers` marked pass as they are.

    Raises:
        FileNotFound, FileExists, PathRefused: if that is what it means.
        LocalError: anything else, such as a full disk or missing permissions.
    """
    try:
        yield
    except MigError:
        raise
    except OSError as error:
        if vars(error).get(_OF_CALLER):
            raise
        raise _translate(error, path, place) from error


def mark_as_callers(error: OSError) -> None:
    """Let an error of the caller's own code, such as a stream or a callback, pass `translate_os_errors`."""
    vars(error)[_OF_CALLER] = True


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
            remedy = "free some space and try again"
        case errno.EFBIG:
            remedy = RAISE_THE_LIMIT
        case errno.EACCES | errno.EPERM | errno.EROFS:
            remedy = "check who may read and write there"
        case _:
            remedy = "check the disk and the folder"
    return LocalError(f"{path}: {error.strerror or error}", path=path, remedy=remedy)


def open_regular(path: str | Path, within: int | None = None, *, follow: bool = True, write: bool = False) -> BinaryIO:
    """Open a regular file, unbuffered, for reading or also for writing. Anything else is refused without waiting.

    Args:
        path: the file.
        within: the descriptor of the directory that a relative path begins at.
        follow: whether it may be a link.
        write: whether it can be written to.

    Raises:
        OSError: ENOENT if nothing is there, also below a file; EISDIR for a directory; EINVAL for a pipe, a socket
            or a device; ELOOP for a link that is not followed.
    """
    flags = os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW) | (os.O_RDWR if write else os.O_RDONLY)
    try:
        # Opening a device may do something. The second look is for what took the place of the file in between:
        # a pipe, which would stop the whole event loop without O_NONBLOCK.
        _require_regular(os.stat(path, dir_fd=within, follow_symlinks=follow), path)
        descriptor = os.open(path, flags, dir_fd=within)
    except NotADirectoryError as error:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path)) from error
    try:
        _require_regular(os.fstat(descriptor), path)
        return os.fdopen(descriptor, "r+b" if write else "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(status: os.stat_result, path: str | Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, "Is a symbolic link", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Is neither a file nor a directory", str(path))


def read_small(path: str | Path, within: int | None = None, *, most: int = 16 << 20) -> bytes:
    """Return the bytes of a regular file that is not a link.

    Args:
        path: the file.
        within: the descriptor of the directory that a relative path begins at.
        most: how many bytes it may have.

    Raises:
        OSError: as `open_regular`; EFBIG if the file has more bytes.
    """
    with open_regular(path, within, follow=False) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"Has more than {most} bytes", str(path))
        return _read(file, most)


async def read_file(
    path: str | Path, start: int = 0, end: int | None = None, *, piece_size: int = PIECE, follow: bool = True
) -> AsyncGenerator[bytes, None]:
    """Give the bytes of a file from ``start`` up to ``end`` in pieces. The caller closes the generator.

    Raises:
        OSError: as `open_regular`.
    """
    with open_regular(path, follow=follow) as file:
        file.seek(start)
        left = None if end is None else max(0, end - start)
        while left is None or left > 0:
            piece = _read(file, piece_size if left is None else min(piece_size, left))
            if not piece:
                break
            yield piece
            if left is not None:
                left -= len(piece)
            await checkpoint()


def _read(file: BinaryIO, size: int) -> bytes:
    piece: bytes | None = file.read(size)
    if piece is None:  # some files of /proc wait for content
        raise BlockingIOError(errno.EAGAIN, "Has no content at the moment")
    return piece


async def write_pieces(file: BinaryIO, data: bytes) -> None:
    """Write bytes of any length to a file, with checkpoints."""
    view = memoryview(data)
    while view:
        view = view[file.write(view[:PIECE]) :]
        await checkpoint()


@contextmanager
def atomic_write(
    destination: str | Path, within: int | None = None, *, folder: Path | None = None, mode: int = 0o666
) -> Iterator[BinaryIO]:
    """Give a new file that takes the place of ``destination`` at the end of the block, or vanishes with an error.

    Args:
        destination: the final name.
        within: the descriptor of the directory that a relative name begins at.
        folder: where the file lies until then, on the same file system; by default beside ``destination``.
        mode: its permissions, before the umask.
    """
    temporary = (folder or Path(destination).parent) / temporary_name()
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, mode, dir_fd=within)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
        os.replace(temporary, destination, src_dir_fd=within, dst_dir_fd=within)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=within)
        raise


def ensure_replaceable(path: Path) -> None:
    """Refuse to put a file in the place of something else: only a file may be there, or nothing.

    Links are followed, such as that of ``/dev/stdout``.

    Raises:
        FileExists: a directory is there.
        PathRefused: a device, a pipe or a socket is there.
        OSError: nobody can know.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise FileExists(str(path), "is a directory, where a file is to be put")
    if not stat.S_ISREG(mode):
        raise PathRefused(str(path), "is a device, a pipe or a socket; name a file, or read the content and write it")


@asynccontextmanager
async def atomic_directory(destination: Path, *, folder: Path) -> AsyncGenerator[Path, None]:
    """Give a new directory that becomes ``destination`` at the end of the block, or vanishes with an error."""
    temporary = folder / temporary_name()
    temporary.mkdir()
    try:
        yield temporary
        temporary.rename(destination)
    except BaseException:
        with suppress(OSError):
            await run_shielded(partial(remove_tree, str(temporary)))
        raise


def temporary_name() -> str:
    """Return a random, hidden name that fits wherever a file name does."""
    return f".aiomig-{secrets.token_hex(8)}.part"


async def copy_file(source: Path, destination: Path, *, folder: Path | None = None, mode: int = 0o666) -> None:
    """Copy a file atomically, inside the kernel if possible, with its holes. Links are followed.

    Cancellation is noticed between two pieces and leaves nothing behind.

    Args:
        source: a regular file.
        destination: the final name, in an existing directory; a file there is replaced.
        folder: where the copy is made, on the same file system; by default beside ``destination``.
        mode: the permissions of the copy, before the umask; not those of the source.

    Raises:
        FileNotFound: the source, or the directory of the destination, does not exist.
        PathRefused: one of them is a directory.
        LocalError: anything else, such as a full disk.
    """
    with translate_os_errors(str(source), ON_THIS_MACHINE):
        origin = open_regular(source)
    with (
        origin,
        translate_os_errors(str(destination), ON_THIS_MACHINE),
        atomic_write(destination, folder=folder, mode=mode) as target,
    ):
        await copy_content(origin, target)


async def copy_content(
    source: BinaryIO,
    target: BinaryIO,
    *,
    size: int | None = None,
    report: Callable[[int], object] = lambda count: None,
) -> int:
    """Copy an open file into an empty one, with its holes.

    Args:
        source: an unbuffered file, at its beginning.
        target: the empty file.
        size: the most bytes to copy. Files of /proc say that they have none, so 0 copies all.
        report: called with the bytes of each piece.

    Returns:
        How many bytes the copy has.
    """
    end = os.fstat(source.fileno()).st_size
    if not end:
        return await _copy_stream(source, target, report)
    end = min(end, size or end)
    position = 0
    while position < end:
        start, stop = _next_data(source.fileno(), position, end)
        if start > position:
            report(start - position)
        position = await _copy_range(source.fileno(), target.fileno(), start, stop, report)
        if position < stop:  # the file became shorter
            break
    target.truncate(position)
    target.seek(position)
    await checkpoint()
    return position


def _next_data(descriptor: int, position: int, end: int) -> tuple[int, int]:
    """Return where the next bytes that are not in a hole begin and end; ``end`` twice if there are none."""
    if not hasattr(os, "SEEK_DATA"):
        return position, end
    try:
        start = os.lseek(descriptor, position, os.SEEK_DATA)
        return min(start, end), min(os.lseek(descriptor, start, os.SEEK_HOLE), end)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return end, end
        if error.errno in _HOLES_UNKNOWN:
            return position, end
        raise


async def _copy_range(source: int, target: int, start: int, stop: int, report: Callable[[int], object]) -> int:
    """Copy the bytes between two positions; return where the copy ended."""
    in_kernel = hasattr(os, "copy_file_range")
    while start < stop:
        count = 0
        if in_kernel:
            try:
                count = os.copy_file_range(source, target, min(PIECE, stop - start), start, start)
            except OSError as error:
                if error.errno not in _NO_KERNEL_COPY:
                    raise
        if not count:  # the kernel copies nothing between some file systems, without an error
            in_kernel = False
            piece = os.pread(source, min(PIECE, stop - start), start)
            if not piece:
                break
            count = os.pwrite(target, piece, start)
        start += count
        report(count)
        await checkpoint()
    return start


async def _copy_stream(source: BinaryIO, target: BinaryIO, report: Callable[[int], object]) -> int:
    size = 0
    while piece := _read(source, PIECE):
        await write_pieces(target, piece)
        size += len(piece)
        report(len(piece))
    await checkpoint()
    return size
