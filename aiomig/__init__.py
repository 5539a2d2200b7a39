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

Everything runs on asyncio and on trio, and means the same on a grid and on this machine.

- **Sessions**: `connect`, `grid` and `local` make a `Session`, which ``async with`` opens, or `Session.open` in a
  notebook. `Config` says where a grid is and who we are, `Polling` how often it is asked.
- **Submitting**: `submit` takes commands and the fields of a `JobSpec`: inputs, outputs, `Resources`, environment.
  `submit_many`, `sweep` and `Session.scope` are for many jobs, `submit_mrsl` is for a description written by hand,
  `Session.check` finds out whether one would be taken.
- **Waiting**: ``await job`` gives a `JobResult`, or raises a `JobError`. `watch` gives each `JobStatus` as it changes,
  `wait` and `as_completed` take many jobs, `Job.tail` follows what a job writes, `Job.fetch` downloads its outputs.
- **Files**: ``session.files``, a `Files`, is the user's MiG home. `Session.queue` has its message queues, `Queue`.
  `Session.site` tells what a grid offers, `Site`.
- **Errors**: all are a `MigError`. `SpecError` and `ConfigError` come before anything is sent, with every fault and its
  remedy; `GridError` is between us and the grid, `SubmitRejected` is the grid's word, `JobError` a job's fate.

No function takes a timeout: ``anyio.fail_after`` and ``asyncio.timeout`` do that. A wait that is cancelled never
cancels a job; a submit that is cancelled leaves no job that nobody knows of. All times are aware, in UTC; durations are
in seconds. `aiomig.testing` has a grid in memory for tests.
"""

import logging as _logging

from ._api import (
    as_completed,
    cancel,
    connect,
    grid,
    local,
    statuses,
    submit,
    submit_many,
    submit_mrsl,
    sweep,
    wait,
    watch,
)
from ._core.errors import (
    ActionRefused,
    AuthenticationFailed,
    CommandFailed,
    ConfigError,
    ConnectionFailed,
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
    SubmitRejected,
    SubmitUnknown,
)
from ._core.models import (
    Attempt,
    CheckReport,
    CommandResult,
    Fault,
    JobResult,
    JobState,
    JobStatus,
    Keyword,
    Outcome,
    Site,
    Unconfirmed,
)
from ._core.version import VERSION as _VERSION
from ._grid.config import Config
from ._grid.credential import Credential
from ._grid.poller import Polling
from ._home.files import FileInfo, Files, WordCount
from ._home.queues import Queue
from ._jobs.job import Job
from ._jobs.scope import Scope
from ._jobs.submit import SubmitErrors
from ._jobs.sweep import Sweep
from ._jobs.tail import Tail
from ._jobs.watch import Completed, Waited, Watch
from ._session import Session, current_session
from ._spec.jobspec import JobSpec
from ._spec.values import InputFile, OutputFile, Remote, Resources

__version__ = _VERSION

_logging.getLogger(__name__).addHandler(_logging.NullHandler())  # silent unless the program listens

__all__ = [
    "ActionRefused",
    "Attempt",
    "AuthenticationFailed",
    "CheckReport",
    "CommandFailed",
    "CommandResult",
    "Completed",
    "Config",
    "ConfigError",
    "ConnectionFailed",
    "Credential",
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
    "Keyword",
    "LocalError",
    "MigError",
    "NoSession",
    "Outcome",
    "OutputFile",
    "PathRefused",
    "Polling",
    "ProtocolError",
    "Queue",
    "Remote",
    "Resources",
    "ResultsMissing",
    "Scope",
    "ServerError",
    "Session",
    "Site",
    "SpecError",
    "SubmitErrors",
    "SubmitRejected",
    "SubmitUnknown",
    "Sweep",
    "Tail",
    "Unconfirmed",
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
