"""The functions of the package. They create sessions, or act on the innermost open session of the current context."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from ._core.errors import SpecError
from ._core.models import Fault
from ._core.version import VERSION
from ._jobs.collect import Completed, Waited, as_jobs, backend_of, cancel_all, statuses_of, wait_for
from ._jobs.watch import Watch
from ._session import Session, current_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable

    import httpx

    from ._core.models import JobStatus, Outcome
    from ._grid.config import Config, Password, RequestLimits, Retry
    from ._grid.poller import Polling
    from ._jobs.job import Job
    from ._jobs.sweep import Sweep
    from ._jobs.sweep_input import SweepFields, Template
    from ._local.settings import LocalFields
    from ._spec.jobspec import JobSpec, SpecFields


async def submit(commands: str | Iterable[str] | JobSpec, **fields: Unpack[SpecFields]) -> Job:
    """Submit a job in the current session; see `Session.submit`.

    Example::

        async with aiomig.connect():
            job = await submit("python3 fit.py data.csv > out.txt", inputs=["fit.py", "data.csv"], outputs=["out.txt"])
            print((await job).exit_code)

    Args:
        commands: a command line, several command lines that one bash process runs in order, or a `JobSpec`.
        **fields: the other fields of `JobSpec`: ``inputs``, ``executables``, ``outputs``, ``resources``,
            ``environment``, ``name``, ``runtime_environments``, ``vgrids``, ``retries``, ``notify``, ``verify``,
            ``mount``, ``project``, ``kind``, ``labels``, ``key`` and ``mrsl``.

    Returns:
        The queued job; ``await`` it for its result.

    Raises:
        NoSession: no session is open.
    """
    return await current_session().submit(commands, **fields)


async def submit_mrsl(path: str | os.PathLike[str]) -> Job:
    """Submit a handwritten mRSL job description in the current session; see `Session.submit_mrsl`.

    Args:
        path: a local mRSL file.

    Raises:
        NoSession: no session is open.
        SpecError: the description is invalid; each fault has a line number.
    """
    return await current_session().submit_mrsl(path)


async def submit_many(specs: Iterable[JobSpec | str | Iterable[str]], *, progress: bool = False) -> list[Job]:
    """Submit many jobs in the current session, in as few requests as possible; see `Session.submit_many`.

    Example::

        jobs = await submit_many(f"./fit {n}" for n in range(100))

    Args:
        specs: job descriptions, or just the commands of each job.
        progress: show a progress bar on a terminal (needs rich, part of the ``cli`` extra) or in a notebook.

    Returns:
        The jobs, in the order of the descriptions.

    Raises:
        NoSession: no session is open.
        SubmitErrors: some jobs could not be submitted; the error contains the job or the error of each description.
    """
    return await current_session().submit_many(specs, progress=progress)


def sweep(template: Template, parameters: Iterable[Any] | AsyncIterable[Any], **options: Unpack[SweepFields]) -> Sweep:
    """Run one job for each parameter in the current session; see `Session.sweep`.

    Example::

        async for job in sweep(lambda n: f"./fit {n}", range(10_000), in_flight=50):
            print(job.parameter, (await job.result(check=False)).exit_code)

    Raises:
        NoSession: no session is open.
    """
    return current_session().sweep(template, parameters, **options)


def watch(jobs: Job | str | Iterable[Job | str]) -> Watch:
    """Iterate over the statuses of jobs: the current status of each job, then each change once, until all have ended.

    Example::

        async for status in watch(job):
            print(status.state, status.queued_at)

    Args:
        jobs: one or more jobs of one session. Ids are looked up in the current session.

    Returns:
        An async iterator of `JobStatus`, each with its ``job_id``; it can be left at any time.

    Raises:
        NoSession: ids were given, and no session is open.
        JobNotFound: while iterating: a job does not exist.
    """
    handles = _handles(jobs)
    return Watch(backend_of(handles), [job.id for job in handles]) if handles else current_session().watch(())


async def wait(jobs: Job | str | Iterable[Job | str], return_when: Literal["all", "any"] = "all") -> Waited:
    """Wait until jobs end, successfully or not. Cancelling the wait, also by a timeout, does not affect the jobs.

    Example::

        with anyio.move_on_after(60):
            done, pending = await wait(jobs, return_when="any")

    Args:
        jobs: jobs of one session. Ids are looked up in the current session.
        return_when: ``"all"``, or ``"any"`` to return as soon as at least one job has ended.

    Returns:
        The jobs that have ended, and the others.

    Raises:
        NoSession: ids were given, and no session is open.
        JobNotFound: a job does not exist.
        GridError: several requests to the grid failed in a row.
    """
    return await wait_for(_handles(jobs), return_when)


def as_completed(jobs: Job | str | Iterable[Job | str]) -> Completed:
    """Iterate over jobs in the order they end.

    Example::

        async for job in as_completed(jobs):
            print(job.id, (await job.result(check=False)).exit_code)

    Args:
        jobs: jobs of one session. Ids are looked up in the current session.

    Returns:
        An async iterator of `Job`; it can be left at any time. It raises the same errors as `watch`.
    """
    return Completed(_handles(jobs))


async def statuses(jobs: Job | str | Iterable[Job | str]) -> dict[str, JobStatus]:
    """Return the current statuses of jobs, with one request.

    Args:
        jobs: jobs of one session. Ids are looked up in the current session.

    Returns:
        Statuses by job id, in the order of the arguments. Unknown jobs are left out.

    Raises:
        NoSession: ids were given, and no session is open.
        GridError: the request to the grid failed.
    """
    return await statuses_of(_handles(jobs))


async def cancel(jobs: Job | str | Iterable[Job | str]) -> dict[str, Outcome]:
    """Cancel jobs, with one request.

    Args:
        jobs: jobs of one session. Ids are looked up in the current session.

    Returns:
        An `Outcome` for each job id: whether the job was canceled, and if not, why. Jobs that have already ended and
        unknown jobs do not raise an error.

    Raises:
        NoSession: ids were given, and no session is open.
        GridError: the request to the grid failed.
    """
    return await cancel_all(_handles(jobs))


def _handles(jobs: Job | str | Iterable[Job | str]) -> list[Job]:
    return as_jobs(jobs, lambda job_id: current_session().job(job_id))


logger = logging.getLogger("aiomig")


class ConfigFields(TypedDict, total=False):
    """The fields of `Config`, as arguments of `grid`."""

    url: str
    certificate: str | os.PathLike[str]
    key: str | os.PathLike[str]
    ca: str | os.PathLike[str] | None
    password: Password | None
    connect_timeout: float
    timeout: float
    expiry_warning_days: float


def grid(
    config: Config | str | os.PathLike[str] | None = None,
    *,
    polling: Polling | None = None,
    retry: Retry | None = None,
    request_limits: RequestLimits | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    journal: str | os.PathLike[str] | bool | None = True,
    **fields: Unpack[ConfigFields],
) -> Session:
    """Return a session on a grid, authenticated by the user's X.509 certificate.

    Opening the session reads the certificate, checks its validity dates, and asks the server which user it belongs to.
    Leaving the session leaves its jobs running on the grid. aiomig always verifies the server's certificate: without
    ``cacertfile`` in ``miguser.conf`` it uses the certificate authorities of the operating system.

    Example::

        async with aiomig.grid() as mig:
            job = await mig.submit("hostname")

    Args:
        config: a `Config`, or the path of a ``miguser.conf``. The default is ``$AIOMIG_CONFIG``, then
            ``~/.mig/miguser.conf``. No file is read if ``url``, ``certificate`` and ``key`` are given.
        polling: how often to poll watched jobs.
        retry: how often, and after which delays, to retry a failed read.
        request_limits: the maximum sizes of requests, and the maximum time for cleanup.
        transport: a replacement for the network, for tests.
        journal: a private directory in which each submit is recorded before it is sent, so that `Session.unconfirmed`
            of this session or a later one reports interrupted submits. It is created if it is missing, and programs
            may share it. ``True`` means a directory in the user's state directory, or none with a ``transport``;
            ``False`` and ``None`` mean no record on disk.
        **fields: individual fields of `Config`, which override those of the file.

    Returns:
        A new session; open it with ``async with``.

    Raises:
        ConfigError: the configuration is missing or invalid.
        SpecError: the journal is not a path.
        LocalError: when the session is opened: the given journal directory cannot be used.
        AuthenticationFailed: when the session is opened: the certificate is expired, refused or unknown, or its key
            cannot be opened.
        ConnectionFailed: when the session is opened: the server cannot be reached.
    """
    from ._grid.backend import GridBackend
    from ._grid.config import Config, RequestLimits
    from ._grid.http import HttpClient
    from ._grid.operations import OperationClient
    from ._grid.poller import Polling
    from ._grid.submit_journal import SubmitJournal, folder_of

    if not isinstance(config, Config):
        whole = config is None and {"url", "certificate", "key"} <= fields.keys()
        config = Config(**fields) if whole else Config.load(config).replace(**fields)  # type: ignore[arg-type]
    elif fields:
        config = config.replace(**fields)
    limits = request_limits or RequestLimits()
    client = HttpClient(config, VERSION, transport, largest_response=limits.largest_response)
    folder, required = folder_of(journal)
    if transport is not None and not required:
        folder = None

    def owner() -> str:
        return config.url if transport is not None else f"{config.url} {config.credential().user}"

    records = SubmitJournal(folder, owner, required=required)
    return Session(
        GridBackend(client, OperationClient(client, retry), polling or Polling(), records, limits),
        lambda: client.credential,
    )


def local(home: str | os.PathLike[str] | None = None, /, **settings: Unpack[LocalFields]) -> Session:
    """Return a session in local mode: jobs run on the cores of this machine, without an account or a network.

    Each job runs in its own process session, so Ctrl-C in a terminal reaches the program and not the jobs. The records
    of jobs are in the home and outlive the program. If the program is killed, running jobs finish; the next session on
    that home collects their results and runs the queued jobs. Several processes may use one home at once.

    Leaving the session through an exception or cancellation cancels the jobs it submitted.

    Example::

        async with aiomig.local(slots=4, on_exit="cancel") as mig:
            print((await (await mig.submit("nproc"))).stdout)

    Args:
        home: the directory of the emulated MiG home, created if it is missing. The default is a private directory in
            the user's state directory.
        slots: the number of cores for running jobs. The default is the number of cores that this process may use,
            according to its CPU affinity and the CPU quotas of its control groups.
        shared_slots: count the running jobs of all processes that use the home against ``slots``, not only this
            session's.
        on_exit: leaving the session normally waits for its jobs (except frozen ones), cancels them, or leaves them
            running. The next session on the home runs jobs that are still queued.
        limits: apply the limits on memory, CPU time, processes and file size that a MiG resource applies (``ulimit``).
        default_retries: extra attempts for jobs without ``retries``; grids allow 2 to 4.
        wall_time_grace: seconds beyond the wall time before a job is killed; a grid allows 90.
        kill_grace: seconds between SIGTERM and SIGKILL when a job is killed; a grid sends SIGKILL at once.
        lock_timeout: seconds to wait for the records of the home while another process has locked them.
        expire_after: seconds that a job may stay queued; 0 means no limit.
        vgrids: vgrids that jobs may name, in addition to Generic and ANY.
        runtime_environments: runtime environments that jobs may request, each with the variables that it sets.
        pass_environment: names of environment variables that jobs inherit from this program, in addition to HOME,
            LOGNAME, PATH, SHELL, TMPDIR and USER.

    Returns:
        A new session; open it with ``async with``.

    Raises:
        SpecError: a setting is out of range.
        LocalError: bash is not installed; when the session is opened: the home cannot be used.
    """
    from ._local.backend import LocalBackend
    from ._local.settings import LocalSettings

    fields: dict[str, Any] = {"home": home, **settings}
    return Session(LocalBackend(LocalSettings(**{name: value for name, value in fields.items() if value is not None})))


def connect(
    mode: Literal["grid", "local"] | None = None,
    *,
    config: Config | str | os.PathLike[str] | None = None,
    **local_fields: Unpack[LocalFields],
) -> Session:
    """Return a session on a grid or in local mode, chosen by argument, environment or configuration.

    Example::

        async with aiomig.connect() as mig:
            print(mig.mode)

    Args:
        mode: ``"grid"`` or ``"local"``. The default is ``$AIOMIG_MODE``, then the grid if a configuration file exists,
            then local mode, with one warning logged.
        config: the configuration of the grid, as in `grid`; ignored in local mode.
        **local_fields: the settings of local mode, as in `local`; ignored on a grid. The default of ``home`` is
            ``$AIOMIG_HOME``.

    Returns:
        A new session; open it with ``async with``.

    Raises:
        SpecError: the mode is neither "grid" nor "local".
        ConfigError: the mode is "grid", and the configuration is missing or invalid.
        LocalError: local mode needs bash, which is not installed.
    """
    from ._grid.config import Config

    chosen = mode or os.environ.get("AIOMIG_MODE") or None
    if chosen is None and (config is not None or Config.find() is not None):
        chosen = "grid"
    if chosen == "grid":
        return grid(config)
    if chosen is None:
        logger.warning("no grid configuration found (~/.mig/miguser.conf); jobs run on this machine")
    elif chosen != "local":
        field = "mode" if mode else "AIOMIG_MODE"
        raise SpecError([Fault(field, chosen, "no such mode", "use 'grid' or 'local'")])
    local_fields.setdefault("home", os.environ.get("AIOMIG_HOME") or None)
    return local(**local_fields)
