"""Checks the commands of a job before it is submitted, with ``bash -n``.

A resource puts all commands of a job into one group of one script, and bash reads that as a whole: after one syntax
error no command runs, and nothing comes back. See docs/protocol.md#the-script. So bash reads the script beforehand
without running it. aiomig refuses what bash refuses, and nothing else.

bash gets the script by an anonymous file, not on the command line, which every user of a machine can see.
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
from typing import IO, TYPE_CHECKING, NamedTuple

import anyio

from .._core.models import Fault
from .._core.tasks import run_all
from .._spec.mrsl import Description
from .lint import command_field, unbalanced_command, warnings_of
from .process import has_pidfd
from .script import QUOTE_GUARD, script

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger("aiomig")

_ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath}
"""Without BASH_ENV, SHELLOPTS and POSIXLY_CORRECT, which change what bash accepts."""

_LONGEST_COMPLAINTS = 65_536  # bytes
_POLL_SECONDS = 0.005  # where there are no pidfds

_MODERN = "a |& b &>> c\n"
"""A bash from before 2009, such as that of macOS, refuses this line. It cannot judge for the bash of a grid."""

_WORD = r"""(?:[A-Za-z0-9_./:=@%,+~^*?-]+|'[^']*'|"[^"\\`$]*")"""
_PLAIN = re.compile(rf"{_WORD}(?: (?:(?:&&|\|\||\||;|>>?|<) )?{_WORD})*")
_RESERVED = re.compile(
    r"(?:^| )(?:!|\[\[|case|coproc|do|done|elif|else|esac|fi|for|function|if|in|select|then|time|until|while)(?: |$)"
)
_COMPLAINT = re.compile(r"^.*?: line (\d+): (?!warning: )(.+)$", re.MULTILINE)
_HERE_DOCUMENT = re.compile(r": line \d+: warning: here-document at line (\d+) (.*)$", re.MULTILINE)
_NUMBER = re.compile(rb"(?<!exit )(?<![0-9])[0-9]+")
_LOST = "; one such error, and no command of the job runs and nothing comes back"
_REMEDY = (
    "correct it: a grid adds lines of its own after each command, so a loop must stand on one line; ship longer code "
    "as a file: executables=['script.sh']"
)
_HERE_REMEDY = "give the text as an input, inputs=[(b'…', 'name')], or on one line: <<< $'…\\n…'"


class Verdict(NamedTuple):
    """The result of checking a job's commands.

    Attributes:
        faults: reasons why they cannot run.
        warnings: reasons why they may fail.
    """

    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()


class CommandCheck:
    """Checks the commands of the jobs of one session, and remembers the valid ones.

    Args:
        seconds: the longest time for one job. After it, the commands count as valid.
        processes: the most processes at once.
        remembered: the number of valid commands to remember.
    """

    def __init__(self, *, seconds: float = 10.0, processes: int = 4, remembered: int = 4096) -> None:
        self._seconds = seconds
        self._processes = processes
        self._remembered = remembered
        self._valid: OrderedDict[bytes, None] = OrderedDict()
        self._limit = anyio.Semaphore(processes)

    @cached_property
    def _bash(self) -> str | None:
        bash = shutil.which("bash") or shutil.which("bash", path=os.defpath)
        if bash is None:
            logger.debug("no bash on this machine: the syntax of commands is not checked")
        return bash

    async def verdict(self, commands: Sequence[str]) -> Verdict:
        """Return the faults and warnings of the commands of one job."""
        is_valid = all(map(is_plain, commands))
        warnings = tuple(warnings_of(commands))
        if is_valid or self._bash is None:
            return Verdict((), warnings)
        text = _MODERN + script(
            Description({"EXECUTE": tuple(commands)}), job_id="JOB", local_name="JOB", control="/dev/null"
        )
        async with self._limit:
            reading = await read_only(self._bash, text, self._seconds)
        fault = _fault(commands, text, reading.complaints) if reading is not None and reading.code in (1, 2) else None
        return Verdict((fault,) if fault else (), warnings)

    async def faults(self, commands: Sequence[str]) -> tuple[Fault, ...]:
        """Return the faults of the commands of one job, and log its warnings once for each text.

        This starts no bash for plain commands, or for commands that differ from valid ones only in numbers.
        """
        key = _key(commands)
        if key in self._valid:
            self._valid.move_to_end(key)
            return ()
        verdict = await self.verdict(commands)
        if not verdict.faults and key not in self._valid:
            self._valid[key] = None
            if len(self._valid) > self._remembered:
                self._valid.popitem(last=False)
            for warning in verdict.warnings:
                extra = {"event_name": "command_warning", "field": warning.field, "command": warning.value}
                logger.warning("%s", warning, extra=extra)
        return verdict.faults

    async def faults_of_many(self, jobs: Sequence[Sequence[str]]) -> list[tuple[Fault, ...]]:
        """Return the faults of each of many jobs."""
        faults: list[tuple[Fault, ...]] = [() for _ in jobs]

        async def check(position: int) -> None:
            faults[position] = await self.faults(jobs[position])

        await run_all(check, range(len(jobs)), at_once=min(self._processes, len(jobs)))
        return faults


