"""The values of aiomig: states, statuses and results of jobs, faults, files. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import PurePath
from typing import Any, ClassVar, NamedTuple, Self

from .display import Failure, html_output, html_rows, html_table, printable, short_repr


class JobState(StrEnum):
    """The state of a job, in MiG's own words.

    States are not ordered: a failed attempt goes from EXECUTING back to QUEUED. Only `is_final` means an end.
    """

    PARSE = "PARSE"
    """Received, not yet queued."""
    QUEUED = "QUEUED"
    """Waits for a resource; also after a failed attempt, and after a thaw."""
    FROZEN = "FROZEN"
    """Held back by the user; `Job.thaw` queues it again."""
    EXECUTING = "EXECUTING"
    """Handed to a resource: input is fetched, then the commands run."""
    RETRY = "RETRY"
    """Waits for another attempt (old servers only; today's say QUEUED)."""
    FINISHED = "FINISHED"
    """The commands ran to their end, with whatever exit codes."""
    FAILED = "FAILED"
    """All attempts failed."""
    CANCELED = "CANCELED"
    """Canceled by the user."""
    EXPIRED = "EXPIRED"
    """Waited for too long."""
    UNKNOWN = "UNKNOWN"
    """A word that this version of aiomig does not know; `JobStatus.native` has it. Never an end."""

    @property
    def is_final(self) -> bool:
        """True if no further change can come."""
        return self in _FINAL


_FINAL = frozenset({JobState.FINISHED, JobState.FAILED, JobState.CANCELED, JobState.EXPIRED})


class Transition(NamedTuple):
    """What an action does to a job.

    Attributes:
        sources: the states in which a job can be acted on.
        target: its state afterwards.
    """

    sources: tuple[JobState, ...]
    target: JobState


TRANSITIONS: Mapping[str, Transition] = {
    "cancel": Transition(
        (JobState.PARSE, JobState.QUEUED, JobState.RETRY, JobState.EXECUTING, JobState.FROZEN), JobState.CANCELED
    ),
    "freeze": Transition((JobState.QUEUED, JobState.RETRY), JobState.FROZEN),
    "thaw": Transition((JobState.FROZEN,), JobState.QUEUED),
}


def json_value(value: Any) -> Any:
    """Return a value of aiomig in the types that `json` writes: times as ISO 8601, bytes as text, tuples as lists.

    Raises:
        TypeError: it, or a part of it, has no form in JSON.
    """
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return str(value)  # a state is a plain text in JSON
        case datetime():
            return value.isoformat()
        case PurePath():
            return str(value)
        case bytes():
            return value.decode("utf-8", "replace")
        case Mapping():
            return {str(name): json_value(part) for name, part in value.items()}
        case tuple() | list():
            return [json_value(part) for part in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {part.name: json_value(getattr(value, part.name)) for part in fields(value)}
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_JOB_ID = re.compile(r"(?!ALL\Z)[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}", re.ASCII)


def is_job_id(text: str) -> bool:
    """Return whether a text can be the id of one job.

    A server takes ``*``, ``?`` and ``ALL`` for many jobs, and refuses a whole request for one character that it does
    not accept (docs/protocol.md#mrsl-syntax).
    """
    return _JOB_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One failed attempt to run a job.

    Attributes:
        queued_at: when the attempt was queued (aware, UTC), or ``None``.
        executing_at: when it was handed to a resource.
        failed_at: when it failed.
        reason: the grid's words, such as ``"RESOURCE DIED"`` or ``"JOB TIMEOUT"``.
        detail: more that local mode knows, such as a syntax error; empty on a grid.
        resource: the execution unit that ran it.
    """

    queued_at: datetime | None = None
    executing_at: datetime | None = None
    failed_at: datetime | None = None
    reason: str = ""
    detail: str = ""
    resource: str = ""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A snapshot of a job.

    All times are aware and in UTC, on a grid to the second; ``None`` if the event has not happened or is not
    reported (MiG reports no time for FROZEN and EXPIRED).

    Attributes:
        job_id: the job.
        state: its `JobState`.
        native: the server's own word for it.
        received_at: when the description was accepted.
        queued_at: when it was last queued; changes with a retry and a thaw.
        executing_at: when it was last handed to a resource.
        finished_at: when it finished.
        failed_at: when its last attempt failed.
        canceled_at: when it was canceled.
        attempts: the failed attempts so far, oldest first.
        schedule_hint: what the scheduler says about it, or ``None``.
        verified: the outcome of VERIFYFILES: ``"NO"`` without such files, ``"SUCCESS - …"`` or ``"FAILURE - …"``.
        resource: the execution unit that has it or had it.
        name: the name that it was given, or ``None``. On a grid it is known for jobs that were submitted from this
            account of this machine, or whose description this session has read.
        exit_code: the first exit code that is not 0, else 0; ``None`` if it is not known without asking for each job.
            Local mode knows it after the end, a grid once the result was read.
        labels: the labels that it was given; known if the name is.
    """

    job_id: str
    state: JobState
    native: str
    received_at: datetime | None = None
    queued_at: datetime | None = None
    executing_at: datetime | None = None
    finished_at: datetime | None = None
    failed_at: datetime | None = None
    canceled_at: datetime | None = None
    attempts: tuple[Attempt, ...] = ()
    schedule_hint: str | None = None
    verified: str | None = None
    resource: str | None = None
    name: str | None = None
    exit_code: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values, as ``aiomig status --json`` prints them: times in ISO 8601."""
        values: dict[str, Any] = json_value(self)
        return values

    @property
    def is_failure(self) -> bool:
        """Whether the job is known to have ended badly: FAILED, EXPIRED, or with an exit code that is not 0."""
        return self.state in (JobState.FAILED, JobState.EXPIRED) or bool(self.exit_code)

    _HTML_HEAD: ClassVar[tuple[str, ...]] = (
        *("job", "name", "state", "exit code", "queued", "executing", "ended", "attempts", "resource"),
    )

    def _html_row(self) -> tuple[object, ...]:
        ended = self.finished_at or self.canceled_at or (self.failed_at if self.state is JobState.FAILED else None)
        times = self.queued_at, self.executing_at, ended
        state = Failure(self.state) if self.is_failure else self.state
        code = Failure(self.exit_code) if self.exit_code else self.exit_code
        return self.job_id, self.name, state, code, *times, len(self.attempts) or None, self.resource

    def _repr_html_(self) -> str:
        return html_rows([self])


@dataclass(frozen=True, slots=True)
class CommandResult:
    """One command and how it ended.

    Attributes:
        command: the command as it was given.
        exit_code: its exit code, 128 + N for a signal N; ``None`` if none was reported: the command ended the shell
            (``exit 0``), or never ran.
    """

    command: str
    exit_code: int | None


def first_failure(commands: Iterable[CommandResult], *, reported: bool) -> int | None:
    """Return the first exit code that is not 0, else 0; ``None`` if no exit codes were reported."""
    # A shell that ended itself with `exit 0` reports no code for that line. With another code MiG would have
    # called the attempt failed. So a report without a failure is a good end.
    return next((command.exit_code for command in commands if command.exit_code), 0 if reported else None)


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a job left behind.

    Attributes:
        status: its final `JobStatus`.
        commands: a `CommandResult` for each time a command reported, in order, then those that never did.
            A loop over several commands reports its body once a round.
        stdout_bytes: everything that the commands wrote to standard output.
        stderr_bytes: the same for standard error.
        notes: the ``system:`` lines of MiG's accounting, such as ``"system: chmod 1"``.
        transfers: MiG's report of the staging: pairs of step and code, such as ``("get_input_files", 22)``.
        reported: whether exit codes arrived at all.
        staging: words on inputs that did not arrive and outputs that were not made, a line each; empty if all is well.
    """

    status: JobStatus
    commands: tuple[CommandResult, ...] = ()
    stdout_bytes: bytes = field(default=b"", repr=False)
    stderr_bytes: bytes = field(default=b"", repr=False)
    notes: tuple[str, ...] = ()
    transfers: tuple[tuple[str, int], ...] = ()
    reported: bool = False
    staging: tuple[str, ...] = ()

    # Output may be any bytes, and JSON holds text only.
    __pydantic_config__: ClassVar[dict[str, str]] = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values, as ``aiomig wait --json`` prints them.

        Their names are ``job_id``, ``state``, ``exit_code``, ``ok``, ``stdout`` and ``stderr`` (text), ``commands``
        (each with ``command`` and ``exit_code``) and ``staging``.
        """
        return {
            "job_id": self.status.job_id,
            "state": str(self.status.state),
            "exit_code": self.exit_code,
            "ok": self.ok,
            "stdout": self.stdout,
            "stderr": self.stderr,
            "commands": json_value(self.commands),
            "staging": list(self.staging),
        }

    def _repr_html_(self) -> str:
        commands = html_table(
            ("command", "exit code"), [(command.command, command.exit_code) for command in self.commands]
        )
        streams = html_output("stdout", self.stdout) + html_output("stderr", self.stderr)
        return html_rows([self.status]) + commands + streams

    @property
    def exit_code(self) -> int | None:
        """The first exit code that is not 0, else 0; ``None`` when unknown."""
        return first_failure(self.commands, reported=self.reported)

    @property
    def ok(self) -> bool:
        """True if the job FINISHED and every exit code is 0."""
        return self.status.state is JobState.FINISHED and self.exit_code == 0

    @property
    def stdout(self) -> str:
        """Standard output as text; bytes that are not UTF-8 are replaced."""
        return self.stdout_bytes.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """Standard error as text; bytes that are not UTF-8 are replaced."""
        return self.stderr_bytes.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an action did to one job.

    Attributes:
        job_id: the job.
        before: its state before the action, or ``None`` if there is no such job.
        after: its state now, or ``None`` if it was not changed.
        message: why it was not changed, in the grid's words; empty if it was.
    """

    job_id: str
    before: JobState | None
    after: JobState | None
    message: str = ""

    @property
    def changed(self) -> bool:
        """Whether the action changed the job."""
        return self.after is not None

    @classmethod
    def unknown(cls, job_id: str) -> Self:
        """Return the outcome for an id that no job has."""
        return cls(job_id, None, None, "You do not have any matching job IDs!")


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A submit whose answer was lost: no program knows whether it made a job.

    Attributes:
        marker: the PROJECT of the job, if it exists: see `Session.find_submitted`.
        name: the ``name`` of its description, or ``""``.
        project: the ``project`` that the user gave it, or ``""``.
        sent_at: when it was sent, by the clock of this machine, in UTC.
        job_ids: the job, if it exists; empty if the server shows none.
    """

    marker: str
    name: str
    project: str
    sent_at: datetime
    job_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a job description.

    Attributes:
        field: the field of `JobSpec` or the mRSL keyword at fault.
        value: what was given.
        problem: what is wrong with it.
        remedy: what to do instead.
        line: the line of the mRSL text, counted from 1, or ``None``.
    """

    field: str
    value: object
    problem: str
    remedy: str
    line: int | None = None

    def __str__(self) -> str:
        at = f"line {self.line}: " if self.line is not None else ""
        return f"{at}{printable(self.field)}={short_repr(self.value)}: {self.problem}; {self.remedy}"

    def __reduce__(self) -> tuple[Any, ...]:
        import pickle

        value = self.value
        try:
            pickle.dumps(value)
        except Exception:  # noqa: BLE001 - any value can be given; the error must be picklable
            value = short_repr(value)
        return Fault, (self.field, value, self.problem, self.remedy, self.line)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `Session.check` found.

    Attributes:
        faults: why the job would be refused, or could not run, as a tuple of `Fault`.
        warnings: what can make an accepted job fail, as a tuple of `Fault`.
        unknown: what only a submitted job can show, a line each.
        offers: the values that the site takes, by mRSL keyword, if it lists them: such as those of ARCHITECTURE.
    """

    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()
    unknown: tuple[str, ...] = ()
    offers: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def ok(self) -> bool:
        """Whether there are no faults."""
        return not self.faults

    def __str__(self) -> str:
        lines = [f"fault: {fault}" for fault in self.faults]
        lines += [f"warning: {warning}" for warning in self.warnings]
        lines += [f"unknown: {words}" for words in self.unknown]
        return "\n".join(lines or ["no problems found"])


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One file or directory of the MiG home.

    Attributes:
        path: relative to the home; ``"."`` is the home itself.
        name: its last component.
        is_dir: whether it is a directory.
        size: in bytes; 0 for a directory.
        modified_at: an aware datetime in UTC, or ``None`` if the server does not say.
    """

    path: str
    name: str
    is_dir: bool
    size: int
    modified_at: datetime | None


@dataclass(frozen=True, slots=True)
class WordCount:
    """What ``wc`` counts in one file.

    Attributes:
        lines: the line ends.
        words: runs of characters that are not white space.
        bytes: the size in bytes.
    """

    lines: int
    words: int
    bytes: int
