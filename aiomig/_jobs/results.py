"""What a job left behind: MiG's accounting files, and what a result means for the caller. No I/O."""

from __future__ import annotations

import io
import re
from bisect import bisect_right
from itertools import islice
from typing import TYPE_CHECKING

import anyio.lowlevel

from .._core.display import short_repr
from .._core.errors import CommandFailed, JobCanceled, JobExpired, JobFailed, ResultsMissing
from .._core.models import CommandResult, JobResult, JobState
from .._shell.lint import endings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from .._core.models import Attempt, JobStatus
    from .._spec.plan import Plan

_TRANSFER = re.compile(r"(\S+) (-?[0-9]{1,9})", re.ASCII)
_MOST_NAMED = 20
_MOST_ROWS = 20_000
_LONGEST_IO_STATUS = 65_536
_LINES_AT_ONCE = 500  # then other tasks run


async def job_result(
    status: JobStatus, files: Mapping[str, bytes], plan: Plan, *, longest_status: int = 16 << 20
) -> JobResult:
    """Return what a job left behind, whatever happened to it. See `raise_for`.

    A ``.status`` file of many lines is read in pieces, and other tasks run in between.

    Args:
        status: its last status.
        files: the content of its files that exist, by suffix: see `KINDS`.
        plan: how it was submitted.
        longest_status: how much of a ``.status`` file is read, in bytes. If it has more, the exit codes count as
            not reported.
    """
    data = files.get("status", b"")
    parser = StatusFileParser(plan.description.lines("EXECUTE"))
    lines = lines_of(data[:longest_status])
    while batch := list(islice(lines, _LINES_AT_ONCE)):
        parser.feed(batch)
        await anyio.lowlevel.checkpoint()
    transfers = parse_io_status(files.get("io-status", b""))
    # Local mode knows which files did not arrive, and why; a grid tells the step only.
    staging = tuple(f"staging: {line}" for line in files.get("remarks", b"").decode("utf-8", "replace").splitlines())
    has_reasons = any(line.startswith("staging: input ") for line in staging)
    staging += tuple(
        line for line in staging_words(transfers, plan) if not (has_reasons and line.startswith("staging: get_"))
    )
    if len(data) > longest_status:
        staging += (f"staging: the .status file has {len(data)} bytes: exit codes are not known",)
    return JobResult(
        status=status,
        commands=parser.finish(plan.prologue_lines, plan.epilogue_lines),
        stdout_bytes=files.get("stdout", b""),
        stderr_bytes=files.get("stderr", b""),
        notes=tuple(parser.notes),
        transfers=transfers,
        reported=parser.count > 0 and len(data) <= longest_status,
        staging=staging if status.state is JobState.FINISHED else (),
    )


def lines_of(data: bytes) -> Iterator[str]:
    """Return the lines of an accounting file that are not blank."""
    texts = (line.removesuffix(b"\n").decode("utf-8", "replace") for line in io.BytesIO(data))
    return (text for text in texts if text.strip())


