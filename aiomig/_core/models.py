"""The values of aiomig: states, statuses and results of jobs, and faults. No I/O."""

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
    """The state of a job, with the names that MiG uses.

    States are not ordered: after a failed attempt, a job goes from EXECUTING back to QUEUED. `is_final` tells whether
    a job has ended.
    """

    PARSE = "PARSE"
    """Received, not yet queued."""
    QUEUED = "QUEUED"
    """Waits for a resource; also after a failed attempt, and after a thaw."""
    FROZEN = "FROZEN"
    """Held back by the user; `Job.thaw` queues it again."""
    EXECUTING = "EXECUTING"
    """Assigned to a resource, which fetches the inputs and then runs the commands."""
    RETRY = "RETRY"
    """Waits for another attempt (old servers only; current ones report QUEUED)."""
    FINISHED = "FINISHED"
    """The commands ran to their end, with any exit codes."""
    FAILED = "FAILED"
    """All attempts failed."""
    CANCELED = "CANCELED"
    """Canceled by the user."""
    EXPIRED = "EXPIRED"
    """Waited in the queue for too long."""
    UNKNOWN = "UNKNOWN"
    """A state that this version of aiomig does not know; `JobStatus.native` contains its name. Not final."""

    @property
    def is_final(self) -> bool:
        """Whether the job has ended, so that its state cannot change any more."""
        return self in _FINAL


_FINAL = frozenset({JobState.FINISHED, JobState.FAILED, JobState.CANCELED, JobState.EXPIRED})


