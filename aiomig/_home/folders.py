"""Opening, walking and removing local directories without following links by mistake.

A path is resolved at each use, and a job may replace a directory by a link in between. These functions therefore use
descriptors of directories.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from anyio.lowlevel import checkpoint

from .._core.turns import Paced, give_way, sort_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKED = 10_000
"""The most links to directories that a walk follows. A few directories with links to each other have millions of paths.
"""


class Identity(NamedTuple):
    """The identity of a directory on this machine, independent of its name."""

    device: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """Return the identity from a result of ``stat``."""
        return cls(status.st_dev, status.st_ino)


@contextmanager
def open_directory(
    path: str | Path, within: int | None = None, *, identity: Identity | None = None, force: bool = False
) -> Iterator[int]:
    """Open a directory, but not a link to one, and yield its descriptor.

    Args:
        path: the directory. If its last component is a link, it is refused.
        within: the descriptor of the directory to which a relative path refers.
        identity: the expected identity of the directory.
        force: whether to restore missing permissions of its owner.

    Raises:
        OSError: ENOTDIR or ELOOP if the path is not a directory, ESTALE if it is another directory.
    """
    descriptor = _open(path, within, force=force)
    try:
        if identity is not None and Identity.of(os.fstat(descriptor)) != identity:
            raise OSError(errno.ESTALE, "Another directory has its name", str(path))
        yield descriptor
    finally:
        os.close(descriptor)


def _open(path: str | Path, within: int | None, *, force: bool) -> int:
    try:
        descriptor = os.open(path, _DIRECTORY, dir_fd=within)
    except PermissionError:
        if not force:
            raise
        make_readable(path, within)
        descriptor = os.open(path, _DIRECTORY, dir_fd=within)
    if force and os.fstat(descriptor).st_mode & 0o700 != 0o700:
        with suppress(OSError):
            os.fchmod(descriptor, 0o700)
    return descriptor


def make_readable(path: str | Path, within: int | None) -> None:
    """Add the owner's read permission to a file, or all of the owner's permissions to a directory. Ignore links.

    Raises:
        OSError: the path does not exist, or belongs to another user.
    """
    status = os.stat(path, dir_fd=within, follow_symlinks=False)
    mode = status.st_mode & 0o777 | (0o700 if stat.S_ISDIR(status.st_mode) else 0o400)
    if stat.S_ISLNK(status.st_mode) or mode == status.st_mode & 0o777:
        return
    if os.chmod in os.supports_follow_symlinks:
        os.chmod(path, mode, dir_fd=within, follow_symlinks=False)
        return
    # On Linux, chmod follows links and cannot be told not to. An O_PATH descriptor avoids that.
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
    try:
        Path(f"/proc/self/fd/{descriptor}").chmod(mode)
    finally:
        os.close(descriptor)


@contextmanager
def open_below(root: Path | int, path: str, *, make: bool = False) -> Iterator[int]:
    """Open a directory at or below another one, and yield its descriptor.

    Args:
        root: a directory, or its descriptor.
        path: the normalised path relative to ``root``. If one of its components is a link, it is refused.
        make: whether to create missing directories.

    Raises:
        OSError: as in `open_directory`.
    """
    descriptor = os.dup(root) if isinstance(root, int) else os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in path.split("/"):
            if name in {"", "."}:
                continue
            try:
                below = os.open(name, _DIRECTORY, dir_fd=descriptor)
            except FileNotFoundError:
                if not make:
                    raise
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=descriptor)
                below = os.open(name, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def inside(root: Path, path: str) -> Path | None:
    """Return a path below a directory, links resolved; ``None`` if it leads out of it."""
    real = os.path.realpath(root / path)
    base = os.path.realpath(root)
    return Path(real) if real == base or real.startswith(base + os.sep) else None


def make_private(folder: Path) -> None:
    """Create a directory and its missing parents with mode 0700, independent of the umask.

    Raises:
        OSError: the directory cannot be created or used, belongs to another user, or is writable by everyone.
    """
    for path in (*reversed(folder.parents), folder):
        with suppress(FileExistsError):
            if not path.is_dir():
                path.mkdir(mode=0o700)
                path.chmod(0o700)
    status = folder.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "a file is in the way", str(folder))
    if status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "it belongs to another user", str(folder))
    if status.st_mode & stat.S_IWOTH:
        raise PermissionError(errno.EPERM, "everyone can write to it, so chmod o-w it", str(folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "it is not writable, so chmod u+rwx it", str(folder))


async def remove_tree(
    name: str, within: int | None = None, *, identity: Identity | None = None, force: bool = False
) -> None:
    """Remove a directory recursively, at any depth. Links are removed, but not followed.

    File systems mounted below the directory are not removed. Cancellation leaves the remaining entries in place.

    Args:
        name: the directory.
        within: the descriptor of its parent directory.
        identity: the expected identity of the directory.
        force: whether to restore missing permissions of the owner, so that all entries can be removed.

    Raises:
        OSError: the first entry that could not be removed. All others are removed.
    """
    with open_directory(name, within, identity=identity, force=force) as descriptor:
        removal = _Removal(descriptor, force=force)
        await removal.run()
    removal.attempt(os.rmdir, name, within)
    if removal.error is not None:
        raise removal.error


class _Level(NamedTuple):
    name: str
    identity: Identity
    directories: list[str]


class _Removal:
    """Empties a directory from the bottom up, with one descriptor, which moves through the tree."""

    def __init__(self, top: int, *, force: bool) -> None:
        self._force = force
        self._here = os.dup(top)
        self._levels: list[_Level] = []
        self.error: OSError | None = None

    async def run(self) -> None:
        try:
            await self._enter("")
            while True:
                name, _, directories = self._levels[-1]
                if directories:
                    await self._descend(directories.pop())
                elif name:
                    self._ascend()
                else:
                    return
        finally:
            os.close(self._here)

    async def _descend(self, name: str) -> None:
        await checkpoint()
        try:
            below = _open(name, self._here, force=self._force)
        except OSError as error:
            self.error = self.error or error
            return
        if os.fstat(below).st_dev != self._levels[0].identity.device:
            os.close(below)
            self.error = self.error or OSError(errno.EBUSY, "Another file system is mounted there", name)
            return
        self._move_to(below)
        await self._enter(name)

    def _ascend(self) -> None:
        name = self._levels.pop().name
        self._move_to(os.open("..", _DIRECTORY, dir_fd=self._here))
        if Identity.of(os.fstat(self._here)) != self._levels[-1].identity:
            raise OSError(errno.ESTALE, "Was moved while it was removed", name)
        self.attempt(os.rmdir, name, self._here)

    def _move_to(self, descriptor: int) -> None:
        os.close(self._here)
        self._here = descriptor

    async def _enter(self, name: str) -> None:
        directories = []
        with os.scandir(self._here) as entries:
            children = [(entry.name, entry.is_dir(follow_symlinks=False)) async for entry in Paced(entries)]
        for number, (child, is_dir) in enumerate(children, 1):
            if is_dir:
                directories.append(child)
            else:
                self.attempt(os.unlink, child, self._here)
            if number % 100 == 0:
                await checkpoint()
        self._levels.append(_Level(name, Identity.of(os.fstat(self._here)), directories))

    def attempt(self, remove: Callable[..., None], name: str, within: int | None) -> None:
        """Remove one entry, and store the first error."""
        try:
            remove(name, dir_fd=within)
        except FileNotFoundError:
            return
        except OSError as error:
            self.error = self.error or error


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that `walk` returns.

    Attributes:
        name: the path relative to the top directory, with ``/``.
        path: the local path.
        status: the result of ``stat``, which follows links; ``None`` if it failed, as for a broken link.
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
    """Return true, so that `walk` returns all entries."""
    return True


class _Above(NamedTuple):
    """A directory in a walk, and the directories through which the walk reached it."""

    path: Path
    above: _Above | None

    def holds(self, path: Path) -> bool:
        level: _Above | None = self
        while level is not None and level.path != path:
            level = level.above
        return level is not None


async def walk(top: Path, *, recursive: bool = True, admit: Callable[[str, Path], bool] = admit_all) -> list[Entry]:
    """Return the entries of a directory, each directory before its contents. Links are followed, but not in cycles.

    Args:
        top: an existing directory.
        recursive: whether to walk its subdirectories.
        admit: called with the relative path and the resolved path; if it returns false, the entry is left out.

    Raises:
        OSError: a directory cannot be read; ELOOP if there are too many links to directories.
    """
    entries: list[Entry] = []
    real_top = Path(os.path.realpath(top))
    pending = [("", _Above(real_top, None))]
    linked = 0
    while pending:
        prefix, folder = pending.pop()
        async for name, is_link in Paced(await _names(folder.path)):
            path = folder.path / name
            real = Path(os.path.realpath(path)) if is_link else path
            if not admit(prefix + name, real):
                continue
            entry = Entry(prefix + name, path, _status(path))
            entries.append(entry)
            if recursive and entry.is_dir and not (is_link and folder.holds(real)):
                linked += is_link
                if linked > _MOST_LINKED:
                    raise OSError(errno.ELOOP, f"More than {_MOST_LINKED} links to directories", str(top))
                pending.append((f"{prefix}{name}/", _Above(real, folder)))
        await checkpoint()
    return entries


async def _names(folder: Path) -> list[tuple[str, bool]]:
    with os.scandir(folder) as entries:
        names = [(entry.name, entry.is_symlink()) async for entry in Paced(entries)]
    return await give_way(sort_steps(names, lambda entry: entry[0]))


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
