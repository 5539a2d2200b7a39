"""Run programs as jobs on the Minimum intrusion Grid (MiG), or on the cores of this machine, with async Python.

The public names, in groups:

- **Sessions**: `connect`, `grid` and `local` create a `Session`; `current_session` returns the innermost open one.
  `SessionPool` holds one session for each user of a service. `Config` contains the URL of a grid and the paths of the
  user's certificate; `Credential` describes that certificate. `Polling` configures how often a grid is polled, `Retry`
  how often a failed request is retried, and `RequestLimits` the maximum sizes of requests.
- **Submitting**: `submit`, `submit_many`, `submit_mrsl` and `sweep` create jobs; `Job` is the handle of one. `JobSpec`
  describes a job, with `Resources`, `InputFile`, `OutputFile` and `Remote`. `Sweep`, with `SweepOptions` and
  `SweepCounts`, and `Scope` manage many jobs. `CheckReport` and `Fault` report problems in a description.
  `Unconfirmed` is a submit that was interrupted.
- **Waiting**: `watch`, `wait`, `as_completed` and `statuses`, and their results `Watch`, `Waited` and `Completed`.
  `JobStatus`, `JobState` and `Attempt` describe the progress of a job; `JobResult` and `CommandResult` how it ended.
  `Tail` follows the output of a job, and `Events` the changes of all jobs. `cancel` returns an `Outcome` for each job.
- **Files**: `Files` is the user's MiG home, with `FileInfo`, `FileStream` and `WordCount`. `Queue` is a message
  queue. `Site` and `Keyword` describe what a grid offers.
- **Services**: `Shares` creates share links (`Share`); `SharedFolder` reads and writes files through such a link.
  `Archives` freezes files in an `Archive`. `Transfers` has the server copy files, each time as a `Transfer`. `Crontab`
  contains each `CronEntry`, and `Triggers` each `Trigger`. `UserStatistics`, `VGrid` and `Resource` are what a server
  reports about the user.
- **Errors**: the base class is `MigError`.

  - Before anything is sent: `ConfigError`, `SpecError`, `NoSession`, `PathRefused`. A slow reader: `EventsLost`.
  - This machine: `LocalError`. A grid, all `GridError`: `ConnectionFailed`, `AuthenticationFailed`, `ServerError`,
    `ProtocolError`, `SubmitUnknown`.
  - Submitting: `SubmitRejected`, `SubmitErrors`. Files: `FileNotFound`, `FileExists`.
  - A job, all `JobError`: `CommandFailed`, `JobFailed`, `JobCanceled`, `JobExpired`, `JobNotFound`, `ResultsMissing`,
    `ActionRefused`.

Example::

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

Everything runs on asyncio and on trio, and behaves the same on a grid and on this machine. No function takes a timeout:
use ``anyio.fail_after`` or ``asyncio.timeout``. Cancelling a wait never cancels a job. Cancelling a submit cancels the
job that it may have created. All times are timezone-aware, in UTC. Durations are in seconds. `aiomig.testing` provides
an in-memory grid for tests.
"""

import logging as _logging
from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

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
    EventsLost,
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
    Outcome,
    Unconfirmed,
)
from ._core.paths import FileInfo, WordCount
from ._core.site import Keyword, Site
from ._core.version import VERSION as _VERSION
from ._home.files import Files
from ._home.queues import Queue
from ._home.streams import FileStream
from ._jobs.collect import Completed, Waited
from ._jobs.events import Events
from ._jobs.job import Job
from ._jobs.scope import Scope
from ._jobs.submit import SubmitErrors
from ._jobs.sweep import Sweep
from ._jobs.sweep_input import SweepOptions
from ._jobs.sweep_rows import SweepCounts
from ._jobs.tail import Tail
from ._jobs.watch import Watch
from ._pool import SessionPool
from ._session import Session, current_session
from ._spec.jobspec import JobSpec
from ._spec.values import InputFile, OutputFile, Remote, Resources

if _TYPE_CHECKING:
    from ._grid.config import Config, RequestLimits, Retry
    from ._grid.credential import Credential
    from ._grid.poller import Polling
    from ._grid.services.account import Resource, UserStatistics, VGrid
    from ._grid.services.archives import Archive, Archives
    from ._grid.services.crontab import CronEntry, Crontab
    from ._grid.services.shared_folder import SharedFolder
    from ._grid.services.shares import Share, Shares
    from ._grid.services.transfers import Transfer, Transfers
    from ._grid.services.triggers import Trigger, Triggers

__version__ = _VERSION

_logging.getLogger(__name__).addHandler(_logging.NullHandler())  # silent unless the program configures logging

__all__ = [
    "ActionRefused",
    "Archive",
    "Archives",
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
    "CronEntry",
    "Crontab",
    "Events",
    "EventsLost",
    "Fault",
    "FileExists",
    "FileInfo",
    "FileNotFound",
    "FileStream",
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
    "RequestLimits",
    "Resource",
    "Resources",
    "ResultsMissing",
    "Retry",
    "Scope",
    "ServerError",
    "Session",
    "SessionPool",
    "Share",
    "SharedFolder",
    "Shares",
    "Site",
    "SpecError",
    "SubmitErrors",
    "SubmitRejected",
    "SubmitUnknown",
    "Sweep",
    "SweepCounts",
    "SweepOptions",
    "Tail",
    "Transfer",
    "Transfers",
    "Trigger",
    "Triggers",
    "Unconfirmed",
    "UserStatistics",
    "VGrid",
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

_OF_GRIDS = {
    **dict.fromkeys(("Config", "RequestLimits", "Retry"), "config"),
    "Credential": "credential",
    "Polling": "poller",
    **dict.fromkeys(("Resource", "UserStatistics", "VGrid"), "services.account"),
    **dict.fromkeys(("Archive", "Archives"), "services.archives"),
    **dict.fromkeys(("CronEntry", "Crontab"), "services.crontab"),
    "SharedFolder": "services.shared_folder",
    **dict.fromkeys(("Share", "Shares"), "services.shares"),
    **dict.fromkeys(("Transfer", "Transfers"), "services.transfers"),
    **dict.fromkeys(("Trigger", "Triggers"), "services.triggers"),
}
"""The modules of the names that local mode does not need. Each is imported when one of its names is first used."""

if not _TYPE_CHECKING:  # with this function, a type checker would accept any name

    def __getattr__(name: str) -> object:
        if name not in _OF_GRIDS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = public = getattr(_import_module(f"._grid.{_OF_GRIDS[name]}", __name__), name)
        _name_as_public(public)
        return public


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _name_as_public(public: object) -> None:
    """Have tracebacks and pydoc show `aiomig`, not a private module.

    Value classes keep their module, because pydantic resolves their annotations in it.
    """
    if not hasattr(public, "__dataclass_fields__") and not hasattr(public, "_fields"):
        public.__module__ = __name__


for _name in __all__:
    if _name not in _OF_GRIDS:
        _name_as_public(globals()[_name])
