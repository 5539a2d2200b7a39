"""Exit codes, and error messages of one sentence."""

from __future__ import annotations

import errno
from enum import IntEnum

from .. import (
    AuthenticationFailed,
    ConfigError,
    FileExists,
    FileNotFound,
    GridError,
    JobError,
    JobNotFound,
    LocalError,
    NoSession,
    PathRefused,
    SpecError,
    SubmitErrors,
    SubmitRejected,
)
from ._messages import spec_error_message, translate
from ._output import OutputFailed


class ExitCode(IntEnum):
    """The exit codes of the program. The codes from 65 to 78 follow ``sysexits.h``."""

    SUCCESS = 0
    FAILURE = 1
    USAGE = 2
    DESCRIPTION = 65
    NOT_FOUND = 66
    UNAVAILABLE = 69
    SOFTWARE = 70
    FILE_EXISTS = 73
    INPUT_OUTPUT = 74
    REFUSED = 77
    CONFIGURATION = 78
    NO_EXIT_CODE = 125
    HANGUP = 129
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


MEANINGS = {
    ExitCode.SUCCESS: "success",
    ExitCode.FAILURE: "a job or a check failed; grep, find or queue receive found nothing",
    ExitCode.USAGE: "the command line is invalid",
    ExitCode.DESCRIPTION: "a job description is invalid, or the grid refused it",
    ExitCode.NOT_FOUND: "the job, file or queue does not exist",
    ExitCode.UNAVAILABLE: "the grid is unreachable or failed, or local mode cannot work here",
    ExitCode.SOFTWARE: "a bug in aiomig: --debug shows where",
    ExitCode.FILE_EXISTS: "a file already exists",
    ExitCode.INPUT_OUTPUT: "a local file or standard output cannot be read or written",
    ExitCode.REFUSED: "the certificate, the key or a path was refused",
    ExitCode.CONFIGURATION: "the configuration is missing or invalid",
    ExitCode.NO_EXIT_CODE: "run: the job has no exit code: it FAILED, EXPIRED, was CANCELED, or lost its results",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C (129: by SIGHUP, 141: by a closed pipe, 143: by SIGTERM)",
}
"""The exit codes that ``aiomig --help`` lists."""

# The first match counts. Built-in exceptions come last, because some exceptions of aiomig are derived from them.
_CODES: tuple[tuple[type[Exception], ExitCode], ...] = (
    (SpecError, ExitCode.DESCRIPTION),
    (SubmitRejected, ExitCode.DESCRIPTION),
    (SubmitErrors, ExitCode.DESCRIPTION),
    (JobNotFound, ExitCode.NOT_FOUND),
    (FileNotFound, ExitCode.NOT_FOUND),
    (FileExists, ExitCode.FILE_EXISTS),
    (PathRefused, ExitCode.REFUSED),
    (AuthenticationFailed, ExitCode.REFUSED),
    (ConfigError, ExitCode.CONFIGURATION),
    (GridError, ExitCode.UNAVAILABLE),
    (LocalError, ExitCode.UNAVAILABLE),
    (NoSession, ExitCode.UNAVAILABLE),
    (JobError, ExitCode.FAILURE),
    (OutputFailed, ExitCode.INPUT_OUTPUT),
    (FileNotFoundError, ExitCode.NOT_FOUND),
    (FileExistsError, ExitCode.FILE_EXISTS),
    (OSError, ExitCode.INPUT_OUTPUT),
    (ValueError, ExitCode.USAGE),
)

_EXTRAS = {
    "rich": "cli",
    "cryptography": "cli",
    "matplotlib": "plot",
    **dict.fromkeys(("fastapi", "uvicorn", "python_multipart"), "web"),
}


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the exit code for an error."""
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(error, ModuleNotFoundError) and _extra(error):
        return ExitCode.UNAVAILABLE
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.SOFTWARE)


def sentence(error: BaseException) -> str:
    """Return the message of an error for the user."""
    if isinstance(error, ModuleNotFoundError) and (extra := _extra(error)):
        return f"this needs {error.name}, which is not installed; run: pip install 'aiomig[{extra}]'"
    if exit_code_of(error) is ExitCode.SOFTWARE:
        return f"a bug in aiomig, please report it ({type(error).__name__}: {error}); --debug shows where"
    if type(error).__module__ == "builtins" and isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or errno.errorcode.get(error.errno or 0, 'failed')}"
    if isinstance(error, SpecError):
        return spec_error_message(error)
    return translate(str(error)) or type(error).__name__


def _extra(error: ModuleNotFoundError) -> str | None:
    return _EXTRAS.get((error.name or "").partition(".")[0])
