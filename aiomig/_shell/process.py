"""Processes of local mode: start a script in a session of its own, wait for its end, kill its group.

On Linux a process is waited for by a pidfd: no thread, no signal handler, and it works for a process that another
process started. Elsewhere anyio's processes serve for children, and a look now and then for others.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import anyio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LOOK_AGAIN = 0.1
"""Seconds between two looks at a foreign process where there are no pidfds."""


class Process(Protocol):
    """A process that can be waited for and killed."""

    pid: int

    async def wait(self) -> int | None:
        """Waits for the end. The exit code, negative for a signal; ``None`` where it cannot be known.

        May be cancelled and called again.
        """

    def kill(self) -> None:
        """Kills the whole process group at once."""

    def terminate(self) -> None:
        """Asks the whole process group to end (SIGTERM)."""

    def release(self) -> None:
        """Lets go of the process without ending it."""


def has_pidfd() -> bool:
    """Whether this system can wait for a process by a file descriptor."""
    if not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def _signal_group(pid: int, number: int) -> None:
    # The group bears the number of its leader. It is used only while the leader is not reaped, so that the number
    # cannot belong to anyone else.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def group_is_empty(pid: int) -> bool:
    """Whether nothing is left of a process group whose leader has ended and was waited for."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


class PidfdProcess:
    """A process that is waited for by its pidfd.

    Args:
        pid: the process, which must be the leader of its group.
        child: the `subprocess.Popen` of it, where it is ours.
    """

    def __init__(self, pid: int, child: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self._child = child
        self._descriptor = os.pidfd_open(pid)

    async def wait(self) -> int | None:
        """Waits for the end."""
        if self._descriptor >= 0:
            await anyio.wait_readable(self._descriptor)
            code = self._reap()
            self.release()
            return code
        return None

    def _reap(self) -> int | None:
        try:
            info = os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return None  # not ours, or someone else in this program waited for it
        if info is None:
            return None
        return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status

    def kill(self) -> None:
        """Kills the whole process group at once."""
        if self._descriptor >= 0:
            _signal_group(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        """Asks the whole process group to end."""
        if self._descriptor >= 0:
            _signal_group(self.pid, signal.SIGTERM)

    def release(self) -> None:
        """Closes the descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._child is not None:
            # Otherwise Popen complains of a child that still runs, and would wait for it on its own.
            self._child.returncode = 0
            self._child = None


class ForeignProcess:
    """A process that is not ours, where there are no pidfds."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    async def wait(self) -> int | None:
        """Waits for the end."""
        while is_running(self.pid):  # noqa: ASYNC110 - nothing tells of the end of a foreign process
            await anyio.sleep(_LOOK_AGAIN)
        return None

    def kill(self) -> None:
        """Kills the whole process group at once."""
        _signal_group(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        """Asks the whole process group to end."""
        _signal_group(self.pid, signal.SIGTERM)

    def release(self) -> None:
        """Nothing is held."""


class AnyioProcess:
    """A child of ours, where there are no pidfds."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def wait(self) -> int | None:
        """Waits for the end."""
        return await self._process.wait()

    def kill(self) -> None:
        """Kills the whole process group at once."""
        if self._process.returncode is None:
            _signal_group(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        """Asks the whole process group to end."""
        if self._process.returncode is None:
            _signal_group(self.pid, signal.SIGTERM)

    def release(self) -> None:
        """Nothing is held."""


def spawn(command: Sequence[str], *, folder: str, environment: Mapping[str, str], null: int) -> PidfdProcess:
    """Starts a program as `start` does, where there are pidfds: vfork and exec, without waiting for anything else.

    Raises:
        OSError: it cannot be started.
    """
    child = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=null, stdout=null, stderr=null, start_new_session=True
    )
    try:
        return PidfdProcess(child.pid, child)
    except OSError:  # out of descriptors: a job that cannot be waited for must not run
        _signal_group(child.pid, signal.SIGKILL)
        child.wait()
        raise


async def start(
    command: Sequence[str], *, folder: str, environment: Mapping[str, str], null: int, pidfd: bool
) -> Process:
    """Starts a program in a new session, with ``null`` as its standard files.

    Raises:
        OSError: it cannot be started.
    """
    if pidfd:
        return spawn(command, folder=folder, environment=environment, null=null)
    with anyio.CancelScope(shield=True):  # cancelled half-way it would leave a process that nobody knows
        process = await anyio.open_process(
            command, cwd=folder, env=environment, stdin=null, stdout=null, stderr=null, start_new_session=True
        )
    return AnyioProcess(process)


def attach(pid: int, *, pidfd: bool) -> Process | None:
    """A process that someone else started; ``None`` where it has ended."""
    if not pidfd:
        return ForeignProcess(pid) if is_running(pid) else None
    try:
        process = PidfdProcess(pid)
    except ProcessLookupError:
        return None
    if not is_running(pid):
        process.release()
        return None
    return process


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return True  # a system without /proc: it answers to signal 0
    return state not in (b"Z", b"X")


def belongs_to(pid: int, folder: str) -> bool:
    """Whether a running process is the shell of the attempt in a job directory, and not a later user of its number.

    The directory's name is unique; it stands in the environment that the shell was started with, and is the
    directory that it was started in.
    """
    process = Path(f"/proc/{pid}")
    try:
        if os.fsencode(Path(folder).name) in (process / "environ").read_bytes():
            return True
        return os.path.realpath(process / "cwd").startswith(os.path.realpath(folder))
    except OSError:
        return not process.parent.joinpath("self").exists()  # no /proc: nothing speaks against it


def anyone_in(folder: str) -> bool:
    """Whether any process may be of the attempt in a job directory; True where that cannot be seen."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return True
    return any(name.isdigit() and belongs_to(int(name), folder) for name in names)
