"""All exceptions of aiomig, except `SubmitErrors`: it holds jobs, and is in ``_jobs/submit.py``.

::

    MigError
    ├── ConfigError                     no or bad configuration
    ├── SpecError (ValueError)          a job description that cannot be sent
    ├── NoSession (RuntimeError)        no session is open here
    ├── EventsLost                      a reader of `Session.events` was too slow
    ├── LocalError                      local mode cannot work on this machine or home
    ├── GridError                       something between aiomig and the grid
    │   ├── ConnectionFailed            unreachable, timed out, TLS
    │   ├── SubmitUnknown               sent, and aiomig does not know whether it made a job
    │   ├── AuthenticationFailed        certificate expired, refused, unknown user
    │   ├── ServerError                 the server failed
    │   └── ProtocolError               an answer that makes no sense
    ├── SubmitRejected                  the server refuses a description
    ├── SubmitErrors                    some jobs of many were not made
    ├── FileNotFound (FileNotFoundError)
    ├── FileExists (FileExistsError)
    ├── PathRefused (PermissionError, ValueError)
    └── JobError
        ├── JobNotFound (LookupError)
        ├── ActionRefused               it cannot be frozen or thawed, or pass files, now
        ├── CommandFailed               a command exited with something other than 0
        ├── JobFailed                   the grid gave up
        ├── JobCanceled
        ├── JobExpired
        └── ResultsMissing              exit codes or outputs did not arrive

All survive ``pickle`` and ``copy``, carry their data as attributes, and have printable messages.
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
_MOST_WORDS = 20
_LONGEST_WORD = 2000


def _bounded(words: Sequence[str]) -> str:
    """Return a server's words, shortened for a message. The attribute ``messages`` has all of them."""
    more = [f"… and {len(words) - _MOST_WORDS} more"] if len(words) > _MOST_WORDS else []
    return "; ".join([*(printable(word[:_LONGEST_WORD]) for word in words[:_MOST_WORDS]), *more])


def rebuild(kind: type[_E], args: tuple[Any, ...], data: dict[str, Any]) -> _E:
    """Return a copy of an error, for ``pickle``: their initialisers take other arguments than the message."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(data)
    return error


class MigError(Exception):
    """The base of everything that aiomig raises on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, keep="\n\t"))  # a message may quote a server or a job

    def __str__(self) -> str:
        # OSError would show other forms; the message is always the first argument.
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (type(self), self.args, self.__dict__)


class ConfigError(MigError):
    """There is no configuration, or it is wrong.

    Attributes:
        path: the configuration file, if one was read.
        line: the line at fault, counted from 1, or ``None``.
        field: the field at fault, or ``None``.
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
    """A job description is wrong; raised before anything is sent or created.

    Attributes:
        faults: everything that is wrong, as a tuple of `Fault`.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        lines = [str(fault) for fault in self.faults]
        super().__init__(
            lines[0] if len(lines) == 1 else f"{len(lines)} faults:\n" + "\n".join(f"- {line}" for line in lines)
        )


class NoSession(MigError, RuntimeError):
    """No session is open here, or it belongs to another event loop."""


class EventsLost(MigError):
    """A reader of `Session.events` was too slow, and changes were dropped. The present statuses show what is missing.

    Attributes:
        count: how many changes were dropped.
    """

    def __init__(self, count: int) -> None:
        super().__init__(
            f"{count} changes of jobs were dropped, because the reader was too slow;"
            " look at the present statuses, or give a larger buffer"
        )
        self.count = count


class LocalError(MigError):
    """Local mode cannot work here: the home, its database, the disk or bash.

    Attributes:
        path: the file or folder at fault, or ``None``.
        remedy: what to do.
    """

    def __init__(self, problem: str, *, path: str | None = None, remedy: str = "") -> None:
        super().__init__("; ".join(part for part in (problem, remedy) if part))
        self.path = path
        self.remedy = remedy


class GridError(MigError):
    """Something between this program and the grid went wrong."""


class ConnectionFailed(GridError):
    """The server could not be reached, did not answer in time, or TLS failed.

    Attributes:
        sent: whether the request can have reached the server.
    """

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


class SubmitUnknown(GridError):
    """A submit was sent, no answer came, and the server shows no such job: it may exist or not.

    aiomig does not send it again. ``await session.find_submitted(error.marker)`` looks again.

    Attributes:
        marker: the PROJECT of the job, if it exists.
    """

    def __init__(self, marker: str, reason: str) -> None:
        super().__init__(
            f"the answer to a submit was lost ({reason}), and the server shows no job with PROJECT {marker} yet; "
            "before submitting again, look for it with session.find_submitted(marker)"
        )
        self.marker = marker


