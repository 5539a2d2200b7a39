"""What is known of a job: states, snapshots and results. Pure values, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from . import _html

if TYPE_CHECKING:
    from datetime import datetime


class JobState(StrEnum):
    """The state of a job, in MiG's own words.

    States are not ordered: a failed attempt goes from EXECUTING back to QUEUED. Only `is_final` tells an end.
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
        """True where no further change can come."""
        return self in _FINAL


_FINAL = frozenset({JobState.FINISHED, JobState.FAILED, JobState.CANCELED, JobState.EXPIRED})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One failed attempt to run a job.

    Attributes:
        queued_at: when the attempt was queued (aware, UTC), or ``None``.
        executing_at: when it was handed to a resource.
        failed_at: when it failed.
        reason: the grid's words, such as ``"RESOURCE DIED"`` or ``"JOB TIMEOUT"``.
        detail: what local mode knows beyond that, such as a syntax error; empty on the grid.
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

    All times are aware and in UTC, to the second on the grid; ``None`` where the event has not happened or is not
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
        schedule_hint: what the scheduler says of it, where it says something.
        verified: the outcome of VERIFYFILES: ``"NO"`` without any, ``"SUCCESS - …"`` or ``"FAILURE - …"``.
        resource: the execution unit that has it or had it.
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

    _HTML_HEAD: ClassVar[tuple[str, ...]] = ("job", "state", "queued", "executing", "ended", "attempts", "resource")

    def _html_row(self) -> tuple[object, ...]:
        ended = self.finished_at or self.canceled_at or (self.failed_at if self.state is JobState.FAILED else None)
        attempts = len(self.attempts) or None
        return self.job_id, self.state, self.queued_at, self.executing_at, ended, attempts, self.resource

    def _repr_html_(self) -> str:
        return _html.of([self])


@dataclass(frozen=True, slots=True)
class CommandResult:
    """One command and how it ended.

    Attributes:
        command: the command as it was given.
        exit_code: its exit code, 128 + N for a signal N; ``None`` where none was reported: the command ended the
            shell (``exit 0``), or it never ran.
    """

    command: str
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a job left behind.

    Attributes:
        status: its final `JobStatus`.
        commands: one `CommandResult` for each time a command reported, in order, then those that never did.
            A loop over several commands reports its body once a round.
        stdout_bytes: everything that the commands wrote to standard output.
        stderr_bytes: the same for standard error.
        notes: the ``system:`` lines of MiG's accounting, such as ``"system: chmod 1"``.
        transfers: MiG's account of the staging: pairs of step and code, such as ``("get_input_files", 22)``.
        reported: whether exit codes arrived at all.
    """

    status: JobStatus
    commands: tuple[CommandResult, ...] = ()
    stdout_bytes: bytes = field(default=b"", repr=False)
    stderr_bytes: bytes = field(default=b"", repr=False)
    notes: tuple[str, ...] = ()
    transfers: tuple[tuple[str, int], ...] = ()
    reported: bool = False

    def _repr_html_(self) -> str:
        commands = _html.table(("command", "exit code"), [(each.command, each.exit_code) for each in self.commands])
        streams = _html.output("stdout", self.stdout) + _html.output("stderr", self.stderr)
        return _html.of([self.status]) + commands + streams

    @property
    def exit_code(self) -> int | None:
        """The first exit code that is not 0, else 0; ``None`` when unknown."""
        codes = [each.exit_code for each in self.commands if each.exit_code is not None]
        for code in codes:
            if code:
                return code
        # A shell that ended itself with `exit 0` reports no code for that line; with another code MiG would have
        # called the attempt failed. So a report without a bad code is a good end.
        return 0 if self.reported else None

    @property
    def ok(self) -> bool:
        """True where the job FINISHED and every exit code is 0."""
        return self.status.state is JobState.FINISHED and self.exit_code == 0

    @property
    def stdout(self) -> str:
        """Standard output as text; bytes that are not UTF-8 are replaced."""
        return self.stdout_bytes.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """Standard error as text; bytes that are not UTF-8 are replaced."""
        return self.stderr_bytes.decode("utf-8", "replace")
