"""What ``/proc`` tells of the processes of this machine. On a system without it nothing is known of them."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


class Stat(NamedTuple):
    """The fields of ``/proc/PID/stat`` that are used here."""

    state: str
    parent: int
    session: int
    started: str


def stat_of(pid: int) -> Stat | None:
    """Return what the kernel tells of a process; ``None`` if there is none with this number."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            words = file.read().rpartition(b")")[2].split()
        return Stat(words[0].decode(), int(words[1]), int(words[3]), words[19].decode())
    except (OSError, IndexError, ValueError):
        return None


def started_at(pid: int) -> str:
    """Return when a running process started, in units of the kernel; empty if it has ended, or there is no /proc."""
    stat = stat_of(pid)
    return "" if stat is None or stat.state in "ZX" else stat.started


def seconds_running(pid: int) -> float | None:
    """Return how long ago a running process started, whatever was done to the clock; ``None`` without ``/proc``."""
    ticks = started_at(pid)
    if not ticks:
        return None
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - int(ticks) / os.sysconf("SC_CLK_TCK"))


def running_pids() -> Iterator[int]:
    """Yield the number of every process that can be seen; nothing on a system without ``/proc``."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    yield from (int(name) for name in names if name.isdigit())


def is_running(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    stat = stat_of(pid)
    return stat is None or stat.state not in "ZX"  # None: a system without /proc; the process answers to signal 0


def belongs_to(pid: int, folder: str) -> bool:
    """Return whether a running process is of the attempt in a job directory, not a later user of its number.

    The directory's name is unique. It stands in the environment of the attempt's shell, which starts in the directory.
    """
    process = Path(f"/proc/{pid}")
    try:
        if os.fsencode(Path(folder).name) in (process / "environ").read_bytes():
            return True
        return os.path.realpath(process / "cwd").startswith(os.path.realpath(folder))
    except OSError:
        return not process.parent.joinpath("self").exists()  # without /proc nothing can be checked


def anyone_in(folder: str) -> bool:
    """Return whether any process may be of the attempt in a job directory; True if that cannot be seen."""
    if not os.path.exists("/proc/self"):
        return True
    return any(belongs_to(pid, folder) for pid in running_pids())


def end_escaped(environment: Collection[str]) -> None:
    """Kill the processes that have one of these entries in their environment, whatever session they are in.

    Args:
        environment: entries ``NAME=VALUE`` that only the processes of attempts have that have ended.
    """
    entries = {os.fsencode(entry) for entry in environment}
    for pid in running_pids():
        with suppress(OSError):
            with open(f"/proc/{pid}/environ", "rb") as file:
                present = file.read().split(b"\0")
            if not entries.isdisjoint(present):
                os.kill(pid, signal.SIGKILL)
