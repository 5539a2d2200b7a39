"""All exceptions of aiomig, except `SubmitErrors`, which contains jobs: it is in ``_jobs/submit.py``.

::

    MigError
    ├── ConfigError                     missing or invalid configuration
    ├── SpecError (ValueError)          invalid job description or argument
    ├── NoSession (RuntimeError)        no session is open here
    ├── EventsLost                      a reader of `Session.events` was too slow
    ├── LocalError                      local mode does not work on this machine or home
    ├── GridError                       communication with the grid failed
    │   ├── ConnectionFailed            unreachable, timeout, or TLS error
    │   ├── SubmitUnknown               the response to a submit was lost; the job may exist
    │   ├── AuthenticationFailed        expired or refused certificate, or unknown user
    │   ├── ServerError                 the server reported a failure
    │   └── ProtocolError               the response cannot be understood
    ├── SubmitRejected                  the server refused a job description
    ├── SubmitErrors                    some of several jobs were not submitted
    ├── FileNotFound (FileNotFoundError)
    ├── FileExists (FileExistsError)
    ├── PathRefused (PermissionError, ValueError)
    └── JobError
        ├── JobNotFound (LookupError)
        ├── ActionRefused               the action is not possible in the job's state
        ├── CommandFailed               a command exited with a code other than 0
        ├── JobFailed                   all attempts failed
        ├── JobCanceled
        ├── JobExpired
        └── ResultsMissing              exit codes or outputs did not arrive

All can be pickled and copied, have their data as attributes, and have printable messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from .display import explain_exit_code, printable, short_repr, signal_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .models import Attempt, Fault, JobResult, JobStatus, Outcome

_E = TypeVar("_E", bound="MigError")

_STDERR_LINES = 40
_LONGEST_LINE = 400
_MOST_SHOWN = 20
_LONGEST_MESSAGE = 2000


def _shortened(messages: Sequence[str]) -> str:
    """Return a server's messages, joined and shortened. The attribute ``messages`` contains them in full."""
    more = [f"… and {len(messages) - _MOST_SHOWN} more"] if len(messages) > _MOST_SHOWN else []
    return "; ".join([*(printable(message[:_LONGEST_MESSAGE]) for message in messages[:_MOST_SHOWN]), *more])


def rebuild(kind: type[_E], args: tuple[Any, ...], data: dict[str, Any]) -> _E:
    """Rebuild an error for ``pickle``. The initialisers of errors take arguments other than the message."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(data)
    return error


class MigError(Exception):
    """Base class of all exceptions of aiomig."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, keep="\n\t"))  # a message may quote a server or a job

    def __str__(self) -> str:
        # OSError has a format of its own. Here the first argument is always the message.
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (type(self), self.args, self.__dict__)


class ConfigError(MigError):
    """The configuration is missing or invalid.

    Attributes:
        path: the configuration file, if one was read.
        line: the number of the invalid line, from 1, or ``None``.
        field: the invalid field, or ``None``.
    """

    def __init__(
        self, message: str, *, path: str | None = None, line: int | None = None, field: str | None = None
    ) -> None:
        where = ":".join(str(part) for part in (path, line) if part is not None)
        super().__init__(f"{where}: {message}" if where else message)
        self.path = path
        self.line = line
        self.field = field


class SpecError(MigError, ValueError):
    """A job description or another argument is invalid; raised before anything is sent or created.

    Attributes:
        faults: all faults, as a tuple of `Fault`.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        lines = [str(fault) for fault in self.faults]
        super().__init__(
            lines[0] if len(lines) == 1 else f"{len(lines)} faults:\n" + "\n".join(f"- {line}" for line in lines)
        )


class NoSession(MigError, RuntimeError):
    """No session is open here, or the session belongs to another event loop."""


class EventsLost(MigError):
    """A reader of `Session.events` was too slow, and changes were dropped. Read the current statuses instead.

    Attributes:
        count: the number of dropped changes.
    """

    def __init__(self, count: int) -> None:
        super().__init__(
            f"{count} changes of jobs were dropped, because the reader was too slow;"
            " read the current statuses, or use a larger buffer"
        )
        self.count = count


class LocalError(MigError):
    """Local mode does not work here, because of the home, its database, the disk or bash.

    Attributes:
        path: the file or folder that caused the error, or ``None``.
        remedy: what to do.
    """

    def __init__(self, problem: str, *, path: str | None = None, remedy: str = "") -> None:
        super().__init__("; ".join(part for part in (problem, remedy) if part))
        self.path = path
        self.remedy = remedy


class GridError(MigError):
    """Base class of errors in the communication with the grid."""


class ConnectionFailed(GridError):
    """The server could not be reached or did not respond in time, or TLS failed.

    Attributes:
        sent: whether the request may have reached the server.
    """

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


class SubmitUnknown(GridError):
    """The response to a submit was lost, and the server does not show the job yet. The job may exist.

    aiomig does not send the submit again. ``await session.find_submitted(error.marker)`` looks for the job again.

    Attributes:
        marker: the PROJECT of the job, if it exists.
    """

    def __init__(self, marker: str, reason: str) -> None:
        super().__init__(
            f"the response to a submit was lost ({reason}), and the server shows no job with PROJECT {marker} yet; "
            "before submitting again, look for it with session.find_submitted(marker)"
        )
        self.marker = marker


class AuthenticationFailed(GridError):
    """The certificate is expired, not yet valid, refused or unknown, or its key cannot be read."""


class ServerError(GridError):
    """The server reported a failure.

    Attributes:
        operation: the operation, such as ``"mkdir"``.
        messages: the server's messages, as a tuple.
        remedy: what to do; empty if aiomig has no advice.
    """

    def __init__(self, operation: str, messages: Sequence[str], *, remedy: str = "") -> None:
        self.operation = operation
        self.messages: tuple[str, ...] = tuple(messages)
        self.remedy = remedy
        reason = _shortened(self.messages) or "the server failed without a message"
        super().__init__(f"{operation}: {reason}{remedy and '; '}{remedy}")


class ProtocolError(GridError):
    """The server's response cannot be understood.

    Attributes:
        excerpt: the beginning of the response.
    """

    def __init__(self, message: str, *, excerpt: str = "") -> None:
        super().__init__(f"{message}: {excerpt[:200]!r}" if excerpt else message)
        self.excerpt = excerpt


class SubmitRejected(MigError):
    """The grid, or local mode, refused a job description.

    Attributes:
        messages: the server's messages, as a tuple.
        faults: the same as `Fault` values, if aiomig can interpret them.
    """

    def __init__(self, messages: Sequence[str], faults: Sequence[Fault] = ()) -> None:
        self.messages: tuple[str, ...] = tuple(messages)
        self.faults: tuple[Fault, ...] = tuple(faults)
        super().__init__(_shortened(self.messages) or "the description was refused without a reason")


class FileNotFound(MigError, FileNotFoundError):
    """A file or folder of the MiG home does not exist.

    Attributes:
        path: the path.
    """

    def __init__(self, path: str, message: str = "no such file or directory in the MiG home") -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class FileExists(MigError, FileExistsError):
    """A file or folder already exists.

    Attributes:
        path: the path.
    """

    def __init__(self, path: str, message: str = "already exists") -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class PathRefused(MigError, PermissionError, ValueError):
    """A path cannot be used: it leaves the home, is hidden by MiG, or contains characters that MiG does not accept.

    Attributes:
        path: the path.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path!r}: {message}")
        self.path = path


