"""`Session`: one user's connection to a grid, or to local mode."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from anyio.lowlevel import checkpoint

from ._core.errors import MigError, NoSession, SpecError
from ._core.job_filter import JobFilter, states_of, time_before
from ._core.models import CheckReport, Fault
from ._core.validation import is_text
from ._jobs.collect import Completed, Waited, as_jobs, cancel_all, results_of, statuses_of, wait_for
from ._jobs.events import Events
from ._jobs.job import Job
from ._jobs.scope import Scope
from ._jobs.submit import JobSubmitter, SubmitErrors
from ._jobs.sweep import Sweep
from ._jobs.sweep_input import SweepOptions
from ._jobs.watch import Watch
from ._lifecycle import open_sessions
from ._services import SessionServices
from ._spec.jobspec import JobSpec

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterable, Callable, Iterable, Mapping
    from datetime import datetime, timedelta

    from ._backend import Backend
    from ._core.models import JobResult, JobState, JobStatus, Outcome, Unconfirmed
    from ._grid.credential import Credential
    from ._jobs.sweep_input import SweepFields, Template
    from ._spec.jobspec import SpecFields


def current_session() -> Session:
    """Return the innermost open session of the current context, or the last that `Session.open` opened in this loop.

    Raises:
        NoSession: no session is open.
    """
    for session in open_sessions():
        if isinstance(session, Session):
            return session
    raise NoSession("no session is open here; open one with: async with aiomig.connect():")


class Session(SessionServices):
    """A connection to a grid or to local mode. Made by `aiomig.grid`, `aiomig.local` or `aiomig.connect`.

    ``async with`` opens a session and closes it again. Many tasks and request handlers of one event loop may share a
    session. The task that enters the block must leave it; otherwise use `open` and `aclose`. Leaving a grid session
    leaves its jobs running; `aiomig.local` describes what happens to local jobs.

    Exceptions raised in the block are not wrapped.

    Example::

        async with aiomig.connect() as mig:
            job = await mig.submit("sort -n numbers", inputs=["numbers"])
            print((await job).stdout)
    """

    def __init__(self, backend: Backend, credential: Callable[[], Credential | None] = lambda: None) -> None:
        super().__init__(backend, credential)
        self._submitter = JobSubmitter(backend, self._files)

    @property
    def check_commands(self) -> bool:
        """Whether commands are checked with ``bash -n`` before submission, if bash is installed. Can be set."""
        return self._submitter.check_commands

    @check_commands.setter
    def check_commands(self, value: bool) -> None:
        self._submitter.check_commands = value

    async def submit(self, commands: str | Iterable[str] | JobSpec, **fields: Unpack[SpecFields]) -> Job:
        """Submit a job.

        aiomig uploads local inputs into the MiG home first. Cancelling the submit removes the uploads and cancels the
        job that the grid may have created. If the outcome is still unknown after about 20 seconds, `unconfirmed`
        reports the submit.

        Args:
            commands: a command line, several command lines that one bash process runs in order, or a `JobSpec`.
            **fields: the other fields of `JobSpec`.

        Returns:
            The queued job; ``await`` it for its result.

        Raises:
            SpecError: the description is invalid, or the commands have a bash syntax error; nothing was sent.
            SubmitRejected: the grid refuses the job.
            GridError: the grid could not be reached.
            SubmitUnknown: the response was lost, so the job may or may not exist.
            LocalError: local mode cannot continue; or the journal of the session cannot be written, so nothing was
                sent.
        """
        await checkpoint()  # here, so that what follows is one step if the inputs need no upload
        self._tasks.require_open()
        return await self._submitter.submit_one(JobSpec.of(commands, fields))

    async def check(self, commands: str | Iterable[str] | JobSpec | Job, **fields: Unpack[SpecFields]) -> CheckReport:
        """Check whether a job would be accepted and could run, without submitting, uploading or changing anything.

        Example::

            report = await session.check("./fit", executables=["fit"], runtime_environments=["GCC-13"])
            if not report.ok:
                print(report)

        Args:
            commands: the same as for `submit`; or a queued `Job`, to check whether the grid has a resource for it.
            **fields: the other fields of `JobSpec`.

        Returns:
            All faults and warnings, and what could not be checked. The server does not check an invalid description.

        Raises:
            GridError: the request to the grid failed.
            JobNotFound: the job does not exist.
        """
        self._tasks.require_open()
        if isinstance(commands, Job):
            return await commands.backend.feasibility(commands.id)
        try:
            spec = JobSpec.of(commands, fields)
        except SpecError as error:
            return CheckReport(error.faults)
        return await self._submitter.review(spec)

    async def submit_mrsl(self, path: str | os.PathLike[str]) -> Job:
        """Submit a handwritten mRSL job description.

        Args:
            path: a local mRSL file in UTF-8. Its INPUTFILES and OUTPUTFILES are paths in the MiG home.

        Raises:
            SpecError: the description is invalid; each fault has a line number.
            FileNotFoundError: the file does not exist.
            SubmitRejected: the grid refuses the job.
        """
        try:
            text = Path(path).read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            problem = f"not UTF-8 text at byte {error.start}"
            raise SpecError([Fault("mrsl", str(path), problem, "save the file as UTF-8")]) from error
        return await self.submit(JobSpec.from_mrsl(text))

    async def submit_many(self, specs: Iterable[JobSpec | str | Iterable[str]], *, progress: bool = False) -> list[Job]:
        """Submit many jobs in as few requests as possible. Inputs that several jobs share are uploaded once.

        Cancelling this also cancels the jobs that were already created.

        Example::

            jobs = await session.submit_many(JobSpec(f"./fit {n}", inputs=["data.csv"]) for n in range(100))

        Args:
            specs: job descriptions, or just the commands of each job.
            progress: show a progress bar on a terminal (needs rich, part of the ``cli`` extra) or in a notebook.

        Returns:
            The jobs, in the order of the descriptions.

        Raises:
            SubmitErrors: some jobs could not be submitted; ``outcomes`` contains the job or the error of each
                description. If a description is invalid, no job was submitted.
        """
        self._tasks.require_open()
        outcomes = await self._submitter.submit_many(specs, progress=progress)
        if any(isinstance(outcome, MigError) for outcome in outcomes):
            raise SubmitErrors(outcomes)
        return [outcome for outcome in outcomes if isinstance(outcome, Job)]

    def sweep(
        self, template: Template, parameters: Iterable[Any] | AsyncIterable[Any], **options: Unpack[SweepFields]
    ) -> Sweep:
        """Submit one job for each parameter, a limited number at a time, and iterate over the jobs as they end.

        Example::

            async for job in session.sweep("./fit --seed $SEED", ({"SEED": n} for n in range(10_000)), in_flight=50):
                print(job.parameter, (await job.result(check=False)).exit_code)

        Args:
            template: a function that returns a `JobSpec` or commands for a parameter. Or a `JobSpec` or commands; the
                parameters must then be mappings, and become environment variables of the jobs.
            parameters: an iterable or async iterable of any length; the sweep takes a parameter when there is room
                for another job.
            **options: see `SweepOptions`.

        Returns:
            An async iterator of `Job`, each with its ``parameter``. Leaving it early cancels the unfinished jobs.

        Raises:
            SpecError: an option is invalid. While iterating: no job could be made from any parameter, or, with
                ``on_failure="raise"``, from one of them.
            JobError: while iterating, with ``on_failure="raise"``: a job failed.
            SubmitRejected: while iterating, with ``on_failure="raise"``: the grid refuses a job.
            LocalError: the journal cannot be used.
        """
        self._tasks.require_open()
        return Sweep(self._submitter, template, parameters, SweepOptions(**options))

    def scope(self) -> Scope:
        """Return an async context manager that cancels its unfinished jobs if its block fails; see `Scope`."""
        self._tasks.require_open()
        return Scope(self.submit, self._backend)

    async def find_submitted(self, marker: str, *, project: str | None = None) -> list[Job]:
        """Look on a grid for the job of a submit that got no response. The job is not submitted again.

        Args:
            marker: `SubmitUnknown.marker` or `Unconfirmed.marker`.
            project: the ``project`` of the job's description, ``""`` if it had none, or ``None`` if you do not know
                it. Servers can search by project. With ``None``, aiomig looks for the marker in the 1000 newest jobs.

        Returns:
            The job, if it was created; the submit then counts as confirmed.

        Raises:
            GridError: the request to the grid failed.
        """
        self._tasks.require_open()
        return [self.job(job_id) for job_id in await self._backend.find_by_marker(marker, project)]

    async def unconfirmed(self) -> list[Unconfirmed]:
        """Return the submits to a grid whose outcome is unknown, after looking for the job of each on the server.

        Their responses were lost (`SubmitUnknown`), a crash or a cancellation interrupted them, or their jobs could
        not be canceled. They come from the journals of this session and of earlier ones of the same user on the same
        grid on this machine. Each is reported until you `confirm` it or `find_submitted` has found its job. A slow
        server may still create a missing job within the next few minutes, but not later.

        Example::

            for lost in await mig.unconfirmed():
                jobs = [mig.job(job_id) for job_id in lost.job_ids]     # go on with these, or submit again
                mig.confirm(lost)

        Returns:
            The submits, oldest first; none in local mode.

        Raises:
            GridError: the request to the grid failed; nothing is forgotten.
        """
        self._tasks.require_open()
        return list(await self._backend.unconfirmed())

    def confirm(self, *unconfirmed: Unconfirmed | str) -> None:
        """Forget submits, so that `unconfirmed` does not report them again. No requests are sent.

        Args:
            *unconfirmed: items that `unconfirmed` returned, or markers. Unknown markers are ignored.
        """
        self._tasks.require_open()
        self._backend.confirm([submit if isinstance(submit, str) else submit.marker for submit in unconfirmed])

    # -- jobs

    def job(self, job_id: str) -> Job:
        """Return a handle on any job of this user, even one of another process or an earlier session. No I/O.

        Raises:
            SpecError: the id is not a string, or empty.
        """
        if not is_text(job_id):
            raise SpecError([Fault("job_id", job_id, "not a job id", "give Job.id, a string")])
        return Job(self._submitter, job_id.strip())

    async def jobs(
        self,
        pattern: str = "*",
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        state: JobState | str | Iterable[JobState | str] | None = None,
        since: datetime | None = None,
        newest: int | None = None,
    ) -> list[Job]:
        """Find jobs that match all given conditions.

        A grid does not report names and labels together with states. aiomig records the names and labels of jobs that
        this account submitted from this machine. For other jobs it reads the descriptions, about 50 per request, and
        keeps them.

        Example::

            jobs = await session.jobs(name="fit-*", labels={"owner": "ada"}, state="FINISHED")

        Args:
            pattern: a pattern for job ids; ``*`` matches any text and ``?`` one character.
            name: a pattern for names. Jobs without a name never match.
            labels: labels that the job must have; it may have others.
            state: one or more values of `JobState`.
            since: a timezone-aware time; only jobs that were received at that time or later.
            newest: the maximum number of jobs.

        Returns:
            Handles, newest first.

        Raises:
            SpecError: an argument is invalid.
            GridError: the request to the grid failed.
        """
        self._tasks.require_open()
        wanted = JobFilter(pattern, name, labels if labels is not None else {}, states_of(state), since, newest)
        return [self.job(status.job_id) for status in await self._backend.find(wanted)]

    async def prune(self, *, older_than: timedelta, records: bool = False) -> int:
        """Remove the files that aiomig keeps for jobs that ended some time ago. Unfinished jobs are never affected.

        In local mode: inputs, outputs and results in the home, and the files of failed attempts. On a grid: the inputs
        and outputs that aiomig put into the MiG home for jobs that this account submitted from this machine. The grid's
        own ``job_output`` stays (see `Job.clean`), and so do outputs whose destination is in the home.

        After a cancellation, another call can remove the rest.

        Example::

            await session.prune(older_than=timedelta(days=30), records=True)

        Args:
            older_than: the minimum time since the end of the jobs, by the clock of the grid or of this machine.
            records: also remove the records. Local mode then no longer knows the jobs; on a grid, this machine
                forgets names, labels, exit codes and keys.

        Returns:
            The number of jobs for which something was removed.

        Raises:
            SpecError: the time is invalid.
            GridError: the request to the grid failed.
        """
        self._tasks.require_open()
        return await self._backend.prune(time_before(older_than), records=records)

    def _jobs(self, jobs: Job | str | Iterable[Job | str]) -> list[Job]:
        self._tasks.require_open()
        return as_jobs(jobs, self.job)

    def watch(self, jobs: Job | str | Iterable[Job | str]) -> Watch:
        """Iterate over the statuses of jobs (or ids) as they change; see `aiomig.watch`."""
        return Watch(self._backend, [job.id for job in self._jobs(jobs)])

    def events(self, *, buffer: int = 10_000) -> Events:
        """Iterate over the changes of all jobs of the user from now on, including jobs of other programs.

        A new job counts as a change. Any number of readers cause the same load on the grid as one: while there are
        readers, a single task lists the jobs, and unfinished jobs are polled. A job of another program is reported
        when the list contains it, after at most `Polling.ceiling` seconds.

        Example::

            async for status in session.events():
                print(status.job_id, status.state)

        Args:
            buffer: how many changes are buffered for a slow reader. If the buffer overflows, the reader gets
                `EventsLost`.

        Returns:
            An async iterator of `JobStatus`; it can be left at any time.

        Raises:
            SpecError: the buffer size is not a positive integer.
            NoSession: the session is not open.
        """
        self._tasks.require_open()
        return Events(self._backend, buffer)

    async def wait(self, jobs: Job | str | Iterable[Job | str], return_when: Literal["all", "any"] = "all") -> Waited:
        """Wait until jobs (or ids) end; see `aiomig.wait`."""
        return await wait_for(self._jobs(jobs), return_when)

    def as_completed(self, jobs: Job | str | Iterable[Job | str]) -> Completed:
        """Iterate over jobs (or ids) as they end; see `aiomig.as_completed`."""
        return Completed(self._jobs(jobs))

    async def statuses(self, jobs: Job | str | Iterable[Job | str]) -> dict[str, JobStatus]:
        """Return the current statuses of jobs (or ids); see `aiomig.statuses`."""
        return await statuses_of(self._jobs(jobs))

    async def results(self, jobs: Job | str | Iterable[Job | str]) -> dict[str, JobResult]:
        """Wait until jobs (or ids) end and return their results by id, without raising for failed jobs.

        Each result is downloaded once and kept by its `Job`.

        Raises:
            JobNotFound: a job does not exist.
            GridError: requests to the grid kept failing for too long.
        """
        return await results_of(self._jobs(jobs))

    async def cancel(self, jobs: Job | str | Iterable[Job | str]) -> dict[str, Outcome]:
        """Cancel jobs (or ids); see `aiomig.cancel`."""
        return await cancel_all(self._jobs(jobs))