class AuthenticationFailed(GridError):
    """The certificate is expired, not yet valid, refused or unknown, or its key cannot be opened."""


class ServerError(GridError):
    """The server reported a failure.

    Attributes:
        operation: the operation, such as ``"mkdir"``.
        messages: the server's own words.
        remedy: what to do, if aiomig knows.
    """

    def __init__(self, operation: str, messages: Sequence[str], *, remedy: str = "") -> None:
        self.operation = operation
        self.messages: tuple[str, ...] = tuple(messages)
        self.remedy = remedy
        words = _bounded(self.messages) or "the server failed without a message"
        super().__init__(f"{operation}: {words}{remedy and '; '}{remedy}")


class ProtocolError(GridError):
    """The server's answer makes no sense.

    Attributes:
        excerpt: the beginning of the answer.
    """

    def __init__(self, message: str, *, excerpt: str = "") -> None:
        super().__init__(f"{message}: {excerpt[:200]!r}" if excerpt else message)
        self.excerpt = excerpt


class SubmitRejected(MigError):
    """The grid, or local mode, refuses a job description.

    Attributes:
        messages: the server's words.
        faults: the same as `Fault` values, if aiomig understands them.
    """

    def __init__(self, messages: Sequence[str], faults: Sequence[Fault] = ()) -> None:
        self.messages: tuple[str, ...] = tuple(messages)
        self.faults: tuple[Fault, ...] = tuple(faults)
        super().__init__(_bounded(self.messages) or "the description was refused without a reason")


class FileNotFound(MigError, FileNotFoundError):
    """A file or folder of the MiG home does not exist.

    Attributes:
        path: the path.
    """

    def __init__(self, path: str, message: str = "no such file or directory in the MiG home") -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class FileExists(MigError, FileExistsError):
    """A file or folder is in the way.

    Attributes:
        path: the path.
    """

    def __init__(self, path: str, message: str = "already exists") -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class PathRefused(MigError, PermissionError, ValueError):
    """A path cannot be used: it leaves the home, is hidden by MiG, or MiG cannot carry it.

    Attributes:
        path: the path.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path!r}: {message}")
        self.path = path


class JobError(MigError):
    """Something is wrong with one job.

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
    """No job of this user has that id."""

    def __init__(self, job_id: str, message: str = "no such job") -> None:
        super().__init__(job_id, message)


class ActionRefused(JobError):
    """A job cannot be frozen or thawed, or pass files, in its present state.

    Attributes:
        outcome: its state, and the grid's words.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.job_id, outcome.message)
        self.outcome = outcome


class CommandFailed(JobError):
    """The job ended, but a command exited with something other than 0.

    The message ends with the last 40 lines of standard error; ``result.stderr`` has all of it.

    Attributes:
        command: the first command that failed.
        exit_code: its exit code.
        staging: what went wrong with the files of the job, a line each.
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
        """The signal that ended the command, such as ``"SIGKILL"``; ``None`` if it exited."""
        return signal_name(self.exit_code)


def _last_lines(output: bytes) -> list[str]:
    # A few more bytes than needed; of each line what a terminal shows after its last CR.
    text = output[-4 * _STDERR_LINES * _LONGEST_LINE :].decode("utf-8", "replace").removesuffix("\n")
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")[-_STDERR_LINES:]] if text else []
    return [line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…" for line in lines]


class JobFailed(JobError):
    """The grid gave up after the last attempt."""

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """All attempts, oldest first, with resource, times and the reason of the failure."""
        return self.status.attempts if self.status is not None else ()


class JobCanceled(JobError):
    """The job was canceled."""


class JobExpired(JobError):
    """The job waited in the queue for longer than the grid allows."""


class ResultsMissing(JobError):
    """The job is FINISHED, but its exit codes or outputs did not arrive.

    Attributes:
        missing: the names of what did not arrive.
        arrived: the names of what did.
        staging: what went wrong with the files of the job, a line each.
    """

    def __init__(
        self,
        job_id: str,
        missing: Sequence[str],
        *,
        arrived: Sequence[str] = (),
        staging: Sequence[str] = (),
        remedy: str = "check that the commands make them in the job's own folder, as files and not as folders",
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
    more = f" and {len(names) - _MOST_WORDS} more" if len(names) > _MOST_WORDS else ""
    return ", ".join(names[:_MOST_WORDS]) + more
