"""Directories of this machine: opened, walked and removed without following a link by mistake.

A path is looked up anew at each use, and meanwhile a job may have put a link in the place of a directory. What is
reached from the descriptor of a directory stays below that directory.
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
"""Links to directories that one walk follows: a few directories that link to each other have millions of paths."""


class Identity(NamedTuple):
    """What a directory is on this machine, whatever its name."""

    device: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """Return the identity that ``stat`` gives."""
        return cls(status.st_dev, status.st_ino)


@contextmanager
def open_directory(
    path: str | Path, within: int | None = None, *, identity: Identity | None = None, force: bool = False
) -> Iterator[int]:
    """Open a directory, but not a link to one, and give its descriptor.

    Args:
        path: the directory. If its last component is a link, it is refused.
        within: the descriptor of the directory that a relative path begins at.
        identity: what the directory must be.
        force: whether its owner gets all rights to it that were taken away.

    Raises:
        OSError: ENOTDIR or ELOOP if something else has this name, ESTALE if another directory has.
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
    """Give the owner of a file, or of a directory, the right to read it; links are not followed.

    Raises:
        OSError: it is not there, or belongs to another user.
    """
    status = os.stat(path, dir_fd=within, follow_symlinks=False)
    mode = status.st_mode & 0o777 | (0o700 if stat.S_ISDIR(status.st_mode) else 0o400)
    if stat.S_ISLNK(status.st_mode) or mode == status.st_mode & 0o777:
        return
    if os.chmod in os.supports_follow_symlinks:
        os.chmod(path, mode, dir_fd=within, follow_symlinks=False)
        return
    # Linux changes the mode of no link, but follows one: a descriptor that only names the file does not.
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
    try:
        Path(f"/proc/self/fd/{descriptor}").chmod(mode)
    finally:
        os.close(descriptor)


@contextmanager
def open_below(root: Path | int, path: str, *, make: bool = False) -> Iterator[int]:
    """Open a directory at or below another one, and give its descriptor.

    Args:
        root: a directory, or its descriptor.
        path: relative and normalised. If one of its components is a link, it is refused.
        make: whether missing directories are made.

    Raises:
        OSError: as `open_directory`.
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
    """Make a directory that only this user can enter, and the missing ones above it, whatever the umask is.

    Raises:
        OSError: it cannot be made or used, belongs to another user, or others may write to it.
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
    """Remove a directory and all below it, however deep. Links are removed, and never followed.

    What is mounted below it stays. Cancellation leaves the rest in place.

    Args:
        name: the directory.
        within: the descriptor of the directory that holds it.
        identity: what the directory must be.
        force: whether to remove what is in directories that their owner may not change.

    Raises:
        OSError: the first thing that could not be removed; everything else is gone.
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
    """Empties a directory from below, with one descriptor that goes down and up the tree."""

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
        """Remove one entry; note the first error."""
        try:
            remove(name, dir_fd=within)
        except FileNotFoundError:
            return
        except OSError as error:
            self.error = self.error or error


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that `walk` found.

    Attributes:
        name: relative to where the walk began, with ``/``.
        path: where it is.
        status: what ``stat`` says, links followed; ``None`` if a link is broken or the entry vanished.
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
    """Return true: `walk` leaves nothing out."""
    return True


class _Above(NamedTuple):
    """The directories that a walk went through to reach one of them."""

    path: Path
    above: _Above | None

    def holds(self, path: Path) -> bool:
        level: _Above | None = self
        while level is not None and level.path != path:
            level = level.above
        return level is not None


async def walk(top: Path, *, recursive: bool = True, admit: Callable[[str, Path], bool] = admit_all) -> list[Entry]:
    """Return what a directory holds, each directory before its content. Links are followed, but never in a circle.

    Args:
        top: an existing directory.
        recursive: whether to go below its own entries.
        admit: called with the relative name and the resolved path; what it refuses is left out.

    Raises:
        OSError: a directory cannot be read; ELOOP if too many links lead to directories.
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
