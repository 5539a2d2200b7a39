"""What a job left behind: MiG's accounting files, and what a result means for the caller. Pure, no I/O."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from .._core.display import short_repr
from .._core.errors import CommandFailed, JobCanceled, JobExpired, JobFailed, ResultsMissing
from .._core.models import CommandResult, JobResult, JobState
from .._shell.lint import endings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from .._core.models import Attempt, JobStatus
    from .._spec.mrsl import Description


_CODE = re.compile(r"[0-9]{1,3}", re.ASCII)
_TRANSFER = re.compile(r"(\S+) (-?[0-9]{1,9})", re.ASCII)
_MOST_NAMED = 20


class Report(NamedTuple):
    """What a ``.status`` file says.

    Attributes:
        commands: one `CommandResult` for each time a command reported, in order, then those that never did.
        notes: the other lines, such as ``"system: chmod 1"``.
        reported: whether the file held anything.
    """

    commands: tuple[CommandResult, ...]
    notes: tuple[str, ...]
    reported: bool


def parse_status(data: bytes, commands: Sequence[str], *, before: int = 0, after: int = 0) -> Report:
    """Reads a ``.status`` file (mig-protocol 5.4, seen in the golden runs).

    A line is the command with each ``'`` shown as a backtick, a blank and the exit code. Loops repeat
    lines, a shell that ended itself leaves its last line without a code, and a job can write into the file
    as it likes.

    Args:
        data: the content of the file; empty where it did not arrive.
        commands: the EXECUTE lines of the job as they were given, unescaped; empty where they are unknown,
            and then the commands are what the file shows.
        before: how many of the first lines of ``commands`` are aiomig's own and are left out of the report.
        after: how many of the last lines are.

    Returns:
        The report. A line with a code that belongs to none of the commands is kept under its own text, so
        that no failure is lost.
    """
    accounts = _Accounts(commands)
    lines = [line for line in data.decode("utf-8", "replace").split("\n") if line.strip()]
    for line in lines:
        accounts.add(line)
    accounts.settle()
    users = range(before, max(before, len(commands) - after))
    results = [
        CommandResult(text if index is None else commands[index], code)
        for index, text, code in accounts.rows
        if index is None or index in users
    ]
    silent = sorted(set(users) - {index for index, _, _ in accounts.rows})
    results += [CommandResult(commands[index], None) for index in silent]
    return Report(tuple(results), tuple(accounts.notes), bool(lines))


class _Accounts:
    """Finds the command behind each line of a ``.status`` file.

    Attributes:
        rows: index of the command or ``None``, text and exit code of each line about a command.
        notes: the other lines.
    """

    def __init__(self, commands: Sequence[str]) -> None:
        self.rows: list[tuple[int | None, str, int | None]] = []
        self.notes: list[str] = []
        self._count = len(commands)
        self._places: dict[str, list[int]] = {}
        for index, command in enumerate(commands):
            self._places.setdefault(command.strip().replace("'", "`"), []).append(index)
        self._lengths = sorted({len(text) for text in self._places if text}, reverse=True)
        self._cursor = -1
        self._latest = -1  # the last row that has a command
        self._orphan: int | None = None

    def add(self, line: str) -> None:
        text, _, word = line.rpartition(" ")
        code = int(word) if _CODE.fullmatch(word) else None
        if code is not None and not text:
            self._lone_code(code)
        elif code is not None and (index := self._find(text)) is not None:
            self._match(index, text, code)
        elif (index := self._find(line.strip())) is not None:
            self._match(index, line.strip(), None)
        elif line.startswith("system: "):
            self.notes.append(line)
        elif (index := self._begun(line)) is not None:
            # The command itself wrote into the file before its code came, which follows as a line of its own.
            self._match(index, line, code)
        elif code is not None or not self._count:
            self.rows.append((None, line.strip() if code is None else text, code))
        else:
            self.notes.append(line)

    def settle(self) -> None:
        """Ends the reading: a code that still has no command belongs to the last one."""
        self._adopt(self._count)

    def _find(self, text: str) -> int | None:
        places = self._places.get(text)
        if places is None:
            return None
        later = bisect_right(places, self._cursor)
        return places[later if later < len(places) else 0]

    def _begun(self, line: str) -> int | None:
        for length in self._lengths:
            if line[length : length + 1] == " " and line[:length] in self._places:
                return self._find(line[:length])
        return None

    def _match(self, index: int, text: str, code: int | None) -> None:
        self._adopt(index)
        self._cursor = index
        self._latest = len(self.rows)
        self.rows.append((index, text, code))

    def _adopt(self, following: int) -> None:
        if self._orphan is not None:
            self.rows.append((following - 1 if following else None, "", self._orphan))
            self._orphan = None

    def _lone_code(self, code: int) -> None:
        at = self._latest if self._count else len(self.rows) - 1
        if at < 0:
            # A command removed the file before its code came: it is the one before the next that reports.
            self._orphan = code
            return
        index, text, _ = self.rows[at]
        # What stands between a command and its code was written by that command.
        self.notes += [f"{shown} {between}" for _, shown, between in self.rows[at + 1 :]]
        self.rows[at:] = [(index, text, code)]


def parse_io_status(data: bytes) -> tuple[tuple[str, int], ...]:
    """Reads an ``.io-status`` file: one step of the staging and its code a line (mig-protocol 5.4).

    Args:
        data: the content of the file; empty where it did not arrive.

    Returns:
        Pairs such as ``("get_input_files", 22)``, in order; a step that was tried again is there again. Lines
        of another form are left out.
    """
    lines = data.decode("utf-8", "replace").split("\n")
    return tuple((match[1], int(match[2])) for line in lines if (match := _TRANSFER.fullmatch(line.strip())))


def result(
    status: JobStatus,
    files: Mapping[str, bytes],
    commands: Sequence[str] = (),
    before: int = 0,
    after: int = 0,
) -> JobResult:
    """Puts together what a job left behind.

    Args:
        status: its last status.
        files: the content of what is there of its four files, by suffix: see `KINDS`.
        commands: its EXECUTE lines, where they are known.
        before: how many of the first of them are aiomig's own.
        after: how many of the last are.

    Returns:
        The result, whatever came of the job: see `raise_for`.
    """
    report = parse_status(files.get("status", b""), commands, before=before, after=after)
    return JobResult(
        status=status,
        commands=report.commands,
        stdout_bytes=files.get("stdout", b""),
        stderr_bytes=files.get("stderr", b""),
        notes=report.notes,
        transfers=parse_io_status(files.get("io-status", b"")),
        reported=report.reported,
    )


_STEPS = {"get_input_files": "INPUTFILES", "get_executables": "EXECUTABLES"}
_SENDING = ("send_output_files", "send_io_files")


def staging_faults(result: JobResult, description: Description | None = None) -> tuple[str, ...]:
    """What an ``.io-status`` file says went wrong with the files of a job, a line each.

    A resource says only that something of a step failed, not what, and runs the job all the same (golden
    ``in-missing``): so all files of the step are named.

    Args:
        result: what the job left behind.
        description: what it was submitted with, where that is known.
    """
    last = dict(result.transfers)  # a step that was tried again stands there again, and its last try counts
    lines = []
    for step, keyword in _STEPS.items():
        if code := last.get(step, 0):
            files = description.transfers(keyword) if description is not None else ()
            told = ", ".join(f"{each.destination} (from {each.source})" for each in files[:_MOST_NAMED])
            more = f" and {len(files) - _MOST_NAMED} more" if len(files) > _MOST_NAMED else ""
            lines.append(
                f"staging: {step} failed with {code}, so some of {keyword} may have been missing while it ran: "
                f"{told or 'see the description of the job'}{more}"
            )
    if missing := last.get("output_files_missing", 0):
        lines.append(f"staging: {missing} of the outputs were not there when the commands had ended")
    lines += [f"staging: {step} failed with {last[step]}" for step in _SENDING if last.get(step, 0)]
    return tuple(lines)


def raise_for(job_id: str, result: JobResult, description: Description | None = None) -> None:
    """Raises what a result means; nothing where the job went well, or has not come to an end.

    Args:
        job_id: the job.
        result: what it left behind.
        description: what it was submitted with, where that is known: an error names the inputs that may have
            been missing.

    Raises:
        CommandFailed: it is FINISHED, and a command exited with something other than 0.
        ResultsMissing: it is FINISHED, but no exit codes arrived. A server that loses uploads shows so
            (mig-protocol 11), and it is not known whether such a job went well.
        JobFailed: every attempt failed.
        JobCanceled: it was canceled.
        JobExpired: it waited for too long.
    """
    status = result.status
    match status.state:
        case JobState.FINISHED:
            _raise_for_finished(job_id, result, description)
        case JobState.FAILED:
            raise JobFailed(job_id, _failure(status, description), status=status, result=result)
        case JobState.CANCELED:
            when = f" at {_time(status.canceled_at)}" if status.canceled_at else ""
            raise JobCanceled(job_id, f"canceled{when}", status=status, result=result)
        case JobState.EXPIRED:
            message = "it waited in the queue for longer than the grid allows"
            raise JobExpired(job_id, message, status=status, result=result)


def _raise_for_finished(job_id: str, result: JobResult, description: Description | None) -> None:
    status = result.status
    if not result.reported:
        raise ResultsMissing(
            job_id,
            (f"{job_id}.status",),
            arrived=[f"{job_id}.{kind}" for kind, content in _contents(result) if content],
            staging=staging_faults(result, description),
            remedy="whether the commands went well is not known: result(check=False) gives what there is, "
            "resubmit() runs them again",
            status=status,
            result=result,
        )
    for command, code in ((each.command, each.exit_code) for each in result.commands):
        if code:
            raise CommandFailed(
                job_id,
                command=command,
                exit_code=code,
                status=status,
                result=result,
                staging=staging_faults(result, description),
            )


def _contents(result: JobResult) -> tuple[tuple[str, object], ...]:
    return ("stdout", result.stdout_bytes), ("stderr", result.stderr_bytes), ("io-status", result.transfers)


def _failure(status: JobStatus, description: Description | None) -> str:
    attempts = status.attempts
    if not attempts:
        return f"the grid gave it up at {_time(status.failed_at)}, without saying why"
    tried = "its only attempt" if len(attempts) == 1 else f"{len(attempts)} attempts"
    reasons = {attempt.reason for attempt in attempts}
    # Where all attempts ended alike and nothing more is known of them, the job itself is the likely cause.
    alone = "" if len(reasons) > 1 or any(each.detail for each in attempts) else reasons.pop()
    lines = [f"the grid gave it up after {tried}:"]
    lines += [f"- … and {len(attempts) - _MOST_NAMED} before"] if len(attempts) > _MOST_NAMED else []
    lines += [f"- {_told(attempt)}" for attempt in attempts[-_MOST_NAMED:]]
    lines += [_HINTS[alone]] if alone in _HINTS else []
    if attempts[-1].reason == _DIED and description is not None:
        suspects = [short_repr(each.value) for each in endings(description.lines("EXECUTE"))]
        lines += [f"these commands may have done it: {', '.join(suspects[:_MOST_NAMED])}"] if suspects else []
    return "\n".join(lines)


_DIED = "RESOURCE DIED"


_HINTS = {
    # golden.md, failed attempts.
    "JOB TIMEOUT": "JOB TIMEOUT: over its wall time (raise resources.wall_time), or its results could not be sent: an "
    "output that cannot be read or has no place in the home, or a job that removed its own files",
    _DIED: "RESOURCE DIED: the resource failed, or the job's shell did: a command that ends it with a failure (exit 3, "
    "set -e, exec), a syntax error, or its own use of memory or CPU time loses all results",
}


def _told(attempt: Attempt) -> str:
    parts = [attempt.reason or "no reason given"]
    parts += [attempt.detail] if attempt.detail else []
    parts += [f"on {attempt.resource}"] if attempt.resource else []
    times = (
        ("queued", attempt.queued_at),
        ("executing", attempt.executing_at),
        ("failed", attempt.failed_at),
    )
    parts += [f"{word} {_time(when)}" for word, when in times if when]
    return ", ".join(parts)


def _time(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S %Z}" if when else "an unknown time"
