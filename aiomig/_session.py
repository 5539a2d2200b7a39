"""`Session`: an open grid, or this machine."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from anyio import NoEventLoopError
from anyio.lowlevel import RunVar, current_token

from ._core.errors import MigError, NoSession, SpecError
from ._core.models import CheckReport, Fault
from ._core.tasks import BackgroundContext
from ._core.validation import is_count, is_text
from ._home.files import Files
from ._home.queues import Queue
from ._jobs.job import Job
from ._jobs.scope import Scope
from ._jobs.submit import SubmitErrors
from ._jobs.sweep import Options, Sweep
from ._jobs.watch import Completed, Waited, Watch, as_jobs, cancel_all, statuses_of, wait_for
from ._spec.jobspec import JobSpec

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterable, Callable, Iterable
    from types import TracebackType

    from ._backend import Backend
    from ._core.models import JobStatus, Outcome, Site, Unconfirmed
    from ._grid.credential import Credential
    from ._jobs.sweep import Template
    from ._spec.jobspec import SpecFields

_open_sessions: ContextVar[tuple[Session, ...]] = ContextVar("aiomig_open_sessions", default=())
# Of an event loop and not of a context: cells of a notebook and request handlers have contexts of their own.
_blockless: RunVar[tuple[Session, ...]] = RunVar("aiomig_blockless", default=())


def current_session() -> Session:
    """The innermost session that is open in the current context, else the last that `Session.open` opened in this loop.

    Raises:
        NoSession: none is.
    """
    for session in (*reversed(_open_sessions.get()), *reversed(_opened_in_loop())):
        if session.is_open:
            return session
    raise NoSession("no session is open here; open one with: async with aiomig.connect():")


def _opened_in_loop() -> tuple[Session, ...]:
    try:
        return _blockless.get()
    except RuntimeError:  # there is no event loop
        return ()


class Session:
    """A grid, or this machine: made by `aiomig.grid`, `aiomig.local` or `aiomig.connect`, opened by ``async with``.

    One session may be shared by many tasks and request handlers of one event loop. Its block must be left by the task
    that entered it; `open` and `aclose` are for the rest. Everything that the jobs of a session do ends with it, but
    for the jobs themselves: see `aiomig.local` for what becomes of local ones.

    An exception raised in the block of a session comes out of it as it is.

    Example::

        async with aiomig.connect() as mig:
            job = await mig.submit("sort -n numbers", inputs=["numbers"])
            print((await job).stdout)
    """

    def __init__(self, backend: Backend, credential: Callable[[], Credential | None] = lambda: None) -> None:
        from ._jobs.submit import Submission  # only who makes a session pays for it

        self._backend = backend
        self._credential = credential
        self._files = Files(backend.home)
        self._submission = Submission(backend, self._files, self._require_open)
        self._work = self._submission.work
        self._state: Literal["new", "open", "closed"] = "new"
        self._loop: object = None
        self._background: BackgroundContext[Session] | None = None

    def __repr__(self) -> str:
        return f"<Session {self._backend.mode} {self._state}>"

    async def find_submitted(self, marker: str, *, project: str | None = None) -> list[Job]:
        """On a grid: looks for the jobs of a submit whose answer was lost.

        A server finds jobs by PROJECT alone, where the marker stands. If the user set ``project``, the marker is in
        the job's environment, and the descriptions of the jobs of that project are read; where it is given neither
        here nor in the journal of the session, those of the 1000 newest jobs.

        Args:
            marker: `SubmitUnknown.marker` or `Unconfirmed.marker`.
            project: the ``project`` of the job's description, ``""`` where it had none, ``None`` where you do not know.

        Returns:
            The job, if it was made; it counts as confirmed then. Nothing is sent again.

        Raises:
            GridError: the server could not be asked.
        """
        self._require_open()
        return [self.job(job_id) for job_id in await self._backend.find_by_marker(marker, project)]

    async def unconfirmed(self) -> list[Unconfirmed]:
        """On a grid: what was submitted and has no known outcome, each looked for on the server now.

        These are submits whose answer was lost (`SubmitUnknown`), or that were cut off: the program was killed, the
        machine stopped, the task was cancelled while the server did not answer. They are known from the journal of
        the session, and so from those of earlier sessions of the same user on the same grid on this machine. A
        journal is taken over by one session; those that are open keep their own.

        Each is reported until it is confirmed: by `confirm`, or because `find_submitted` has found its job. One whose
        job does not show may still be made by a server that is slow to answer; after some minutes it will not be.

        Example::

            for lost in await mig.unconfirmed():
                jobs = [mig.job(job_id) for job_id in lost.job_ids]     # go on with these, or submit again
                mig.confirm(lost)

        Returns:
            The oldest first; in local mode none, for a job is in its records at once, or never.

        Raises:
            GridError: the server could not be asked; nothing is forgotten.
        """
        self._require_open()
        return list(await self._backend.unconfirmed())

    def confirm(self, *unconfirmed: Unconfirmed | str) -> None:
        """Takes submits for settled, so that `unconfirmed` does not report them again. No requests.

        Args:
            *unconfirmed: what `unconfirmed` gave, or markers; those that nobody knows are ignored.
        """
        self._require_open()
        self._backend.confirm([each if isinstance(each, str) else each.marker for each in unconfirmed])

    @property
    def check_commands(self) -> bool:
        """Whether bash, where this machine has one, is shown the commands of a job before that is submitted.

        Set it to False where you know better. Nothing is run, plain commands need no process, and what was good once is
        not looked at again.
        """
        return self._submission.check_commands

    @check_commands.setter
    def check_commands(self, value: bool) -> None:
        self._submission.check_commands = value

    @property
    def mode(self) -> Literal["grid", "local"]:
        """``"grid"`` or ``"local"``."""
        return self._backend.mode

    @property
    def credential(self) -> Credential | None:
        """The certificate by which the grid knows us; a renewed one once that is used.

        ``None`` in local mode, before the session is opened and after it was closed, and where a ``transport`` for
        tests stands in for the network.
        """
        return self._credential()

    @property
    def is_open(self) -> bool:
        """Whether jobs can be submitted now."""
        return self._state == "open"

    @property
    def files(self) -> Files:
        """The user's MiG home."""
        return self._files

    def queue(self, name: str = "default") -> Queue:
        """A message queue of the user, with no I/O: there need not be one of this name yet. See `Queue`.

        Args:
            name: 1 to 255 ASCII letters and digits.

        Raises:
            SpecError: MiG takes no such name.
        """
        return Queue(self._backend.queues, name)

    async def queues(self) -> list[Queue]:
        """The message queues that there are, sorted by name.

        Raises:
            GridError: the grid could not be asked.
        """
        self._require_open()
        return [self.queue(name) for name in await self._backend.queues.names()]

    async def site(self) -> Site:
        """What the grid says of itself: the documentation of mRSL, architectures, runtime environments. See `Site`.

        In local mode: what that makes of the keywords, and what `aiomig.local` was told that there is.

        Raises:
            GridError: the grid could not be asked, or does not say.
        """
        self._require_open()
        return await self._backend.site()

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise MigError(f"this session is {self._state} already; make a new one")
        await self._backend.open()
        self._loop = current_token()
        self._state = "open"
        _open_sessions.set((*_open_sessions.get(), self))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _open_sessions.set(tuple(session for session in _open_sessions.get() if session is not self))
        try:
            await self._backend.close(error)
        finally:
            self._state = "closed"
            self._backend.subscriptions.fail(NoSession("the session was closed while something waited in it"))

    async def open(self) -> Self:
        """Opens the session where there is no block to open it with, such as from one cell of a notebook to others.

        ::

            mig = await aiomig.local().open()
            job = await mig.submit("echo hello")
            await mig.aclose()

        Any task may close it. If it is still open when the event loop ends, it is left as by cancellation.

        Returns:
            The session. Until it is closed it is the current one of the event loop, where no block has another.

        Raises:
            MigError: it was opened before; and what `aiomig.grid` and `aiomig.local` say.
        """
        background: BackgroundContext[Session] = BackgroundContext(self)
        await background.open()
        self._background = background
        _blockless.set((*_blockless.get(), self))
        return self

    async def aclose(self) -> None:
        """Closes what `open` opened, as leaving a block normally does. A session that is closed already stays so.

        Cancelled while a local session waits for its jobs, it cancels these and closes.

        Raises:
            MigError: the session is open by ``async with``, whose block is to be left.
        """
        background, self._background = self._background, None
        if background is not None:
            _blockless.set(tuple(session for session in _blockless.get() if session is not self))
            await background.close()
        elif self._state == "open":
            raise MigError("this session was opened by async with: leave its block to close it")

    def _require_open(self) -> None:
        if self._state != "open":
            raise NoSession(f"this session is {'closed' if self._state == 'closed' else 'not open yet'}")
        try:
            here = current_token()
        except NoEventLoopError:
            return
        if here != self._loop:  # it would wait for ever for what happens in the other
            raise NoSession("this session was opened in another event loop; open one in this loop")

    # -- submitting

    async def submit(self, commands: str | Iterable[str] | JobSpec, **fields: Unpack[SpecFields]) -> Job:
        """Submits a job.

        Local inputs are carried into the MiG home first. Cancelled, it leaves no job and removes what it carried: it
        ends when it is known whether a grid made the job, which then is canceled, or after some 20 seconds. What is
        not known by then, or was cut off by a crash, `unconfirmed` finds out.

        Args:
            commands: one command line, or several, that one bash runs in order; or a `JobSpec`.
            **fields: the other fields of `JobSpec`.

        Returns:
            The job. It is queued; ``await`` it for its result.

        Raises:
            SpecError: the description is wrong, or bash cannot read the commands; nothing was sent.
            SubmitRejected: the grid refuses it.
            GridError: the grid could not be reached.
            SubmitUnknown: the answer was lost, and it could not be found out whether there is a job.
            LocalError: local mode cannot work on; or the journal of the session cannot be written, and nothing was
                sent.
        """
        spec = _spec_of(commands, fields)
        self._require_open()
        return await self._submission.one(spec)

    async def check(self, commands: str | Iterable[str] | JobSpec | Job, **fields: Unpack[SpecFields]) -> CheckReport:
        """Finds out whether a job would be taken and could run. Nothing is submitted, carried or changed.

        Example::

            report = await session.check("./fit", executables=["fit"], runtime_environments=["GCC-13"])
            if not report.ok:
                print(report)

        Before there is a job, a grid tells the values of ARCHITECTURE and JOBTYPE that it takes and its runtime
        environments, and no more. Whether it has a resource for a job that waits, it tells of that `Job`.

        Args:
            commands: the same as for `submit`; or a job that waits in the queue.
            **fields: the other fields of `JobSpec`.

        Returns:
            All that is wrong, what may come to grief, and what cannot be known. Where the description itself is wrong,
            the server is not asked.

        Raises:
            GridError: the grid could not be asked.
            JobNotFound: there is no such job.
        """
        self._require_open()
        if isinstance(commands, Job):
            return await commands.backend.feasibility(commands.id)
        try:
            spec = _spec_of(commands, fields)
        except SpecError as error:
            return CheckReport(error.faults)
        return await self._submission.review(spec)

    async def submit_mrsl(self, path: str | os.PathLike[str]) -> Job:
        """Submits a job description written by hand.

        Args:
            path: a local file of mRSL text in UTF-8. Its INPUTFILES lie in the MiG home, its OUTPUTFILES go there.

        Raises:
            SpecError: the text is wrong; the faults have line numbers.
            FileNotFoundError: there is no such file.
            SubmitRejected: the grid refuses it.
        """
        data = Path(path).read_bytes()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise SpecError(
                [Fault("mrsl", str(path), f"not UTF-8 text at byte {error.start}", "save the file as UTF-8")]
            ) from error
        return await self.submit(JobSpec.from_mrsl(text))

    async def submit_many(self, specs: Iterable[JobSpec | str | Iterable[str]]) -> list[Job]:
        """Submits many jobs: inputs that several share are carried once, all in as few requests as can be.

        Cancelled in between, it cancels the jobs that were made by then.

        Example::

            jobs = await session.submit_many(JobSpec(f"./fit {n}", inputs=["data.csv"]) for n in range(100))

        Args:
            specs: descriptions, or the commands of jobs that need no more.

        Returns:
            The jobs, in the order of the descriptions.

        Raises:
            SubmitErrors: some could not be submitted; ``outcomes`` has for each description the job or the error.
                Where a description is wrong, none was submitted.
        """
        self._require_open()
        outcomes = await self._submission.many(specs)
        if any(isinstance(outcome, MigError) for outcome in outcomes):
            raise SubmitErrors(outcomes)
        return [outcome for outcome in outcomes if isinstance(outcome, Job)]

    def sweep(
        self,
        template: Template,
        parameters: Iterable[Any] | AsyncIterable[Any],
        *,
        in_flight: int = 100,
        order: Literal["completion", "submission"] = "completion",
        on_failure: Literal["collect", "raise"] = "collect",
        retries: int = 0,
        journal: str | os.PathLike[str] | None = None,
    ) -> Sweep:
        """Submits a job for each of any number of parameters, some at a time, and gives the jobs as they end.

        Example::

            async for job in session.sweep("./fit --seed $SEED", ({"SEED": n} for n in range(10_000)), in_flight=50):
                print(job.parameter, (await job.result(check=False)).exit_code)

        Args:
            template: a function that makes a `JobSpec` (or commands) of a parameter; or a `JobSpec` or commands, and
                the parameters are mappings whose names and values become environment variables.
            parameters: an iterable or async iterable of any length; taken as there is room.
            in_flight: how many jobs are submitted and have not ended, at most.
            order: give the jobs as they end, or in the order of the parameters; then one that ended early counts
                as in flight until its turn.
            on_failure: give jobs that failed like others, or raise their error and cancel the rest.
            retries: submit a job that failed so many times more, before it counts as failed.
            journal: a file to which each step is appended. The same call after a crash goes on where that was:
                nothing is submitted that was submitted, and what ended meanwhile is given. A job counts as given
                when the next one is asked for. Where the grid cannot be reached any more, what is in flight is left
                to the next call; what was refused, canceled with the sweep, or raised is submitted anew by that.

        Returns:
            An async iterator of `Job`, each with its ``parameter``. Leaving it early cancels what is in flight.

        Raises:
            SpecError: an option is wrong; while iterating: a job's description is.
            JobError: while iterating, under ``on_failure="raise"``: a job failed.
            SubmitRejected: while iterating, under ``on_failure="raise"``: the grid refuses a job.
            LocalError: the journal cannot be used.
        """
        self._require_open()
        options = Options(in_flight, order, on_failure, retries, journal).checked()
        return Sweep(self._backend, self._submission.good, self._submission.attach, template, parameters, options)

    def scope(self) -> Scope:
        """A block whose jobs end with it; see `Scope`."""
        self._require_open()
        return Scope(self.submit, lambda job: job.backend is self._backend)

    # -- jobs

    def job(self, job_id: str) -> Job:
        """A handle on any job of this user, with no I/O: also of another process, or of last week.

        Raises:
            SpecError: the id is not text, or empty.
        """
        if not is_text(job_id):
            raise SpecError([Fault("job_id", job_id, "not a job id", "give the text of Job.id")])
        return Job(self._work, job_id.strip())

    async def jobs(self, pattern: str = "*", *, newest: int | None = None) -> list[Job]:
        """Looks up jobs.

        Args:
            pattern: job ids, with ``*`` for any text and ``?`` for one character.
            newest: give at most so many.

        Returns:
            Handles, newest first.
        """
        self._require_open()
        if newest is not None and not is_count(newest):
            raise SpecError([Fault("newest", newest, "not a positive whole number", "give a count, or None")])
        return [self.job(status.job_id) for status in await self._backend.find(pattern, newest)]

    def _jobs(self, jobs: Job | str | Iterable[Job | str]) -> list[Job]:
        given: Iterable[Job | str] = [jobs] if isinstance(jobs, (Job, str)) else jobs
        return as_jobs([self.job(job) if isinstance(job, str) else job for job in given])

    def watch(self, jobs: Job | str | Iterable[Job | str]) -> Watch:
        """The statuses of jobs as they change; see `aiomig.watch`. Takes ids as well as jobs."""
        self._require_open()
        return Watch(self._backend, [job.id for job in self._jobs(jobs)])

    async def wait(self, jobs: Job | str | Iterable[Job | str], return_when: Literal["all", "any"] = "all") -> Waited:
        """Waits for the end of jobs; see `aiomig.wait`. Takes ids as well as jobs."""
        self._require_open()
        return await wait_for(self._jobs(jobs), return_when)

    def as_completed(self, jobs: Job | str | Iterable[Job | str]) -> Completed:
        """The jobs as they end; see `aiomig.as_completed`. Takes ids as well as jobs."""
        self._require_open()
        return Completed(self._jobs(jobs))

    async def statuses(self, jobs: Job | str | Iterable[Job | str]) -> dict[str, JobStatus]:
        """What is known of jobs now; see `aiomig.statuses`. Takes ids as well as jobs."""
        self._require_open()
        return await statuses_of(self._jobs(jobs))

    async def cancel(self, jobs: Job | str | Iterable[Job | str]) -> dict[str, Outcome]:
        """Cancels jobs; see `aiomig.cancel`. Takes ids as well as jobs."""
        self._require_open()
        return await cancel_all(self._jobs(jobs))


def _spec_of(commands: str | Iterable[str] | JobSpec, fields: SpecFields) -> JobSpec:
    if not isinstance(commands, JobSpec):
        return JobSpec(commands, **fields)
    if fields:
        given = ", ".join(fields)
        raise SpecError([Fault("commands", commands, f"a whole JobSpec, and {given} besides", "give one of them")])
    return commands
