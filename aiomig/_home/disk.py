"""Reading, writing and copying local files on the event loop, without threads.

After each chunk of at most `PIECE` bytes, a checkpoint lets other tasks run and cancellation take effect. Files are
written atomically.
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
"""The largest number of bytes that are read or written between two checkpoints."""

RAISE_THE_LIMIT = "raise the limit on the size of files (ulimit -f), or use a file system for larger files"
"""The remedy for the error that a file is too large."""

ON_THIS_MACHINE = "on this machine"

_OF_CALLER = "_aiomig_of_caller"
_NO_KERNEL_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}
_HOLES_UNKNOWN = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


@contextmanager
def translate_os_errors(path: str, place: str = "in the MiG home") -> Iterator[None]:
    """Translate an `OSError` about a path into an error of aiomig.

    An error that `mark_as_callers` has marked is raised unchanged.

    Raises:
        FileNotFound, FileExists, PathRefused: the corresponding errors of the operating system.
        LocalError: any other error, such as a full disk or missing permissions.
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
    """Mark an error from the caller's code (a stream or a callback), so that `translate_os_errors` ignores it."""
    vars(error)[_OF_CALLER] = True


def _translate(error: OSError, path: str, place: str) -> MigError:
    match error.errno:
        case errno.ENOENT:
            return FileNotFound(path, f"no such file or directory {place}")
        case errno.EEXIST:
            return FileExists(path)
        case errno.ENOTEMPTY:
            return FileExists(path, "the directory is not empty; remove(recursive=True) removes it with its contents")
        case errno.ENOTDIR:
            return FileExists(path, "a file is in the way where a directory is needed")
        case errno.EISDIR:
            return PathRefused(path, "is a directory, not a file")
        case errno.ENAMETOOLONG | errno.ELOOP:
            return PathRefused(path, f"{error.strerror}; use a shorter name, or one without circular links")
        case errno.ENOSPC | errno.EDQUOT:
            remedy = "free some space and try again"
        case errno.EFBIG:
            remedy = RAISE_THE_LIMIT
        case errno.EACCES | errno.EPERM | errno.EROFS:
            remedy = "check the permissions"
        case _:
            remedy = "check the disk and the folder"
    return LocalError(f"{path}: {error.strerror or error}", path=path, remedy=remedy)


def open_regular(path: str | Path, within: int | None = None, *, follow: bool = True, write: bool = False) -> BinaryIO:
    """Open a regular file, unbuffered. Refuse anything else, without blocking.

    Args:
        path: the file.
        within: the descriptor of the directory to which a relative path refers.
        follow: whether to follow a link.
        write: whether to open it for writing, too.

    Raises:
        OSError: ENOENT if the path does not exist, even if a parent is a file; EISDIR for a directory; EINVAL for a
            pipe, a socket or a device; ELOOP for a link if ``follow`` is false.
    """
    flags = os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW) | (os.O_RDWR if write else os.O_RDONLY)
    try:
        # Check before opening, because opening a device may have side effects. Check again afterwards, because the
        # file may have been replaced meanwhile, for example by a pipe, which would block without O_NONBLOCK.
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
    """Return the content of a regular file that is not a link.

    Args:
        path: the file.
        within: the descriptor of the directory to which a relative path refers.
        most: the largest size in bytes.

    Raises:
        OSError: as in `open_regular`; EFBIG if the file is larger.
    """
    with open_regular(path, within, follow=False) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"Has more than {most} bytes", str(path))
        return _read(file, most)


async def read_file(
    path: str | Path, start: int = 0, end: int | None = None, *, piece_size: int = PIECE, follow: bool = True
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a file from ``start`` to ``end`` in chunks. The caller closes the generator.

    Raises:
        OSError: as in `open_regular`.
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
    if piece is None:  # reading some files of /proc would block
        raise BlockingIOError(errno.EAGAIN, "Has no content at the moment")
    return piece


async def write_pieces(file: BinaryIO, data: bytes) -> None:
    """Write bytes to a file in chunks, with checkpoints."""
    view = memoryview(data)
    while view:
        view = view[file.write(view[:PIECE]) :]
        await checkpoint()


@contextmanager
def atomic_write(
    destination: str | Path, within: int | None = None, *, folder: Path | None = None, mode: int = 0o666
) -> Iterator[BinaryIO]:
    """Yield a temporary file, which replaces ``destination`` at the end of the block. It is removed after an error.

    Args:
        destination: the final path.
        within: the descriptor of the directory to which relative paths refer.
        folder: the directory of the temporary file, on the same file system; by default that of ``destination``.
        mode: the permissions of the file, before the umask.
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
    """Raise an error if something other than a regular file exists at a path.

    Links such as ``/dev/stdout`` are followed.

    Raises:
        FileExists: the path is a directory.
        PathRefused: the path is a device, a pipe or a socket.
        OSError: the path cannot be accessed.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise FileExists(str(path), "is a directory, which a file cannot replace")
    if not stat.S_ISREG(mode):
        raise PathRefused(str(path), "is a device, a pipe or a socket; name a file, or read the content and write it")


@asynccontextmanager
async def atomic_directory(destination: Path, *, folder: Path) -> AsyncGenerator[Path, None]:
    """Yield a temporary directory, which becomes ``destination`` at the end of the block. An error removes it."""
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
    """Return a random name for a hidden file."""
    return f".aiomig-{secrets.token_hex(8)}.part"


async def copy_file(source: Path, destination: Path, *, folder: Path | None = None, mode: int = 0o666) -> None:
    """Copy a file atomically, including holes, in the kernel if possible. Links are followed.

    Cancellation takes effect between two chunks and leaves no partial file.

    Args:
        source: a regular file.
        destination: the new path, in an existing directory. An existing file is replaced.
        folder: the directory of the temporary file, on the same file system; by default that of ``destination``.
        mode: the permissions of the copy, before the umask. Those of the source are not copied.

    Raises:
        FileNotFound: the source, or the directory of the destination, does not exist.
        PathRefused: the source or the destination is a directory.
        LocalError: any other error, such as a full disk.
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
    """Copy an open file to an empty one, including holes.

    Args:
        source: an unbuffered file, at position 0.
        target: the empty file.
        size: the largest number of bytes to copy; 0 copies everything, because files of /proc report size 0.
        report: called with the number of bytes of each chunk.

    Returns:
        The size of the copy in bytes.
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
        if position < stop:  # the file was truncated meanwhile
            break
    target.truncate(position)
    target.seek(position)
    await checkpoint()
    return position


def _next_data(descriptor: int, position: int, end: int) -> tuple[int, int]:
    """Return the start and the end of the next data that is not a hole, or ``end`` twice if there is none."""
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
    """Copy the bytes between two positions. Return the position at which the copy ended."""
    in_kernel = hasattr(os, "copy_file_range")
    while start < stop:
        count = 0
        if in_kernel:
            try:
                count = os.copy_file_range(source, target, min(PIECE, stop - start), start, start)
            except OSError as error:
                if error.errno not in _NO_KERNEL_COPY:
                    raise
        if not count:  # between some file systems, the kernel copies nothing and reports no error
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