class JobError(MigError):
    """Base class of errors about one job.

    Attributes:
        job_id: the job.
        status: its last known `JobStatus`, or ``None``.
        result: its `JobResult`, or ``None``.
    """

    def __init__(
        self,
        job_id: str,
        message: str,
        *,
        status: JobStatus | None = None,
        result: JobResult | None = None,
    ) -> None:
        super().__init__(f"job {job_id}: {message}")
        self.job_id = job_id
        self.status = status
        self.result = result


class JobNotFound(JobError, LookupError):
    """The user has no job with this id."""

    def __init__(self, job_id: str, message: str = "no such job") -> None:
        super().__init__(job_id, message)


class ActionRefused(JobError):
    """A job cannot be frozen or thawed, or exchange files, in its current state.

    Attributes:
        outcome: the job's state, and the grid's message.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.job_id, outcome.message)
        self.outcome = outcome


class CommandFailed(JobError):
    """The job ran to its end, but a command exited with a code other than 0.

    The message ends with the last 40 lines of standard error; ``result.stderr`` contains all of it.

    Attributes:
        command: the first command that failed.
        exit_code: its exit code.
        staging: problems with the files of the job, one string each.
    """

    def __init__(
        self,
        job_id: str,
        *,
        command: str,
        exit_code: int,
        status: JobStatus,
        result: JobResult,
        staging: Sequence[str] = (),
    ) -> None:
        self.command = command
        self.exit_code = exit_code
        self.staging: tuple[str, ...] = tuple(staging)
        lines = _last_lines(result.stderr_bytes)
        meaning = explain_exit_code(exit_code, "\n".join(lines))
        code = f"{short_repr(command)} exited with {exit_code}{meaning}"
        message = "\n".join([code, *self.staging, *lines])
        super().__init__(job_id, message, status=status, result=result)

    @property
    def signal(self) -> str | None:
        """The signal that ended the command, such as ``"SIGKILL"``, or ``None`` if the command exited."""
        return signal_name(self.exit_code)


def _last_lines(output: bytes) -> list[str]:
    # A terminal shows only what follows the last CR of a line. The slice may contain more lines than needed.
    text = output[-4 * _STDERR_LINES * _LONGEST_LINE :].decode("utf-8", "replace").removesuffix("\n")
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")[-_STDERR_LINES:]] if text else []
    return [line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…" for line in lines]


class JobFailed(JobError):
    """All attempts to run the job failed."""

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """All attempts, oldest first, with their resources, times and reasons for failure."""
        return self.status.attempts if self.status is not None else ()


class JobCanceled(JobError):
    """The job was canceled."""


class JobExpired(JobError):
    """The job waited in the queue longer than the grid allows."""


class ResultsMissing(JobError):
    """The job is FINISHED, but its exit codes or outputs did not arrive.

    Attributes:
        missing: the names of the outputs that did not arrive.
        arrived: the names of the outputs that arrived.
        staging: problems with the files of the job, one string each.
    """

    def __init__(
        self,
        job_id: str,
        missing: Sequence[str],
        *,
        arrived: Sequence[str] = (),
        staging: Sequence[str] = (),
        remedy: str = "check that the commands create them in the job's directory, as files and not as folders",
        status: JobStatus | None = None,
        result: JobResult | None = None,
    ) -> None:
        self.missing: tuple[str, ...] = tuple(missing)
        self.arrived: tuple[str, ...] = tuple(arrived)
        self.staging: tuple[str, ...] = tuple(staging)
        arrivals = f"; these did: {_listed(self.arrived)}" if self.arrived else ""
        message = f"FINISHED, but these did not arrive: {_listed(self.missing)}{arrivals}{remedy and '; '}{remedy}"
        super().__init__(job_id, "\n".join([message, *self.staging]), status=status, result=result)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(names[:_MOST_SHOWN]) + more
