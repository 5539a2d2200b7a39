"""Starts a shell in its own process session, waits for its end, and ends its whole session.

On Linux, aiomig waits for a process by a pidfd: without threads and signal handlers, also for a process that another
process started. Elsewhere, or if no descriptor is free, it polls the process.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import subprocess
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from .proc import is_running, running_pids, stat_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

logger = logging.getLogger("aiomig.local")

_SHORTEST_LOOK = 0.001
_LONGEST_LOOK = 0.1
"""Seconds between two checks of a process without a pidfd."""

_DEATH_LASTS = 30.0
"""Seconds that SIGKILL may take, even on a busy machine."""

_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_RESET = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
"""The signals that Python itself ignores and `subprocess` resets, as a bit mask of the kernel."""

_ENTER = 'cd -- "$0" && unset OLDPWD && exec "$@"'
"""Enters the job directory, which `os.posix_spawn` cannot do."""


def has_pidfd() -> bool:
    """Return whether this system can wait for a process by a file descriptor."""
    if not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


class Process(ABC):
    """The leader of a session, and the processes of that session.

    The leader's process id is the session's id. The kernel does not reuse it until the leader is reaped and all
    processes of the session have ended.
    """

    pid: int
    _is_reaped = False
    _is_left_behind = False

    def _signal_group(self, number: int) -> None:
        if not self._is_reaped:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL to the leader's process group, now."""
        self._signal_group(signal.SIGKILL)

    def _members(self) -> list[int]:
        """Return the running processes of the session; reap ended children of this process."""
        members = []
        for pid in running_pids():
            stat = stat_of(pid)
            if stat is None or stat.session != self.pid:
                continue
            if pid == self.pid and self._is_reaped:
                return []  # a later process reused the id, so the session is empty
            if stat.state not in "ZX":
                members.append(pid)
            elif pid != self.pid and stat.parent == os.getpid():  # orphans are children of process 1
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        return members

    def _signal_members(self, number: int) -> list[int]:
        """Send a signal to each process of the session; return those that got it."""
        self._signal_group(number)
        reached = []
        for pid in self._members():
            with suppress(ProcessLookupError, PermissionError):
                if (stat := stat_of(pid)) is not None and stat.session == self.pid:
                    os.kill(pid, number)
                    reached.append(pid)
        return reached

    async def _session_ends(self) -> None:
        pause = _SHORTEST_LOOK
        while self._members():
            await anyio.sleep(pause)
            pause = min(pause * 2, _LONGEST_LOOK)

    def _is_session_empty(self) -> bool:
        """Return whether the session of a reaped leader is empty."""
        return not self._members()

    async def end_session(self, grace: float = 0.0) -> None:
        """End every process of the session and wait until all are gone.

        SIGKILL does not end a process that waits in the kernel for a disk or network that does not respond. It runs no
        more code, so after a while aiomig logs it and leaves it.

        Args:
            grace: seconds between SIGTERM and SIGKILL; 0 for SIGKILL at once.
        """
        if self._is_left_behind or (self._is_reaped and self._is_session_empty()):
            return
        with anyio.CancelScope(shield=True):
            if grace > 0:
                self._signal_members(signal.SIGTERM)
                with anyio.move_on_after(grace):
                    await self._session_ends()
            with anyio.move_on_after(_DEATH_LASTS) as scope:
                pause = _SHORTEST_LOOK
                while self._signal_members(signal.SIGKILL):  # again, for processes that were forked in between
                    await anyio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_LOOK)
                await self.wait()
            if scope.cancelled_caught:
                left = ", ".join(map(str, self._members() or [self.pid]))
                logger.warning("processes that SIGKILL does not end are left behind, waiting in the kernel: %s", left)
                self._is_left_behind = True
                self.release()

    @abstractmethod
    async def wait(self) -> int | None:
        """Wait for the end of the leader.

        May be cancelled and called again.

        Returns:
            The exit code, negative for a signal; ``None`` if it cannot be known.
        """

    @abstractmethod
    def release(self) -> None:
        """Stop looking at the process without ending it."""


