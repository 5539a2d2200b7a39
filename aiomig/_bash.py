"""Has bash read a script without running it: ``bash -n``.

The script goes by a file without a name, never on the command line, which every user of a machine sees. On Linux the
process is waited for by a pidfd, so that there are no threads and no signal handlers; elsewhere by anyio.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import suppress
from typing import IO, TYPE_CHECKING, NamedTuple

import anyio

from ._local_process import has_pidfd

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath}
"""Nothing of the program's: BASH_ENV, SHELLOPTS and POSIXLY_CORRECT change what bash takes."""

_LONGEST = 65_536
"""Bytes of complaints that are read."""


class Reading(NamedTuple):
    """What came of it.

    Attributes:
        code: the exit code of bash: 0 where it finds nothing wrong, negative for a signal.
        complaints: what it says.
    """

    code: int
    complaints: str


async def read_only(bash: str, script: str, seconds: float) -> Reading | None:
    """Has bash read a script.

    Cancelled, it leaves no process.

    Args:
        bash: the path of the program.
        script: the text.
        seconds: how long it may take.

    Returns:
        What bash says; ``None`` where it could not be started, or took too long.
    """
    run = _by_pidfd if has_pidfd() else _by_anyio
    with anyio.move_on_after(seconds), suppress(OSError), _file() as given, _file() as said:
        given.write(script.encode("utf-8", "surrogateescape"))
        given.seek(0)
        code = await run([bash, "-n"], given, said)
        return Reading(code, os.pread(said.fileno(), _LONGEST, 0).decode("utf-8", "replace"))
    return None


def _file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("aiomig"), "wb+")
    return tempfile.TemporaryFile()


async def _by_pidfd(command: Sequence[str], given: IO[bytes], said: IO[bytes]) -> int:
    child = subprocess.Popen(  # noqa: ASYNC220 - vfork and exec: a fraction of a millisecond
        command, stdin=given, stdout=subprocess.DEVNULL, stderr=said, env=_ENVIRONMENT, start_new_session=True
    )
    try:
        descriptor = os.pidfd_open(child.pid)
        try:
            await anyio.wait_readable(descriptor)
        finally:
            os.close(descriptor)
    finally:
        child.kill()
        # It has ended, or dies now: there is nothing to wait for long.
        code = child.wait()
    return code


async def _by_anyio(command: Sequence[str], given: IO[bytes], said: IO[bytes]) -> int:
    with anyio.CancelScope(shield=True):  # cancelled half-way it would leave a process that nobody knows
        process = await anyio.open_process(
            command, stdin=given, stdout=subprocess.DEVNULL, stderr=said, env=_ENVIRONMENT, start_new_session=True
        )
    async with process:  # which kills it where it is left early
        return await process.wait()
