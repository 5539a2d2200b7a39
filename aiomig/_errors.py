"""Every exception of aiomig.

::

    MigError
    ├── ConfigError                     no or bad configuration
    ├── SpecError (ValueError)          a job description that cannot be sent
    ├── NoSession (RuntimeError)        no session is open here
    ├── LocalError                      local mode cannot work on this machine or home
    ├── GridError                       something between us and the grid
    │   ├── ConnectionFailed
    │   ├── SubmitUnknown               sent, and its fate could not be found out
    │   ├── AuthenticationFailed
    │   ├── ServerError
    │   └── ProtocolError
    ├── SubmitRejected                  the server refuses a description
    ├── SubmitErrors                    some of many were refused
    ├── FileNotFound (FileNotFoundError)
    ├── FileExists (FileExistsError)
    ├── PathRefused (PermissionError, ValueError)
    └── JobError
        ├── JobNotFound (LookupError)
        ├── CommandFailed
        ├── JobFailed
        ├── JobCanceled
        ├── JobExpired
        └── ResultsMissing

All of them survive ``pickle`` and ``copy``, and carry their data as attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._job import Job
    from ._status import JobResult, JobStatus

_E = TypeVar("_E", bound="MigError")


def _rebuild(kind: type[_E], args: tuple[Any, ...], data: dict[str, Any]) -> _E:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(data)
    return error


class MigError(Exception):
    """The base of everything that aiomig raises on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(message)

    def __str__(self) -> str:
        # OSError's own __str__ would show (errno, text) forms; the message is the first argument everywhere.
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


class ConfigError(MigError):
    """There is no configuration, or it is wrong.

    Attributes:
        path: the configuration file, where one was read.
        line: the line in it, counted from 1, where one is at fault.
        field: the field at fault, where one is.
    """

    def __init__(
        self, message: str, *, path: str | None = None, line: int | None = None, field: str | None = None
    ) -> None:
        where = ":".join(str(part) for part in (path, line) if part is not None)
        super().__init__(f"{where}: {message}" if where else message)
        self.path = path
        self.line = line
        self.field = field


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a job description.

    Attributes:
        field: the field of `JobSpec` or the mRSL keyword at fault.
        value: what was given.
        problem: what is wrong with it.
        remedy: what to do instead.
        line: the line of the mRSL text, counted from 1, where one was parsed.
    """

    field: str
    value: object
    problem: str
    remedy: str
    line: int | None = None

    def __str__(self) -> str:
        shown = repr(self.value)
        if len(shown) > 120:
            shown = f"{shown[:100]}… ({len(shown)} characters)"
        at = f"line {self.line}: " if self.line is not None else ""
        return f"{at}{self.field}={shown}: {self.problem}; {self.remedy}"


class SpecError(MigError, ValueError):
    """A job description is wrong; raised before anything is sent or created.

    Attributes:
        faults: everything that is wrong, as a tuple of `Fault`.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        lines = [str(fault) for fault in self.faults]
        super().__init__(
            lines[0] if len(lines) == 1 else f"{len(lines)} faults:\n" + "\n".join(f"- {line}" for line in lines)
        )


class NoSession(MigError, RuntimeError):
    """A module function was called where no session is open."""


class LocalError(MigError):
    """Local mode cannot work here: the home, its database, the disk or bash.

    Attributes:
        path: the file or folder at fault, where there is one.
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
        sent: whether the request may have reached the server; False where it cannot have.
    """

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


class SubmitUnknown(GridError):
    """A submit was sent, no answer came, and the job could not be found since: it may exist or not.

    Nothing is sent again on its own. ``await session.find_submitted(error.marker)`` looks again.

    Attributes:
        marker: the PROJECT that the job bears, if it exists.
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
        operation: the operation that was asked for, such as ``"mkdir"``.
        messages: the server's own words.
    """

    def __init__(self, operation: str, messages: Sequence[str]) -> None:
        self.operation = operation
        self.messages = tuple(messages)
        super().__init__(f"{operation}: {'; '.join(self.messages) or 'the server failed without a word'}")


class ProtocolError(GridError):
    """The server answered something that makes no sense.

    Attributes:
        excerpt: the beginning of the answer.
    """

    def __init__(self, message: str, *, excerpt: str = "") -> None:
        super().__init__(f"{message}: {excerpt[:200]!r}" if excerpt else message)
        self.excerpt = excerpt


class SubmitRejected(MigError):
    """The grid (or the local emulation of it) refuses a job description.

    Attributes:
        messages: the server's words.
        faults: the same as `Fault` values, where they could be told apart.
    """

    def __init__(self, messages: Sequence[str], faults: Sequence[Fault] = ()) -> None:
        self.messages = tuple(messages)
        self.faults = tuple(faults)
        super().__init__("; ".join(self.messages) or "the description was refused without a reason")


