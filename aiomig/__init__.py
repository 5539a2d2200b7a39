"""Async job management for the Minimum intrusion Grid (MiG), and the same program on this machine's cores.

::

    import anyio, aiomig
    from aiomig import submit, watch

    async def main():
        async with aiomig.connect():                 # the grid, or local mode: one switch
            job = await submit("echo HELLO GRID")
            async for status in watch(job):
                print(status.state, status.queued_at)
            result = await job                       # or raises a JobError
            print(result.stdout)

    anyio.run(main)

`connect`, `grid` and `local` make a `Session`; `submit` makes a `Job`; ``await job`` gives a `JobResult`;
``session.files`` is the user's MiG home. Everything runs on asyncio and on trio. No function takes a timeout:
``anyio.fail_after`` and ``asyncio.timeout`` do that, and a wait that is cancelled never cancels a job.
"""

from ._api import as_completed, cancel, statuses, submit, submit_many, submit_mrsl, sweep, wait, watch
from ._backend import Outcome
from ._collect import Completed, Waited
from ._config import Config
from ._errors import (
    AuthenticationFailed,
    CommandFailed,
    ConfigError,
    ConnectionFailed,
    Fault,
    FileExists,
    FileNotFound,
    GridError,
    JobCanceled,
    JobError,
    JobExpired,
    JobFailed,
    JobNotFound,
    LocalError,
    MigError,
    NoSession,
    PathRefused,
    ProtocolError,
    ResultsMissing,
    ServerError,
    SpecError,
    SubmitErrors,
    SubmitRejected,
    SubmitUnknown,
)
from ._files import FileInfo, Files, WordCount
from ._job import ActionRefused, Job
from ._open import connect, grid, local
from ._poller import Polling
from ._scope import Scope
from ._session import Session, current_session
from ._spec import JobSpec
from ._status import Attempt, CommandResult, JobResult, JobState, JobStatus
from ._sweep import Sweep
from ._tail import Tail
from ._values import InputFile, OutputFile, Remote, Resources
from ._version import VERSION as _VERSION
from ._watch import Watch

__version__ = _VERSION

__all__ = [
    "ActionRefused",
    "Attempt",
    "AuthenticationFailed",
    "CommandFailed",
    "CommandResult",
    "Completed",
    "Config",
    "ConfigError",
    "ConnectionFailed",
    "Fault",
    "FileExists",
    "FileInfo",
    "FileNotFound",
    "Files",
    "GridError",
    "InputFile",
    "Job",
    "JobCanceled",
    "JobError",
    "JobExpired",
    "JobFailed",
    "JobNotFound",
    "JobResult",
    "JobSpec",
    "JobState",
    "JobStatus",
    "LocalError",
    "MigError",
    "NoSession",
    "Outcome",
    "OutputFile",
    "PathRefused",
    "Polling",
    "ProtocolError",
    "Remote",
    "Resources",
    "ResultsMissing",
    "Scope",
    "ServerError",
    "Session",
    "SpecError",
    "SubmitErrors",
    "SubmitRejected",
    "SubmitUnknown",
    "Sweep",
    "Tail",
    "Waited",
    "Watch",
    "WordCount",
    "as_completed",
    "cancel",
    "connect",
    "current_session",
    "grid",
    "local",
    "statuses",
    "submit",
    "submit_many",
    "submit_mrsl",
    "sweep",
    "wait",
    "watch",
]