class Transition(NamedTuple):
    """The change of state that an action makes.

    Attributes:
        sources: the states in which the action is possible.
        target: the state after the action.
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
    """Convert a value of aiomig for `json.dumps`: times to ISO 8601, bytes to strings, tuples to lists.

    Raises:
        TypeError: the value, or a part of it, cannot be written as JSON.
    """
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return str(value)  # a JobState becomes a plain string
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
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


_JOB_ID = re.compile(r"(?!ALL\Z)[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}", re.ASCII)


def is_job_id(text: str) -> bool:
    """Return whether a string can be the id of one job.

    ``*``, ``?`` and ``ALL`` stand for many jobs. A server refuses a whole request because of a single character that it
    does not accept (docs/protocol.md#mrsl-syntax).
    """
    return _JOB_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One failed attempt to run a job.

    Attributes:
        queued_at: when the attempt was queued (aware, UTC), or ``None``.
        executing_at: when it was assigned to a resource.
        failed_at: when it failed.
        reason: the grid's reason, such as ``"RESOURCE DIED"`` or ``"JOB TIMEOUT"``.
        detail: details in local mode, such as a syntax error; empty on a grid.
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
    """The status of a job at one point in time.

    All times are aware and in UTC, on a grid to the second. They are ``None`` if the event has not happened or is not
    reported (MiG reports no time for FROZEN and EXPIRED).

    Attributes:
        job_id: the job.
        state: its `JobState`.
        native: the server's name of the state.
        received_at: when the description was accepted.
        queued_at: when the job was last queued; a retry or a thaw changes it.
        executing_at: when it was last assigned to a resource.
        finished_at: when it finished.
        failed_at: when its last attempt failed.
        canceled_at: when it was canceled.
        attempts: the failed attempts so far, oldest first.
        schedule_hint: the scheduler's message about the job, or ``None``.
        verified: the outcome of VERIFYFILES: ``"NO"`` without such files, ``"SUCCESS - …"`` or ``"FAILURE - …"``.
        resource: the execution unit that runs or ran the job.
        name: the name from its description, or ``None``. On a grid, only jobs have it that were submitted from this
            account of this machine, or whose description this session has read.
        exit_code: the first exit code that is not 0, else 0. ``None`` before it is available: in local mode at the end
            of the job, on a grid when its result has been read.
        labels: the labels from its description, under the same conditions as the name.
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
    """A command and its exit code.

    Attributes:
        command: the command line.
        exit_code: its exit code, 128 + N for a signal N. ``None`` if none was reported, because the command ended the
            shell (``exit 0``) or never ran.
    """

    command: str
    exit_code: int | None


def first_failure(commands: Iterable[CommandResult], *, reported: bool) -> int | None:
    """Return the first exit code that is not 0, else 0. Return ``None`` if no exit codes were reported."""
    # A command that ends the shell with `exit 0` reports no code; with another code, the attempt would have failed.
    return next((command.exit_code for command in commands if command.exit_code), 0 if reported else None)


@dataclass(frozen=True, slots=True)
class JobResult:
    """The result of a job: exit codes and output.

    Attributes:
        status: its final `JobStatus`.
        commands: a `CommandResult` for each reported exit code, in order, then one for each command without a report.
            A loop over several commands reports the commands of its body in every iteration.
        stdout_bytes: the standard output of all commands.
        stderr_bytes: the standard error of all commands.
        notes: the ``system:`` lines of MiG's accounting, such as ``"system: chmod 1"``.
        transfers: MiG's report of the staging: pairs of step and code, such as ``("get_input_files", 22)``.
        reported: whether any exit codes arrived.
        staging: a message for each input that did not arrive and each output that was not created.
    """

    status: JobStatus
    commands: tuple[CommandResult, ...] = ()
    stdout_bytes: bytes = field(default=b"", repr=False)
    stderr_bytes: bytes = field(default=b"", repr=False)
    notes: tuple[str, ...] = ()
    transfers: tuple[tuple[str, int], ...] = ()
    reported: bool = False
    staging: tuple[str, ...] = ()

    # Output may be any bytes, which JSON strings cannot represent.
    __pydantic_config__: ClassVar[dict[str, str]] = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}

    def as_dict(self) -> dict[str, Any]:
        """Return the result as a dict for JSON, as ``aiomig wait --json`` prints it.

        The keys are ``job_id``, ``state``, ``exit_code``, ``ok``, ``stdout`` and ``stderr`` (strings), ``commands``
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
        """The first exit code that is not 0, else 0. ``None`` if no exit codes were reported."""
        return first_failure(self.commands, reported=self.reported)

    @property
    def ok(self) -> bool:
        """Whether the job FINISHED and all exit codes are 0."""
        return self.status.state is JobState.FINISHED and self.exit_code == 0

    @property
    def stdout(self) -> str:
        """Standard output as a string; bytes that are not UTF-8 are replaced."""
        return self.stdout_bytes.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """Standard error as a string; bytes that are not UTF-8 are replaced."""
        return self.stderr_bytes.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an action on one job.

    Attributes:
        job_id: the job.
        before: its state before the action, or ``None`` if there is no such job.
        after: its state after the action, or ``None`` if the action did not change it.
        message: the grid's reason for not changing it; empty if it was changed.
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
        """Return the outcome for an unknown job id."""
        return cls(job_id, None, None, "You do not have any matching job IDs!")


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A submit whose response was lost, so that the job may exist or not.

    Attributes:
        marker: the PROJECT of the job, if the job exists; see `Session.find_submitted`.
        name: the ``name`` in its description, or ``""``.
        project: the user's ``project``, or ``""``.
        sent_at: when the submit was sent, by this machine's clock, in UTC.
        job_ids: the id of the job if the server shows it, else empty.
    """

    marker: str
    name: str
    project: str
    sent_at: datetime
    job_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault in a job description or in another argument.

    Attributes:
        field: the field of `JobSpec`, the argument, or the mRSL keyword.
        value: the invalid value.
        problem: what is wrong with the value.
        remedy: what to do instead.
        line: the line number in the mRSL text, from 1, or ``None``.
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
        except Exception:  # noqa: BLE001 - the value may be anything, but the error must be picklable
            value = short_repr(value)
        return Fault, (self.field, value, self.problem, self.remedy, self.line)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The report of `Session.check`.

    Attributes:
        faults: reasons why the job would be refused or could not run, as a tuple of `Fault`.
        warnings: reasons why an accepted job may fail, as a tuple of `Fault`.
        unknown: what cannot be checked without submitting the job, one string each.
        offers: the values that the site accepts, by mRSL keyword (such as ARCHITECTURE), if the site lists them.
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
        lines += [f"unknown: {message}" for message in self.unknown]
        return "\n".join(lines or ["no problems found"])