class SubmitErrors(MigError):
    """Some of many jobs could not be submitted; the others were.

    Attributes:
        outcomes: for each description in order, the `Job` that was made, or the error.
        errors: the errors alone, by their place in that order.
    """

    def __init__(self, outcomes: Sequence[Job | MigError]) -> None:
        self.outcomes = tuple(outcomes)
        self.errors = {place: each for place, each in enumerate(outcomes) if isinstance(each, MigError)}
        shown = [f"[{place}] {error}" for place, error in list(self.errors.items())[:5]]
        more = [f"… and {len(self.errors) - 5} more"] if len(self.errors) > 5 else []
        made = len(self.outcomes) - len(self.errors)
        super().__init__(
            f"{len(self.errors)} of {len(self.outcomes)} jobs were not made, {made} were:\n" + "\n".join(shown + more)
        )

    @property
    def jobs(self) -> list[Job]:
        """The jobs that were made."""
        return [each for each in self.outcomes if not isinstance(each, MigError)]

    def __reduce__(self) -> tuple[Any, ...]:
        # A job belongs to its session, and that to its event loop; what travels is its id.
        outcomes = [each if isinstance(each, MigError) else each.id for each in self.outcomes]
        return _rebuild, (type(self), self.args, {**self.__dict__, "outcomes": tuple(outcomes)})


class FileNotFound(MigError, FileNotFoundError):
    """A file or folder of the MiG home does not exist.

    Attributes:
        path: what was asked for.
    """

    def __init__(self, path: str, message: str = "no such file or directory in the MiG home") -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class FileExists(MigError, FileExistsError):
    """A file or folder is in the way.

    Attributes:
        path: what is in the way.
    """

    def __init__(self, path: str, message: str = "already exists") -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class PathRefused(MigError, PermissionError, ValueError):
    """A path may not be used: it leaves the home, is hidden by MiG, or cannot be carried by it.

    Attributes:
        path: what was asked for.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path!r}: {message}")
        self.path = path


class JobError(MigError):
    """Something about one job.

    Attributes:
        job_id: the job.
        status: its last known `JobStatus`, or ``None``.
        result: its `JobResult` as far as there is one, or ``None``.
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


class CommandFailed(JobError):
    """The job ended, but a command exited with something other than 0.

    Attributes:
        command: the first command that failed.
        exit_code: its exit code.
    """

    def __init__(self, job_id: str, *, command: str, exit_code: int, status: JobStatus, result: JobResult) -> None:
        tail = "\n".join(result.stderr.splitlines()[-40:])
        message = f"{command!r} exited with {exit_code}{explain_exit_code(exit_code)}"
        super().__init__(job_id, f"{message}\n{tail}" if tail else message, status=status, result=result)
        self.command = command
        self.exit_code = exit_code


class JobFailed(JobError):
    """The grid gave the job up after its last attempt; ``status.attempts`` holds the reasons."""


class JobCanceled(JobError):
    """The job was canceled."""


class JobExpired(JobError):
    """The job waited in the queue for longer than the grid allows."""


class ResultsMissing(JobError):
    """The job is FINISHED, but its exit codes or outputs did not arrive.

    Attributes:
        missing: the names of what did not arrive.
    """

    def __init__(
        self,
        job_id: str,
        missing: Sequence[str],
        *,
        status: JobStatus | None = None,
        result: JobResult | None = None,
    ) -> None:
        self.missing = tuple(missing)
        super().__init__(
            job_id,
            f"FINISHED, but these did not arrive: {', '.join(self.missing)}",
            status=status,
            result=result,
        )


_EXIT_CODES: Mapping[int, str] = {
    126: "found, but not executable",
    127: "command not found",
    255: "unbalanced quotes, or an error of ssh and the like",
}

_SIGNALS: Mapping[int, str] = {
    1: "SIGHUP",
    2: "SIGINT",
    6: "SIGABRT",
    9: "SIGKILL: killed, often out of memory or over a limit",
    11: "SIGSEGV: segmentation fault",
    13: "SIGPIPE",
    15: "SIGTERM",
    24: "SIGXCPU: over the limit of CPU time",
    25: "SIGXFSZ: over the limit of file size",
}


def explain_exit_code(exit_code: int) -> str:
    """What an exit code usually means, as text in brackets, or nothing."""
    if exit_code in _EXIT_CODES:
        return f" ({_EXIT_CODES[exit_code]})"
    if exit_code > 128 and exit_code - 128 in _SIGNALS:
        return f" (signal {exit_code - 128}, {_SIGNALS[exit_code - 128]})"
    return ""
