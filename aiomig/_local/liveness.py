"""Which sessions of a home are open: each locks its own file and writes into it where it runs.

The kernel releases the lock when the process ends, for whatever reason. A forked child shares the lock, so the file
also names the process.
"""

from __future__ import annotations

import fcntl
import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from .._core.errors import LocalError
from .._shell.proc import started_at

Place = Literal["here", "other container", "before restart", "other machine"]

_SHARED_FILE_SYSTEMS = (
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "beegfs_nodev", "pvfs2"),
    *("9p", "virtiofs", "ocfs2", "gfs2", "orangefs", "glusterfs", "fuse.glusterfs", "fuse.sshfs", "fuse.lizardfs"),
)
"""File systems that several machines may share, where another machine may not see a lock."""


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text("ascii").strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


class Origin(NamedTuple):
    """Where a session runs.

    Attributes:
        boot: changes when the machine restarts.
        namespace: the PID namespace; each container has one.
        host: the name of the machine or container.
    """

    boot: str
    namespace: str = ""
    host: str = ""

    @classmethod
    def here(cls) -> Origin:
        """Return the origin of this process."""
        return cls(_text_of("/proc/sys/kernel/random/boot_id"), _pid_namespace(), platform.node())

    @classmethod
    def decode(cls, text: str) -> Origin:
        """Return the origin that `encode` wrote. Earlier versions wrote only the boot id."""
        boot, namespace, host = (*text.split(" "), "", "")[:3]
        return cls(boot, namespace, host)

    def encode(self) -> str:
        """Return one line of text."""
        return " ".join(self)

    def place(self, home: Path, mounts: str = "/proc/self/mountinfo") -> Place:
        """Return where the session of this origin ran, relative to this process.

        Args:
            home: the session's home. If only one machine can write to it, another boot id means a restart.
            mounts: the file with the types of file systems.
        """
        here = Origin.here()
        if self.boot == here.boot:
            return "here" if self.namespace in ("", here.namespace) else "other container"
        if self.host in ("", here.host) or not _is_shared(home, mounts):
            return "before restart"
        return "other machine"


def _is_shared(folder: Path, mounts: str) -> bool:
    device = os.stat(folder).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in _text_of(mounts).splitlines():
        fields, _, rest = line.partition(" - ")
        if fields.split(" ")[2] == number:
            return rest.split(" ")[0] in _SHARED_FILE_SYSTEMS
    return False


class SessionLocks:
    """The lock files of the sessions of a home.

    Args:
        folder: their directory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[int, int] = {}

    def acquire(self, session: int) -> None:
        """Lock the file of a session of this process.

        Raises:
            LocalError: it cannot be made.
        """
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            path = self._folder / str(session)
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            self._held[session] = descriptor
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(descriptor, f"{os.getpid()} {started_at(os.getpid())} {_pid_namespace()}\n".encode())
        except OSError as error:
            raise LocalError(
                f"{self._folder} cannot be used: {error.strerror}",
                path=str(self._folder),
                remedy="make it a folder that you may write to, with room on its disk",
            ) from error

    def is_alive(self, session: int) -> bool:
        """Return whether a session is open in any process.

        Raises:
            LocalError: something else has the path of its file.
        """
        if session in self._held:
            return True
        try:
            descriptor = os.open(self._folder / str(session), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        except OSError as error:
            path = self._folder / str(session)
            raise LocalError(
                f"{path} cannot be read, so it is not known whether the session that made it is open: {error.strerror}",
                path=str(path),
                remedy="if no other program uses this home, remove it",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return not _has_process_ended(os.read(descriptor, 200))
        finally:
            os.close(descriptor)
        return False

    def release(self) -> None:
        """Unlock and remove the files of this process's sessions."""
        for session, descriptor in self._held.items():
            with suppress(OSError):
                (self._folder / str(session)).unlink(missing_ok=True)
            os.close(descriptor)
        self._held.clear()


def _has_process_ended(text: bytes) -> bool:
    """Return whether a process is known to have ended, from the text in its lock file."""
    try:
        pid, started, namespace = text.decode("ascii").split()
        return namespace == _pid_namespace() and started_at(int(pid)) != started
    except ValueError:  # the file of an earlier version, or of a system without /proc
        return False