class StatusFileParser:
    """Finds the command behind each line of a ``.status`` file. See docs/protocol.md#exit-codes.

    A line shows a command, with each ``'`` as a backtick, and its exit code. Loops repeat lines, a shell that ended
    itself leaves its last line without a code, and a job can write into the file:

    ==================== ================================================================================
    line                 meaning
    ==================== ================================================================================
    ``COMMAND CODE``     the command ended
    ``COMMAND``          the command ended the shell
    ``CODE``             the code of the command before it, which wrote into the file in between, or else of
                         the command before the next one that reports: it removed the file
    ``system: …``        a note
    ``COMMAND …``        the command wrote into the file before its code came
    ``… CODE``           kept under its own text, so that no failure is lost
    anything else        a note; if no command is known, a command
    ==================== ================================================================================

    Args:
        commands: the EXECUTE lines of the job, unescaped; empty if they are not known.

    Attributes:
        notes: the lines that are not about a command.
        count: how many lines there were.
    """

    def __init__(self, commands: Sequence[str]) -> None:
        self.notes: list[str] = []
        self.count = 0
        self._commands = commands
        self._rows: list[tuple[int | None, str, int | None]] = []  # position of the command, its text, exit code
        self._places: dict[str, list[int]] = {}
        for position, command in enumerate(commands):
            self._places.setdefault(command.strip().replace("'", "`"), []).append(position)
        self._beginnings = sorted(f"{text} " for text in self._places if text)
        self._shorter = _longest_beginnings(self._beginnings)
        self._cursor = -1
        self._latest = -1  # the last row that has a command
        self._orphan: int | None = None
        self._left_out = 0

    def feed(self, lines: Iterable[str]) -> None:
        """Read lines that are not blank."""
        for line in lines:
            self.count += 1
            self._add(line)

    def finish(self, prologue: int = 0, epilogue: int = 0) -> tuple[CommandResult, ...]:
        """Return a `CommandResult` for each time a command reported, in order, then those that never did.

        Args:
            prologue: how many of the first commands belong to aiomig and are left out.
            epilogue: how many of the last ones.
        """
        self._adopt(len(self._commands))  # a code that still has no command belongs to the last one
        if self._left_out:
            self.notes.append(f"{self._left_out} reports with exit code 0 are left out")
        users = range(prologue, max(prologue, len(self._commands) - epilogue))
        results = [
            CommandResult(text if position is None else self._commands[position], code)
            for position, text, code in self._rows
            if position is None or position in users
        ]
        silent = sorted(set(users) - {position for position, _, _ in self._rows})
        return tuple(results + [CommandResult(self._commands[position], None) for position in silent])

    def _add(self, line: str) -> None:
        text, _, word = line.rpartition(" ")
        code = int(word) if len(word) < 4 and word.isascii() and word.isdigit() else None
        if code is not None and not text:
            self._lone_code(code)
        elif code is not None and (position := self._find(text)) is not None:
            self._match(position, text, code)
        elif (position := self._find(line.strip())) is not None:
            self._match(position, line.strip(), None)
        elif line.startswith("system: "):
            self._note(line)
        elif (position := self._begun(line)) is not None:
            self._match(position, line, code)
        elif code is not None or not self._commands:
            self._append(None, line.strip() if code is None else text, code)
        else:
            self._note(line)

    def _find(self, text: str) -> int | None:
        places = self._places.get(text)
        if places is None:
            return None
        later = bisect_right(places, self._cursor)
        return places[later if later < len(places) else 0]

    def _begun(self, line: str) -> int | None:
        """Return the longest command that the line begins with."""
        at = bisect_right(self._beginnings, line) - 1
        while at >= 0:
            if line.startswith(self._beginnings[at]):
                return self._find(self._beginnings[at][:-1])
            at = self._shorter[at]
        return None

    def _match(self, position: int, text: str, code: int | None) -> None:
        self._adopt(position)
        self._cursor = position
        if self._append(position, text, code):
            self._latest = len(self._rows) - 1

    def _append(self, position: int | None, text: str, code: int | None) -> bool:
        if len(self._rows) >= _MOST_ROWS and (code == 0 or len(self._rows) >= 2 * _MOST_ROWS):
            self._left_out += 1
            return False
        self._rows.append((position, text, code))
        return True

    def _note(self, line: str) -> None:
        if len(self.notes) < _MOST_ROWS:
            self.notes.append(line)

    def _adopt(self, following: int) -> None:
        if self._orphan is not None:
            self._append(following - 1 if following else None, "", self._orphan)
            self._orphan = None

    def _lone_code(self, code: int) -> None:
        at = self._latest if self._commands else len(self._rows) - 1
        if at < 0:
            self._orphan = code
            return
        position, text, _ = self._rows[at]
        # The command wrote what stands between itself and its code.
        for _, written, number in self._rows[at + 1 :]:
            self._note(f"{written} {number}")
        self._rows[at:] = [(position, text, code)]


def _longest_beginnings(texts: Sequence[str]) -> list[int]:
    """Return for each of some sorted texts the position of the longest other text that it begins with, or -1."""
    shorter: list[int] = []
    for at, text in enumerate(texts):
        candidate = at - 1
        while candidate >= 0 and not text.startswith(texts[candidate]):
            candidate = shorter[candidate]
        shorter.append(candidate)
    return shorter


def parse_io_status(data: bytes) -> tuple[tuple[str, int], ...]:
    """Return the steps of the staging and their codes. See docs/protocol.md#io-status.

    Args:
        data: the content of an ``.io-status`` file; empty if it did not arrive. Its last 64 KiB are read.

    Returns:
        Pairs such as ``("get_input_files", 22)``, in order; a step that was tried again is there again. Lines
        of another form are left out.
    """
    lines = data[-_LONGEST_IO_STATUS:].decode("utf-8", "replace").split("\n")
    return tuple((match[1], int(match[2])) for line in lines if (match := _TRANSFER.fullmatch(line.strip())))


_STEPS = {"get_input_files": "INPUTFILES", "get_executables": "EXECUTABLES"}
_SENDING = ("send_output_files", "send_io_files")


