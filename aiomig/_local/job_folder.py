"""The directory of one attempt, and the files that its job leaves there.

A job may replace its directory or a file by anything: a link, a pipe, another directory. Each step here uses a
descriptor of the original directory, never blocks, and touches nothing outside of it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._home.disk import atomic_write, copy_content, open_regular, read_small, temporary_name
from .._home.folders import Identity, make_readable, open_directory, remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

logger = logging.getLogger("aiomig.local")

PREFIX = "job-dir_"
"""The prefix of the names of job directories."""


@dataclass(slots=True)
class JobFolder:
    """The directory of an attempt.

    Args:
        path: where it is, in a folder that only aiomig writes to.
        identity: its device and inode, if known.
    """

    path: str
    identity: Identity | None = None

    def make(self) -> Identity:
        """Create the directory, once; return its identity.

        Raises:
            OSError: it cannot be made.
        """
        if self.identity is None:
            os.mkdir(self.path)
            status = os.lstat(self.path)
            self.identity = Identity(status.st_dev, status.st_ino)
        return self.identity

    def recall(self, inode: int | None) -> None:
        """Restore the identity from the inode that another session recorded.

        Without one, the directory that is there now counts as the original. The device is that of the
        folder above, because device numbers may change when a machine restarts.
        """
        if inode is not None:
            with suppress(OSError):
                self.identity = Identity(os.stat(os.path.dirname(self.path)).st_dev, inode)

    def write(self, name: str, content: bytes, mode: int) -> int:
        """Write a file before the job runs; return the number of its descriptor, which is closed again.

        Raises:
            OSError: it cannot be written.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(f"{self.path}/{name}", flags, mode)
        try:
            while content:
                content = content[os.write(descriptor, content) :]
        finally:
            os.close(descriptor)
        return descriptor

    @contextmanager
    def open(self) -> Iterator[int]:
        """Open the directory, and yield its descriptor.

        Raises:
            OSError: it is gone, or something else is in its place.
        """
        with open_directory(self.path, identity=self.identity, force=True) as descriptor:
            yield descriptor

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file; ``None`` if there is no such regular file, or it is big."""
        try:
            with self.open() as folder:
                return read_small(name, folder)
        except OSError:
            return None

    async def remove(self) -> bool:
        """Remove the directory, or the link in its place; return whether nothing is left.

        Another directory in its place stays.
        """
        runs, name = os.path.split(self.path)
        try:
            with open_directory(runs) as parent:
                if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                    await remove_tree(name, parent, identity=self.identity, force=True)
                else:
                    os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            pass
        except OSError as error:
            logger.warning("the job directory %s is left behind: %s", self.path, error.strerror)
            return False
        return True


async def hand_over(
    name: str, source: int, target_name: str, target: int, *, keep: bool = False, follow: bool = False, most: int = 0
) -> bytes:
    """Move a regular file to another directory, or copy it if a process may still change it; return its first bytes.

    Args:
        name: the file.
        source: the descriptor of its directory.
        target_name: its new name. An existing file is replaced.
        target: the descriptor of the new directory.
        keep: whether the file also stays in its place.
        follow: whether it may be a link.
        most: the number of first bytes to return.

    Raises:
        OSError: it is not a regular file, or it cannot be moved.
    """
    with _open(name, source, follow=follow) as file:
        is_link = follow and stat.S_ISLNK(os.stat(name, dir_fd=source, follow_symlinks=False).st_mode)
        status = os.fstat(file.fileno())
        beginning = os.pread(file.fileno(), min(most, status.st_size), 0) if most else b""
        if not is_link and status.st_nlink == 1 and not _is_being_written(file):
            with suppress(OSError):  # another file system, or one without hard links
                if status.st_mode & 0o777 != 0o644:
                    os.fchmod(file.fileno(), 0o644)
                _move(name, source, target_name, target, keep=keep)
                return beginning
        with atomic_write(target_name, target) as copy:
            os.fchmod(copy.fileno(), 0o644)
            await copy_content(file, copy)
        return beginning


def below(path: str) -> str | None:
    """Return a path below the job directory, normalised; ``None`` if it leads out of the directory."""
    normal = os.path.normpath(path)
    return None if normal.startswith(("/", "../")) or normal == ".." else normal


def is_file(path: str, folder: int) -> bool:
    """Return whether a path below an open directory is a regular file and no link."""
    try:
        return stat.S_ISREG(os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _open(name: str, within: int, *, follow: bool) -> BinaryIO:
    try:
        return open_regular(name, within, follow=follow)
    except PermissionError:
        if follow:
            raise
        make_readable(name, within)
        return open_regular(name, within, follow=False)


def _move(name: str, source: int, target_name: str, target: int, *, keep: bool) -> None:
    if not keep:
        os.rename(name, target_name, src_dir_fd=source, dst_dir_fd=target)
        return
    temporary = temporary_name()
    os.link(name, temporary, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    try:
        os.rename(temporary, target_name, src_dir_fd=target, dst_dir_fd=target)
    except OSError:
        os.unlink(temporary, dir_fd=target)
        raise


def _is_being_written(file: BinaryIO) -> bool:
    """Return whether a process may have a file open for writing.

    The kernel then refuses a read lease. Also return True if it supports no leases. Closing the file ends the lease.
    """
    try:
        # A process that opens the file meanwhile waits for the end of the lease, and causes a signal: this one does
        # nothing.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except (AttributeError, OSError):
        return True
    return False
