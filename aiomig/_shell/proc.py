"""Reads processes from ``/proc``. On a system without it, no process can be examined."""

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
    """The fields of ``/proc/PID/stat`` that aiomig uses."""

    state: str
    parent: int
    session: int
    started: str


def stat_of(pid: int) -> Stat | None:
    """Return the kernel's data about a process; ``None`` if it does not exist."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            words = file.read().rpartition(b")")[2].split()
        return Stat(words[0].decode(), int(words[1]), int(words[3]), words[19].decode())
    except (OSError, IndexError, ValueError):
        return None


def started_at(pid: int) -> str:
    """Return when a running process started, in kernel ticks; empty if it has ended or there is no ``/proc``."""
    stat = stat_of(pid)
    return "" if stat is None or stat.state in "ZX" else stat.started


def seconds_running(pid: int) -> float | None:
    """Return the seconds since a running process started, unaffected by clock changes; ``None`` without ``/proc``."""
    ticks = started_at(pid)
    if not ticks:
        return None
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - int(ticks) / os.sysconf("SC_CLK_TCK"))


def running_pids() -> Iterator[int]:
    """Yield the id of every visible process; none on a system without ``/proc``."""
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
    return stat is None or stat.state not in "ZX"  # without /proc, a process that accepts signal 0 exists


def belongs_to(pid: int, folder: str) -> bool:
    """Return whether a running process belongs to the attempt in a job directory, and did not reuse its process id.

    The directory's name is unique. The attempt's shell has it in its environment and starts in the directory.
    """
    process = Path(f"/proc/{pid}")
    try:
        if os.fsencode(Path(folder).name) in (process / "environ").read_bytes():
            return True
        return os.path.realpath(process / "cwd").startswith(os.path.realpath(folder))
    except OSError:
        return not process.parent.joinpath("self").exists()  # without /proc nothing can be checked


def anyone_in(folder: str) -> bool:
    """Return whether any process may belong to the attempt in a job directory; True without ``/proc``."""
    if not os.path.exists("/proc/self"):
        return True
    return any(belongs_to(pid, folder) for pid in running_pids())


def end_escaped(environment: Collection[str]) -> None:
    """Kill the processes in any session whose environment has one of these entries.

    Args:
        environment: entries ``NAME=VALUE`` that only processes of ended attempts have.
    """
    entries = {os.fsencode(entry) for entry in environment}
    for pid in running_pids():
        with suppress(OSError):
            with open(f"/proc/{pid}/environ", "rb") as file:
                present = file.read().split(b"\0")
            if not entries.isdisjoint(present):
                os.kill(pid, signal.SIGKILL)
