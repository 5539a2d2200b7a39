"""`Session`: an open connection to a grid, or local mode."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from anyio.lowlevel import RunVar, checkpoint

from ._core.errors import MigError, NoSession, SpecError
from ._core.job_filter import JobFilter, states_of, time_before
from ._core.models import CheckReport, Fault
from ._core.operations import form_fields
from ._core.tasks import BackgroundContext, interrupt_only_waits
from ._core.validation import is_count, is_text
from ._home.files import Files
from ._home.queues import Queue
from ._jobs.collect import Completed, Waited, as_jobs, cancel_all, results_of, statuses_of, wait_for
from ._jobs.events import Events
from ._jobs.job import Job
from ._jobs.scope import Scope
from ._jobs.submit import JobSubmitter, SubmitErrors
from ._jobs.sweep import Sweep
from ._jobs.sweep_input import SweepOptions
from ._jobs.watch import Watch
from ._spec.jobspec import JobSpec

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
    from datetime import datetime, timedelta
    from types import TracebackType

    from ._backend import Backend
    from ._core.models import JobResult, JobState, JobStatus, Outcome, Unconfirmed
    from ._core.site import Site
    from ._grid.credential import Credential
    from ._grid.services.account import Resource, UserStatistics, VGrid
    from ._grid.services.archives import Archives
    from ._grid.services.crontab import Crontab
    from ._grid.services.shares import Shares
    from ._grid.services.transfers import Transfers
    from ._grid.services.triggers import Triggers
    from ._jobs.sweep_input import SweepFields, Template
    from ._spec.jobspec import SpecFields

_open_sessions: ContextVar[tuple[Session, ...]] = ContextVar("aiomig_open_sessions", default=())
# Per event loop and not per context: cells of a notebook and request handlers have contexts of their own.
_background_sessions: RunVar[tuple[Session, ...]] = RunVar("aiomig_background_sessions", default=())


def current_session() -> Session:
    """Return the innermost open session of the current context, else the last that `Session.open` opened in this loop.

    Raises:
        NoSession: no session is open.
    """
    for session in (*reversed(_open_sessions.get()), *reversed(_sessions_of_loop())):
        if session.is_open:
            return session
    raise NoSession("no session is open here; open one with: async with aiomig.connect():")


def _sessions_of_loop() -> tuple[Session, ...]:
    try:
        return _background_sessions.get()
    except RuntimeError:  # there is no event loop
        return ()


@contextmanager
def entered(session: Session) -> Iterator[None]:
    """Make a session the current one in a block; it is opened and closed elsewhere."""
    _open_sessions.set((*_open_sessions.get(), session))
    try:
        yield
    finally:
        _leave(session)


def _leave(session: Session) -> None:
    sessions = list(_open_sessions.get())
    if session in sessions:
        del sessions[len(sessions) - 1 - sessions[::-1].index(session)]
        _open_sessions.set(tuple(sessions))


class Session:
    """A grid or this machine: made by `aiomig.grid`, `aiomig.local` or `aiomig.connect`, opened by ``async with``.

    Many tasks and request handlers of one event loop may share a session. The task that entered its block must leave
    it; otherwise use `open` and `aclose`. Leaving a grid session leaves its jobs running; see `aiomig.local` for
    what happens to local jobs.

    An exception raised in the block of a session comes out of it as it is.

    Example::

        async with aiomig.connect() as mig:
            job = await mig.submit("sort -n numbers", inputs=["numbers"])
            print((await job).stdout)
    """

    def __init__(self, backend: Backend, credential: Callable[[], Credential | None] = lambda: None) -> None:
        self._backend = backend
        self._credential = credential
        self._files = Files(backend.home, backend.tasks.ensure_own_loop)
        self._submitter = JobSubmitter(backend, self._files)
        self._state: Literal["new", "open", "closed"] = "new"
        self._background: BackgroundContext[Session] | None = None

    def __repr__(self) -> str:
        return f"<Session {self._backend.mode} {self._state}>"

    # -- what it is

    @property
    def check_commands(self) -> bool:
        """Whether commands are checked with ``bash -n`` before submission, if bash is installed. Can be set."""
        return self._submitter.check_commands

    @check_commands.setter
    def check_commands(self, value: bool) -> None:
        self._submitter.check_commands = value

    @property
    def mode(self) -> Literal["grid", "local"]:
        """``"grid"`` or ``"local"``."""
        return self._backend.mode

    @property
    def credential(self) -> Credential | None:
        """The certificate that the grid knows this user by; after a renewal the new one.

        ``None`` in local mode, while the session is not open, and if a ``transport`` for tests replaces the network.
        """
        return self._credential()

    @property
    def is_open(self) -> bool:
        """Whether jobs can be submitted now."""
        return self._state == "open"

    @property
    def has_own_jobs(self) -> bool:
        """Whether jobs that this session submitted are not known to have ended."""
        return self.is_open and any(self._backend.own_jobs())

    @property
    def files(self) -> Files:
        """The user's MiG home."""
        return self._files

    def queue(self, name: str = "default") -> Queue:
        """Return a message queue of the user; no I/O. It need not exist yet. See `Queue`.

        Args:
            name: 1 to 255 ASCII letters and digits.

        Raises:
            SpecError: MiG does not accept the name.
        """
        return Queue(self._backend.queues, name, self._backend.tasks.ensure_own_loop)

    async def queues(self) -> list[Queue]:
        """Return the existing message queues, sorted by name.

        Raises:
            GridError: the grid could not be asked.
        """
        self._require_open()
        return [self.queue(name) for name in await self._backend.queues.names()]

    async def site(self) -> Site:
        """Return what the grid documents: mRSL keywords, architectures, runtime environments. See `Site`.

        In local mode: what local mode supports, and what `aiomig.local` was given.

        Raises:
            GridError: the grid could not be asked, or does not document itself.
        """
        self._require_open()
        return await self._backend.site()

    # -- what else a grid offers

    @property
    def shares(self) -> Shares:
        """The share links of the user, by which others read and write parts of the home. A grid only."""
        from ._grid.services.shares import Shares

        return Shares(self._backend)

    @property
    def archives(self) -> Archives:
        """The frozen archives of the user. A grid only."""
        from ._grid.services.archives import Archives

        return Archives(self._backend, self._files)

    @property
    def transfers(self) -> Transfers:
        """The data transfers between the home and other servers. A grid only."""
        from ._grid.services.transfers import Transfers

        return Transfers(self._backend)

    @property
    def crontab(self) -> Crontab:
        """What the server runs for the user at given times. A grid only."""
        from ._grid.services.crontab import Crontab

        return Crontab(self._backend)

    @property
    def triggers(self) -> Triggers:
        """The workflow triggers of VGrids. A grid only."""
        from ._grid.services.triggers import Triggers

        return Triggers(self._backend)

    async def statistics(self) -> UserStatistics:
        """Return figures about the user's jobs and files.

        Raises:
            LocalError: this is local mode, which has none.
            GridError: the grid could not be asked.
        """
        from ._grid.services.account import Account

        return await Account(self._backend).statistics()

    async def vgrids(self) -> list[VGrid]:
        """Return the VGrids that the user sees. Raises as `statistics`."""
        from ._grid.services.account import Account

        return await Account(self._backend).vgrids()

    async def resources(self) -> list[Resource]:
        """Return the resources that the user sees. Raises as `statistics`."""
        from ._grid.services.account import Account

        return await Account(self._backend).resources()

    async def call(self, operation: str, /, **fields: object) -> list[dict[str, object]]:
        """Run any operation of a MiG server, also one that has no method here.

        An operation that only reads is retried if it fails. Any other is sent once, with the token that the server
        wants; if its response is lost, or this is cancelled, it may have been carried out.

        Example::

            for found in await session.call("userstats", stats=["jobs", "disk"]):
                print(found)

        Args:
            operation: its name without ``.py``, such as ``"userstats"``.
            **fields: its parameters: texts and numbers, or lists of them, which are sent one by one. Give names that
                are not Python names as ``**{"files[]": …}``.

        Returns:
            The objects of the response, as the server sends them, without those that only decorate a page.

        Raises:
            SpecError: a name or a value cannot be sent; nothing was sent.
            LocalError: this is local mode, which has no server; the message names the method that does the same.
            ServerError: the operation failed; ``remedy`` says if it is known to be broken or is switched off.
            FileNotFound, FileExists, PathRefused, JobNotFound: a part of it failed for that reason.
            GridError: the grid could not be asked.
        """
        self._require_open()
        return await self._backend.call(operation, form_fields(operation, fields))

    # -- opening and closing

    async def __aenter__(self) -> Self:
        interrupt_only_waits(Session.__aenter__, Session.__aexit__)
        if self._state != "new":
            raise MigError(f"this session is {self._state} already; make a new one")
        await self._backend.open()
        self._state = "open"
        _open_sessions.set((*_open_sessions.get(), self))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _leave(self)
        try:
            await self._backend.close(error)
        finally:
            self._state = "closed"
            self._backend.subscriptions.fail(NoSession("the session was closed while something waited in it"))

    async def open(self) -> Self:
        """Open the session without a block, such as in one cell of a notebook for the others.

        Example::

            mig = await aiomig.local().open()
            job = await mig.submit("echo hello")
            await mig.aclose()

        Any task may close it. If it is still open when the event loop ends, it is left as by cancellation.

        Returns:
            The session. Until it is closed it is the current session of the event loop, outside of other blocks.

        Raises:
            MigError: the session was opened before; and what `aiomig.grid` and `aiomig.local` raise.
        """
        background: BackgroundContext[Session] = BackgroundContext(self)
        await background.open()
        self._background = background
        _background_sessions.set((*_background_sessions.get(), self))
        return self

    async def aclose(self) -> None:
        """Close a session that `open` opened, as leaving a block does. A session that is closed stays closed.

        If this is cancelled while a local session waits for its jobs, the jobs are cancelled.

        Raises:
            MigError: the session was opened by ``async with``; leave its block.
        """
        background, self._background = self._background, None
        if background is not None:
            _background_sessions.set(tuple(session for session in _background_sessions.get() if session is not self))
            await background.close()
        elif self._state == "open":
            raise MigError("this session was opened by async with: leave its block to close it")

    def _require_open(self) -> None:
        if self._state != "open":
            raise NoSession(f"this session is {'closed' if self._state == 'closed' else 'not open yet'}")
        self._backend.tasks.ensure_own_loop()

    # -- submitting

    async def submit(self, commands: str | Iterable[str] | JobSpec, **fields: Unpack[SpecFields]) -> Job:
        """Submit a job.

        Local inputs are uploaded into the MiG home first. If it is cancelled, it removes the uploads and cancels the
        job that the grid may have made; what is not known after some 20 seconds is reported by `unconfirmed`.

        Args:
            commands: one command line, or several that one bash runs in order; or a `JobSpec`.
            **fields: the other fields of `JobSpec`.

        Returns:
            The job, which is in the queue; ``await`` it for its result.

        Raises:
            SpecError: the description is wrong, or bash cannot read the commands; nothing was sent.
            SubmitRejected: the grid refuses the job.
            GridError: the grid could not be reached.
            SubmitUnknown: the response was lost, and nobody knows whether there is a job.
            LocalError: local mode cannot go on; or the journal of the session cannot be written, and nothing was sent.
        """
        await checkpoint()  # here, so that what follows is one step if the inputs need no upload
        self._require_open()
        return await self._submitter.submit_one(JobSpec.of(commands, fields))

    async def check(self, commands: str | Iterable[str] | JobSpec | Job, **fields: Unpack[SpecFields]) -> CheckReport:
        """Check whether a job would be accepted and could run. Submit, upload and change nothing.

        Example::

            report = await session.check("./fit", executables=["fit"], runtime_environments=["GCC-13"])
            if not report.ok:
                print(report)

        Args:
            commands: the same as for `submit`; or a `Job` in the queue: whether the grid has a resource for it.
            **fields: the other fields of `JobSpec`.

        Returns:
            All faults, warnings, and what cannot be known. If the description is wrong, the server is not asked.

        Raises:
            GridError: the grid could not be asked.
            JobNotFound: there is no such job.
        """
        self._require_open()
        if isinstance(commands, Job):
            return await commands.backend.feasibility(commands.id)
        try:
            spec = JobSpec.of(commands, fields)
        except SpecError as error:
            return CheckReport(error.faults)
        return await self._submitter.review(spec)

    async def submit_mrsl(self, path: str | os.PathLike[str]) -> Job:
        """Submit a job description written by hand.

        Args:
            path: a local file of mRSL text in UTF-8. Its INPUTFILES and OUTPUTFILES are paths in the MiG home.

        Raises:
            SpecError: the text is wrong; the faults have line numbers.
            FileNotFoundError: there is no such file.
            SubmitRejected: the grid refuses it.
        """
        try:
            text = Path(path).read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            problem = f"not UTF-8 text at byte {error.start}"
            raise SpecError([Fault("mrsl", str(path), problem, "save the file as UTF-8")]) from error
        return await self.submit(JobSpec.from_mrsl(text))

    async def submit_many(self, specs: Iterable[JobSpec | str | Iterable[str]], *, progress: bool = False) -> list[Job]:
        """Submit many jobs in as few requests as possible. Inputs that several jobs share are uploaded once.

        If this is cancelled, the jobs that were made by then are, too.

        Example::

            jobs = await session.submit_many(JobSpec(f"./fit {n}", inputs=["data.csv"]) for n in range(100))

        Args:
            specs: descriptions, or the commands of jobs that need no more.
            progress: show a progress bar on a terminal (needs rich, of the ``cli`` extra) or in a notebook.

        Returns:
            The jobs, in the order of the descriptions.

        Raises:
            SubmitErrors: some could not be submitted; ``outcomes`` has for each description the job or the error.
                If a description is wrong, none was submitted.
        """
        self._require_open()
        outcomes = await self._submitter.submit_many(specs, progress=progress)
        if any(isinstance(outcome, MigError) for outcome in outcomes):
            raise SubmitErrors(outcomes)
        return [outcome for outcome in outcomes if isinstance(outcome, Job)]

    def sweep(
        self, template: Template, parameters: Iterable[Any] | AsyncIterable[Any], **options: Unpack[SweepFields]
    ) -> Sweep:
        """Submit a job for each of any number of parameters, some at a time, and iterate over the jobs as they end.

        Example::

            async for job in session.sweep("./fit --seed $SEED", ({"SEED": n} for n in range(10_000)), in_flight=50):
                print(job.parameter, (await job.result(check=False)).exit_code)

        Args:
            template: a function that makes a `JobSpec` (or commands) of a parameter; or a `JobSpec` or commands, and
                the parameters are mappings whose names and values become environment variables.
            parameters: an iterable or async iterable of any length; taken as there is room.
            **options: see `SweepOptions`.

        Returns:
            An async iterator of `Job`, each with its ``parameter``. Leaving it early cancels what is in flight.

        Raises:
            SpecError: an option is wrong; while iterating: no parameter makes a job, or, under ``on_failure="raise"``,
                one does not.
            JobError: while iterating, under ``on_failure="raise"``: a job failed.
            SubmitRejected: while iterating, under ``on_failure="raise"``: the grid refuses a job.
            LocalError: the journal cannot be used.
        """
        self._require_open()
        return Sweep(self._submitter, template, parameters, SweepOptions(**options))

    def scope(self) -> Scope:
        """Return a block that cancels its unfinished jobs if it is left by an error; see `Scope`."""
        self._require_open()
        return Scope(self.submit, self._backend)

    async def find_submitted(self, marker: str, *, project: str | None = None) -> list[Job]:
        """Look on a grid for the job of a submit that got no response. Nothing is sent again.

        Args:
            marker: `SubmitUnknown.marker` or `Unconfirmed.marker`.
            project: the ``project`` of the job's description, ``""`` if it had none, ``None`` if you do not know: a
                server finds the job by that, else its marker is looked for among the 1000 newest jobs.

        Returns:
            The job, if it was made; the submit then counts as confirmed.

        Raises:
            GridError: the server could not be asked.
        """
        self._require_open()
        return [self.job(job_id) for job_id in await self._backend.find_by_marker(marker, project)]

    async def unconfirmed(self) -> list[Unconfirmed]:
        """Return the submits to a grid whose jobs you may not know; look for each on the server now.

        Their responses were lost (`SubmitUnknown`), they were cut off by a crash or a cancellation, or their jobs could
        not be canceled. They come from the journals of this session and of earlier ones of the same user on the same
        grid on this machine. Each is reported until `confirm` confirms it or `find_submitted` has found its job. A
        slow server may still make a job that is not there; after some minutes it will not.

        Example::

            for lost in await mig.unconfirmed():
                jobs = [mig.job(job_id) for job_id in lost.job_ids]     # go on with these, or submit again
                mig.confirm(lost)

        Returns:
            The oldest first; in local mode none.

        Raises:
            GridError: the server could not be asked; nothing is forgotten.
        """
        self._require_open()
        return list(await self._backend.unconfirmed())

    def confirm(self, *unconfirmed: Unconfirmed | str) -> None:
        """Forget submits, so that `unconfirmed` does not report them again. No requests.

        Args:
            *unconfirmed: what `unconfirmed` returned, or markers; unknown ones are ignored.
        """
        self._require_open()
        self._backend.confirm([submit if isinstance(submit, str) else submit.marker for submit in unconfirmed])

    # -- jobs

    def job(self, job_id: str) -> Job:
        """Return a handle on any job of this user, also of another process or of last week. No I/O.

        Raises:
            SpecError: the id is not text, or empty.
        """
        if not is_text(job_id):
            raise SpecError([Fault("job_id", job_id, "not a job id", "give the text of Job.id")])
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
        """Look up jobs. What is given must all be true of a job.

        A grid does not report names and labels with the states. aiomig keeps those of the jobs that were submitted
        from this account of this machine; for others it reads the descriptions, some 50 a request, and keeps them.

        Example::

            jobs = await session.jobs(name="fit-*", labels={"owner": "ada"}, state="FINISHED")

        Args:
            pattern: job ids, with ``*`` for any text and ``?`` for one character.
            name: names, likewise; jobs without a name match no pattern.
            labels: labels that the job has, maybe among others.
            state: a `JobState`, or several.
            since: an aware time; jobs that were received then or later.
            newest: give at most so many.

        Returns:
            Handles, newest first.

        Raises:
            SpecError: an argument makes no sense.
            GridError: the grid could not be asked.
        """
        self._require_open()
        wanted = JobFilter(pattern, name, labels if labels is not None else {}, states_of(state), since, newest)
        return [self.job(status.job_id) for status in await self._backend.find(wanted)]

    async def prune(self, *, older_than: timedelta, records: bool = False) -> int:
        """Remove what aiomig keeps for jobs that ended some time ago. Jobs that have not ended are never affected.

        In local mode: inputs, outputs and results in the home, and what was kept of failed attempts. On a grid: the
        inputs and outputs that aiomig put into the MiG home for jobs that were submitted from this account of this
        machine; the grid's own ``job_output`` stays (`Job.clean`). Outputs whose destination is in the home stay.

        If it is cancelled, what is left can be removed later.

        Example::

            await session.prune(older_than=timedelta(days=30), records=True)

        Args:
            older_than: how long ago the jobs must have ended, by the clock that their times are from.
            records: remove the records, too. Local mode then does not know the jobs any more; on a grid, this
                machine forgets names, labels, exit codes and keys.

        Returns:
            The number of jobs for which something was removed.

        Raises:
            SpecError: the time makes no sense.
            GridError: the grid could not be asked.
        """
        self._require_open()
        return await self._backend.prune(time_before(older_than), records=records)

    def _jobs(self, jobs: Job | str | Iterable[Job | str]) -> list[Job]:
        self._require_open()
        return as_jobs(jobs, self.job)

    def watch(self, jobs: Job | str | Iterable[Job | str]) -> Watch:
        """Iterate over the statuses of jobs (or ids) as they change; see `aiomig.watch`."""
        return Watch(self._backend, [job.id for job in self._jobs(jobs)])

    def events(self, *, buffer: int = 10_000) -> Events:
        """Iterate over the changes of all jobs of the session, own and others', from now on.

        A job that is made now is a change. Any number of readers cost the grid as much as one: while there are any,
        one task lists the jobs, and the jobs that have not ended are polled. A job of another program is reported when
        the list shows it, after `Polling.ceiling` seconds at most.

        Example::

            async for status in session.events():
                print(status.job_id, status.state)

        Args:
            buffer: how many changes are kept for a slow reader. If there are more, the reader gets `EventsLost`.

        Returns:
            An async iterator of `JobStatus`; it can be left at any time.

        Raises:
            SpecError: the buffer is not a count.
            NoSession: the session is not open.
        """
        self._require_open()
        if not is_count(buffer):
            raise SpecError([Fault("buffer", buffer, "not a positive whole number", "give a count")])
        return Events(self._backend, buffer)

    async def wait(self, jobs: Job | str | Iterable[Job | str], return_when: Literal["all", "any"] = "all") -> Waited:
        """Wait for the end of jobs (or ids); see `aiomig.wait`."""
        return await wait_for(self._jobs(jobs), return_when)

    def as_completed(self, jobs: Job | str | Iterable[Job | str]) -> Completed:
        """Iterate over jobs (or ids) as they end; see `aiomig.as_completed`."""
        return Completed(self._jobs(jobs))

    async def statuses(self, jobs: Job | str | Iterable[Job | str]) -> dict[str, JobStatus]:
        """Return the present statuses of jobs (or ids); see `aiomig.statuses`."""
        return await statuses_of(self._jobs(jobs))

    async def results(self, jobs: Job | str | Iterable[Job | str]) -> dict[str, JobResult]:
        """Wait for the end of jobs (or ids) and return their results by id, whatever their exit codes are.

        Each result is downloaded once and kept by its `Job`.

        Raises:
            JobNotFound: there is no such job.
            GridError: the grid could not be asked for too long.
        """
        return await results_of(self._jobs(jobs))

    async def cancel(self, jobs: Job | str | Iterable[Job | str]) -> dict[str, Outcome]:
        """Cancel jobs (or ids); see `aiomig.cancel`."""
        return await cancel_all(self._jobs(jobs))