def is_plain(command: str) -> bool:
    """Return whether a command consists only of plain words, which cannot be a syntax error."""
    return _PLAIN.fullmatch(command) is not None and _RESERVED.search(command) is None


def _fault(commands: Sequence[str], text: str, complaints: str) -> Fault | None:
    """Return the first error that bash reports; ``None`` if it reports none, or is too old to judge."""
    complaint = _COMPLAINT.search(complaints)
    if complaint is None or complaint[1] == "1":
        return None
    line, words, remedy = int(complaint[1]), complaint[2], _REMEDY
    here = _HERE_DOCUMENT.search(complaints)
    if here is not None and "end of file" in words:
        # bash only warns of a here-document that extends to the end of the script.
        line, words, remedy = int(here[1]), f"here-document {here[2]}", _HERE_REMEDY
    lines = text.split("\n")
    # The guard line follows each command. The lines before a command are correct.
    starts = [at for at, content in enumerate(lines) if content == QUOTE_GUARD]
    position = max(0, bisect_right(starts, line) - 1)
    if "unexpected EOF" in words or (line > starts[-1] + 1 and here is None):
        # This is the line at which bash noticed the error.
        position = unbalanced_command(commands)
    field = command_field(commands, position)
    return Fault(field, commands[position], f"bash says: {words}{_LOST}", remedy)


def _key(commands: Sequence[str]) -> bytes:
    """Return a digest of commands without their numbers, which matter only after ``exit``."""
    texts = (text.encode("utf-8", "surrogateescape") for text in commands)
    return blake2b(_NUMBER.sub(b"0", b"\0".join(texts)), digest_size=16).digest()


class Reading(NamedTuple):
    """bash's verdict on a script.

    Attributes:
        code: its exit code: 0 if it finds nothing wrong, negative for a signal.
        complaints: its standard error.
    """

    code: int
    complaints: str


async def read_only(bash: str, script: str, seconds: float) -> Reading | None:
    """Let bash read a script without running it. This leaves no process, even if cancelled.

    Args:
        bash: the path of the program.
        script: the text.
        seconds: the longest time that it may take.

    Returns:
        The verdict; ``None`` if bash could not be started or took too long.
    """
    with (
        anyio.move_on_after(seconds),
        suppress(OSError),
        tempfile.TemporaryFile() as text,
        tempfile.TemporaryFile() as complaints,
    ):
        text.write(script.encode("utf-8", "surrogateescape"))
        text.seek(0)
        code = await _run([bash, "-n"], text, complaints)
        return Reading(code, os.pread(complaints.fileno(), _LONGEST_COMPLAINTS, 0).decode("utf-8", "replace"))
    return None


async def _run(command: Sequence[str], text: IO[bytes], complaints: IO[bytes]) -> int:
    child = subprocess.Popen(  # noqa: ASYNC220 - vfork and exec: a fraction of a millisecond
        command, stdin=text, stdout=subprocess.DEVNULL, stderr=complaints, env=_ENVIRONMENT, start_new_session=True
    )
    try:
        if has_pidfd():
            descriptor = os.pidfd_open(child.pid)
            try:
                await anyio.wait_readable(descriptor)
            finally:
                os.close(descriptor)
        else:
            while child.poll() is None:  # noqa: ASYNC110 - without a pidfd nothing tells of the end
                await anyio.sleep(_POLL_SECONDS)
    finally:
        child.kill()
        code = child.wait()  # it has ended, or ends now
    return code