def staging_words(transfers: Iterable[tuple[str, int]], plan: Plan) -> tuple[str, ...]:
    """Return what went wrong with the files of a job, a line each. See docs/protocol.md#io-status.

    A resource says only that a file of a step failed, not which one, and runs the job all the same. So all files of
    the step are named.
    """
    last = dict(transfers)  # the last try of a step counts
    lines = []
    for step, keyword in _STEPS.items():
        if code := last.get(step, 0):
            files = [f"{file.destination} (from {file.source})" for file in plan.description.transfers(keyword)]
            lines.append(
                f"staging: {step} failed with {code}, so some of {keyword} may have been missing while it ran: "
                f"{_listed(files) or 'see the description of the job'}"
            )
    if missing := last.get("output_files_missing", 0):
        names = list(dict.fromkeys(output.name for output in plan.outputs))
        names = names or [file.source for file in plan.description.transfers("OUTPUTFILES")]
        which = f" of {len(names)} ({_listed(names)})" if names else ""
        lines.append(
            f"staging: {missing} of the outputs{which} were not files when the commands had ended: not made, or "
            "a folder, or a symbolic link with a relative target, of which a grid takes the link only: cp -L it"
        )
    lines += [f"staging: {step} failed with {last[step]}" for step in _SENDING if last.get(step, 0)]
    return tuple(lines)


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - _MOST_NAMED} more" if len(words) > _MOST_NAMED else ""
    return ", ".join(words[:_MOST_NAMED]) + more


def raise_for(job_id: str, result: JobResult, plan: Plan) -> None:
    """Raise if a job did not end well. Does nothing if it ended well, or has not ended.

    Raises:
        CommandFailed: it is FINISHED, and a command exited with something other than 0.
        ResultsMissing: it is FINISHED, but no exit codes arrived, so aiomig does not know whether it went well.
            See docs/protocol.md#python-3-servers.
        JobFailed: every attempt failed.
        JobCanceled: it was canceled.
        JobExpired: it waited for too long.
    """
    status = result.status
    match status.state:
        case JobState.FINISHED:
            _raise_for_finished(job_id, result)
        case JobState.FAILED:
            raise JobFailed(job_id, _failure(status, plan), status=status, result=result)
        case JobState.CANCELED:
            when = f" at {_time(status.canceled_at)}" if status.canceled_at else ""
            raise JobCanceled(job_id, f"canceled{when}", status=status, result=result)
        case JobState.EXPIRED:
            message = "it waited in the queue for longer than the grid allows"
            raise JobExpired(job_id, message, status=status, result=result)


def _raise_for_finished(job_id: str, result: JobResult) -> None:
    if not result.reported:
        contents = {"stdout": result.stdout_bytes, "stderr": result.stderr_bytes, "io-status": result.transfers}
        raise ResultsMissing(
            job_id,
            (f"{job_id}.status",),
            arrived=[f"{job_id}.{kind}" for kind, content in contents.items() if content],
            staging=result.staging,
            remedy="aiomig does not know whether the commands went well: result(check=False) gives what there is, "
            "resubmit() runs them again",
            status=result.status,
            result=result,
        )
    for command in result.commands:
        if command.exit_code:
            raise CommandFailed(
                job_id,
                command=command.command,
                exit_code=command.exit_code,
                status=result.status,
                result=result,
                staging=result.staging,
            )


_DIED = "RESOURCE DIED"
# docs/protocol.md#retries-and-timeouts
_HINTS = {
    "JOB TIMEOUT": "JOB TIMEOUT: over its wall time (raise resources.wall_time), or its results could not be sent: an "
    "output that cannot be read or has no place in the home, or a job that removed its own files",
    _DIED: "RESOURCE DIED: the resource failed, or the job's shell did: a command that ends it with a failure (exit 3, "
    "set -e, exec), a syntax error, or the kernel killing it for its use of memory or CPU time loses all results",
}


def _failure(status: JobStatus, plan: Plan) -> str:
    attempts = status.attempts
    if not attempts:
        return f"the grid gave it up at {_time(status.failed_at)}, without saying why"
    count = "its only attempt" if len(attempts) == 1 else f"{len(attempts)} attempts"
    reasons = {attempt.reason for attempt in attempts}
    # If all attempts ended alike and nothing more is known about them, the job itself is the likely cause.
    reason = "" if len(reasons) > 1 or any(attempt.detail for attempt in attempts) else reasons.pop()
    lines = [f"the grid gave it up after {count}:"]
    lines += [f"- … and {len(attempts) - _MOST_NAMED} before"] if len(attempts) > _MOST_NAMED else []
    lines += [f"- {_attempt_words(attempt)}" for attempt in attempts[-_MOST_NAMED:]]
    lines += [_HINTS[reason]] if reason in _HINTS else []
    if attempts[-1].reason == _DIED:
        suspects = [short_repr(fault.value) for fault in endings(plan.description.lines("EXECUTE"))]
        lines += [f"these commands may have done it: {_listed(suspects)}"] if suspects else []
    return "\n".join(lines)


def _attempt_words(attempt: Attempt) -> str:
    words = [attempt.reason or "no reason given"]
    words += [attempt.detail] if attempt.detail else []
    words += [f"on {attempt.resource}"] if attempt.resource else []
    times = {"queued": attempt.queued_at, "executing": attempt.executing_at, "failed": attempt.failed_at}
    return ", ".join(words + [f"{word} {_time(when)}" for word, when in times.items() if when])


def _time(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S %Z}" if when else "an unknown time"