class PidfdProcess(Process):
    """A process with a pidfd.

    Args:
        pid: the leader of a session.
        is_child: this program started it.

    Raises:
        ProcessLookupError: it has ended and has been reaped.
    """

    def __init__(self, pid: int, *, is_child: bool = False) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)
        self._code: int | None = None
        self._is_number_free = False
        if is_child:
            try:
                os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:  # a later process reused the id
                self.release()
                raise ProcessLookupError(pid) from None

    async def wait(self) -> int | None:
        """Wait for the end of the leader."""
        if self._descriptor >= 0:
            await anyio.wait_readable(self._descriptor)
            self._reap()
            self.release()
        return self._code

    def _reap(self) -> None:
        with suppress(ChildProcessError):  # not a child, or reaped by other code of this program
            info = os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED | os.WNOHANG)
            if info is not None:
                self._code = info.si_status if info.si_code == os.CLD_EXITED else -info.si_status
        self._is_reaped = True
        # `_members` finds all processes, but reads every process of the machine. This is quicker: Linux
        # accepts the id as long as a process, a process group or a session has it.
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_SETOWN, self.pid)
        except ProcessLookupError:
            self._is_number_free = True
        except OSError:
            self._is_number_free = False

    def _is_session_empty(self) -> bool:
        return self._is_number_free or super()._is_session_empty()

    def release(self) -> None:
        """Close the descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class PolledProcess(Process):
    """A process without a pidfd: on a system without them, or if no descriptor is free.

    Args:
        pid: the leader of a session.
        is_child: this program started it.
    """

    def __init__(self, pid: int, *, is_child: bool = False) -> None:
        self.pid = pid
        self._is_child = is_child
        self._code: int | None = None

    async def wait(self) -> int | None:
        """Wait for the end of the leader."""
        pause = _SHORTEST_LOOK
        while not self._is_reaped:
            self._is_reaped = self._reap() if self._is_child else not is_running(self.pid)
            if not self._is_reaped:
                await anyio.sleep(pause)
                pause = min(pause * 2, _LONGEST_LOOK)
        return self._code

    def _reap(self) -> bool:
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid:
            self._code = os.waitstatus_to_exitcode(status)
        return bool(pid)

    def release(self) -> None:
        """Do nothing: it holds no descriptor."""


class EndedProcess(Process):
    """A process that other code reaped before aiomig could open its pidfd."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._is_reaped = True

    async def wait(self) -> int | None:
        """Return ``None`` at once: the exit code is unknown."""
        return None

    def release(self) -> None:
        """Do nothing: it holds no descriptor."""


def spawn(
    command: Sequence[str], *, folder: str, environment: Mapping[str, str], null: int, pidfd: bool = True
) -> Process:
    """Start a program in a new session, with ``null`` as its standard files and all signals at their defaults.

    Raises:
        OSError: it cannot be started.
    """
    if _has_default_signals():
        child = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=null, stdout=null, stderr=null, start_new_session=True
        )
        child.returncode = 0  # otherwise Popen would wait for the child, too
        pid = child.pid
    else:
        pid = _spawn_with_default_signals(command, folder, environment, null)
    if pidfd:
        try:
            return PidfdProcess(pid, is_child=True)
        except ProcessLookupError:  # this program ignores SIGCHLD, or reaps every child
            return EndedProcess(pid)
        except OSError:  # no descriptor is free
            pass
    return PolledProcess(pid, is_child=True)


def _has_default_signals() -> bool:
    """Return whether a child would start with all signals at their defaults."""
    try:
        with open("/proc/thread-self/stat", "rb", buffering=0) as file:
            words = file.read().rpartition(b")")[2].split()
    except OSError:  # a system without /proc
        return False
    return words[29] == b"0" and not int(words[30]) & ~_RESET


def _spawn_with_default_signals(command: Sequence[str], folder: str, environment: Mapping[str, str], null: int) -> int:
    """Start a program as `spawn` does, from a program that blocks or ignores signals, such as one under nohup."""
    files = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
    with suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                if int(name) > 2 and os.get_inheritable(int(name)):
                    files.append((os.POSIX_SPAWN_CLOSE, int(name)))  # type: ignore[arg-type]
    return os.posix_spawn(
        command[0],
        [command[0], "-c", _ENTER, folder, *command],
        environment,
        file_actions=files,
        setsid=True,
        setsigmask=(),
        setsigdef=_SIGNALS,
    )


def attach(pid: int, *, pidfd: bool) -> Process | None:
    """Return a process that another process started; ``None`` if it has ended."""
    if not is_running(pid):
        return None
    process: Process = PolledProcess(pid)
    if pidfd:
        with suppress(ProcessLookupError):
            process = PidfdProcess(pid)
    return process
