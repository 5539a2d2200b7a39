"""What is wrong with the commands of a job for bash, found before the job is sent.

A resource puts all commands of a job into one group of one script, which bash reads as a whole: one syntax error, one
``${`` or backtick too many, and no command runs, and nothing comes back (golden.md, 5.5). So bash is shown that script
beforehand, to be read and not run. What bash takes there is never refused here, however odd: unbalanced quotes are
ended by the grid's own lines.

Has bash read a script without running it: ``bash -n``.

The script goes by a file without a name, never on the command line, which every user of a machine sees. On Linux the
process is waited for by a pidfd, so that there are no threads and no signal handlers; elsewhere by anyio.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import tempfile
from bisect import bisect_right
from collections import OrderedDict
from contextlib import suppress
from functools import cached_property
from hashlib import blake2b
from itertools import chain
from os import defpath
from typing import IO, TYPE_CHECKING, NamedTuple

import anyio

from .._core.models import Fault
from .._spec.mrsl import Description
from .lint import command_field, endings, is_plain
from .process import has_pidfd
from .script import script

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger("aiomig")

_SECONDS = 10.0
"""How long bash may take."""

_AT_ONCE = 4
"""Processes of one session."""

_REMEMBERED = 4096
_MOST_FAULTS = 10
_LOOKS = 16
"""How many commands are tried for the one that opens what is never closed."""

_MODERN = "a |& b &>> c\n"
"""What a bash of before 2009, such as that of macOS, does not know: its verdict is none on the bash of a grid."""

_COMPLAINT = re.compile(r"^.*?: line (\d+): (.+)$", re.MULTILINE)
_HERE_DOCUMENT = re.compile(r"warning: (here-document) at line (\d+) (.*)")
_DIGITS = re.compile(rb"[0-9]+")
_RUN_ON = "unexpected EOF while looking for matching"
"""Told with a line at which bash was by then, which may be of a later command."""

_LEFT_OUT = ":"
_CLOSING = re.compile(r"(?:do|done|then|elif|else|fi|esac|;;|\}|\))(?!\w)")
"""What is wrong because what it belongs to is."""

_LOST = "; one such error, and no command of the job runs and nothing comes back"
_REMEDY = (
    "mend it: a grid puts lines of its own behind each command, so that a loop stands on one line; ship what is longer "
    "as a file: executables=['script.sh']"
)
_HERE_REMEDY = "give the text as an input, inputs=[(b'…', 'name')], or on one line: <<< $'…\\n…'"


class Verdict(NamedTuple):
    """What is to be said of the commands of a job.

    Attributes:
        faults: why they would not run.
        warnings: what may end them before their time.
    """

    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()


_GOOD = Verdict()


class CommandCheck:
    """Looks at the commands of the jobs of one session, and remembers what it found good.

    Args:
        seconds: how long bash may take for one job, before the commands count as good.
    """

    def __init__(self, seconds: float = _SECONDS) -> None:
        self._seconds = seconds
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._limit = anyio.Semaphore(_AT_ONCE)

    @cached_property
    def _bash(self) -> str | None:
        found = shutil.which("bash") or shutil.which("bash", path=defpath)
        if found is None:
            logger.debug("no bash on this machine: the syntax of commands is not checked")
        return found

    async def faults(self, commands: Sequence[str]) -> tuple[Fault, ...]:
        """The faults of the commands of one job; warnings are logged, once for each text.

        No process is started for plain commands, nor for such as were good before.

        Args:
            commands: the command lines, in order.
        """
        if all(map(is_plain, commands)):
            return ()
        warnings = endings(commands)
        key = _key(commands, warnings)
        if self._is_known(key):
            return ()
        async with self._limit:
            faults = () if self._is_known(key) else await self._shown_to_bash(commands)
            if not faults:
                self._remember(key, warnings)
        return faults

    async def faults_of_many(self, jobs: Sequence[Sequence[str]]) -> list[tuple[Fault, ...]]:
        """The same for the commands of many jobs, some at a time."""
        found: list[tuple[Fault, ...]] = [() for _ in jobs]
        suspects = [at for at, commands in enumerate(jobs) if not all(map(is_plain, commands))]
        waiting = iter(suspects)

        async def look() -> None:
            for at in waiting:
                found[at] = await self.faults(jobs[at])

        if suspects:
            async with anyio.create_task_group() as group:
                for _ in range(_AT_ONCE):
                    group.start_soon(look)
        return found

    async def verdict(self, commands: Sequence[str]) -> Verdict:
        """Everything that is to be said of the commands of one job; nothing is logged."""
        if all(map(is_plain, commands)):
            return _GOOD
        async with self._limit:
            return Verdict(await self._shown_to_bash(commands), tuple(endings(commands)))

    def _is_known(self, key: bytes) -> bool:
        if known := key in self._good:
            self._good.move_to_end(key)
        return known

    def _remember(self, key: bytes, warnings: Sequence[Fault]) -> None:
        if self._is_known(key):
            return
        self._good[key] = None
        if len(self._good) > _REMEMBERED:
            self._good.popitem(last=False)
        for warning in warnings:
            extra = {"event_name": "command_warning", "field": warning.field, "command": warning.value}
            logger.warning("%s", warning, extra=extra)

    async def _read(self, text: str) -> Reading | None:
        return await read_only(self._bash, text, self._seconds) if self._bash is not None else None

    async def _shown_to_bash(self, commands: Sequence[str]) -> tuple[Fault, ...]:
        """Bash tells of the first error alone: what is wrong is left out, until it finds no more."""
        faults: list[Fault] = []
        rest = list(commands)
        for _ in range(_MOST_FAULTS):
            text = _script(rest)
            complaint = await self._complaint(text)
            if complaint is None or not (faults or await self._is_good(_MODERN)):
                break
            position = None if _RUN_ON in complaint.words else _position(text, rest, complaint.line)
            if position is None:
                position = await self._opening(rest)
            if faults and rest[position] == _LEFT_OUT:
                break
            if not (faults and _CLOSING.match(commands[position])):
                field = command_field(commands, position)
                faults.append(
                    Fault(field, commands[position], f"bash says: {complaint.words}{_LOST}", complaint.remedy)
                )
            rest[position] = _LEFT_OUT
        return tuple(faults)

    async def _complaint(self, text: str) -> _Complaint | None:
        reading = await self._read(text)
        return _complaint(reading) if reading is not None else None

    async def _is_good(self, text: str) -> bool:
        reading = await self._read(text)
        return reading is not None and reading.code == 0

    async def _opening(self, commands: Sequence[str]) -> int:
        """The command that opens or closes too much: the last one before which all was well."""
        suspects = [at for at, command in enumerate(commands) if not is_plain(command)]
        for at in suspects[: -_LOOKS - 1 : -1]:
            if at == 0 or await self._is_good(_script(commands[:at])):
                return at
        return suspects[0] if suspects else 0


class _Complaint(NamedTuple):
    line: int
    words: str
    remedy: str = _REMEDY


def _complaint(reading: Reading) -> _Complaint | None:
    """What bash finds wrong, if anything; not that it was killed, or is no bash."""
    if reading.code not in (1, 2):
        return None
    found = _COMPLAINT.findall(reading.complaints)
    errors = [_Complaint(int(line), words) for line, words in found if not words.startswith("warning: ")]
    if not errors:
        return None
    # Bash only warns of the one that took the rest of the script with it.
    here = next((match for _, words in found if (match := _HERE_DOCUMENT.fullmatch(words))), None)
    if here is not None and "end of file" in errors[0].words:
        return _Complaint(int(here[2]), f"{here[1]} {here[3]}", _HERE_REMEDY)
    return errors[0]


def _script(commands: Sequence[str]) -> str:
    description = Description({"EXECUTE": tuple(commands)})
    return script(description, job_id="JOB", local_name="JOB", control="/dev/null")


def _position(text: str, commands: Sequence[str], line: int) -> int | None:
    """The command that a line of the script belongs to; ``None`` for a line behind them all."""
    lines = text.split("\n")
    starts: list[int] = []
    at = -1
    for command in commands:
        at = lines.index(f"    {command}", at + 1)
        starts.append(at + 1)
    behind = next((at for at, each in enumerate(lines, 1) if at > starts[-1] and each.startswith("}")), len(lines))
    # What comes before the line of a command keeps the books for it, and cannot be wrong.
    return max(0, bisect_right(starts, line) - 1) if line < behind else None


def _key(commands: Sequence[str], warnings: Sequence[Fault]) -> bytes:
    """Of commands that differ in nothing but their numbers, as those of a sweep, all are good, or none is."""
    told = (f"{each.field} {each.problem}" for each in warnings)
    texts = (text.encode("utf-8", "surrogateescape") for text in chain(commands, ("",), told))
    return blake2b(_DIGITS.sub(b"0", b"\0".join(texts)), digest_size=16).digest()


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
