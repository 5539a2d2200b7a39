"""`Session`: an open grid, or this machine."""

from __future__ import annotations

import secrets
from contextvars import ContextVar
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

import anyio

from ._collect import Completed, Waited, as_jobs, cancel_all, statuses_of, wait_for
from ._errors import Fault, MigError, NoSession, SpecError, SubmitErrors, SubmitUnknown
from ._files import Files
from ._given import is_count, is_text
from ._job import Job, Work
from ._lowering import PRIVATE_FOLDER
from ._plan import again
from ._scope import Scope, entered
from ._spec import JobSpec
from ._sweep import Options, Order, Sweep
from ._uploads import Uploads
from ._watch import Watch

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterable, Iterable, Sequence
    from types import TracebackType

    from ._backend import Backend, Outcome
    from ._plan import Plan
    from ._spec import SpecFields
    from ._status import JobStatus
    from ._sweep import Template

_open_sessions: ContextVar[tuple[Session, ...]] = ContextVar("aiomig_open_sessions", default=())


def current_session() -> Session:
    """The innermost session that is open in the current context.

    Raises:
        NoSession: none is.
    """
    for session in reversed(_open_sessions.get()):
        if session.is_open:
            return session
    raise NoSession("no session is open here; open one with: async with aiomig.connect():")


class Session:
    """A grid, or this machine: made by `aiomig.grid`, `aiomig.local` or `aiomig.connect`, opened by ``async with``.

    One session may be shared by many tasks and request handlers of one event loop. It must be closed by the task that
    opened it. Everything that the jobs of a session do ends with it, but for the jobs themselves: see `aiomig.local`
    for what becomes of local ones.

    An exception raised in the block of a session comes out of it as it is.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._files = Files(backend.home)
        self._uploads = Uploads(self._files)
        self._work = Work(backend, self._files, self._resubmit)
        self._state: Literal["new", "open", "closed"] = "new"

    def __repr__(self) -> str:
        return f"<Session {self._backend.mode} {self._state}>"

    async def find_submitted(self, marker: str) -> list[Job]:
        """On a grid: looks for the jobs of a submit whose answer was lost.

        Args:
            marker: `SubmitUnknown.marker`.

        Returns:
            The job, if it was made; nothing is sent again.
        """
        self._require_open()
        return [self.job(job_id) for job_id in await self._backend.submitted_as(marker)]

    @property
    def mode(self) -> Literal["grid", "local"]:
        """``"grid"`` or ``"local"``."""
        return self._backend.mode

    @property
    def is_open(self) -> bool:
        """Whether jobs can be submitted now."""
        return self._state == "open"

    @property
    def files(self) -> Files:
        """The user's MiG home."""
        return self._files

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise MigError(f"this session is {self._state} already; make a new one")
        await self._backend.open()
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
            self._backend.board.fail(NoSession("the session was closed while something waited in it"))

    def _require_open(self) -> None:
        if self._state != "open":
            raise NoSession(f"this session is {'closed' if self._state == 'closed' else 'not open yet'}")

    # -- submitting

    async def submit(self, commands: str | Iterable[str] | JobSpec, **fields: Unpack[SpecFields]) -> Job:
        """Submits a job.

        Local inputs are carried into the MiG home first. Cancelled before the job is made, it makes none and removes
        what it carried; there is no moment at which a job exists that is not returned.

        Args:
            commands: one command line, or several, that one bash runs in order; or a `JobSpec`.
            **fields: the other fields of `JobSpec`.

        Returns:
            The job. It is queued; ``await`` it for its result.

        Raises:
            SpecError: the description is wrong; nothing was sent.
            SubmitRejected: the grid refuses it.
            GridError: the grid could not be reached.
            LocalError: local mode cannot work on.
        """
        if isinstance(commands, JobSpec):
            if fields:
                given = ", ".join(fields)
                raise SpecError(
                    [Fault("commands", commands, f"a whole JobSpec, and {given} besides", "give one of them")]
                )
            spec = commands
        else:
            spec = JobSpec(commands, **fields)
        return await self._submit(spec.plan(secrets.token_hex(12)), spec)

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

    async def _submit(self, plan: Plan, spec: JobSpec | None) -> Job:
        self._require_open()
        if plan.uploads:
            try:
                await self._uploads.carry(plan)
                job_id = await self._backend.submit(plan)
            except SubmitUnknown:
                raise  # the job may be there, and want its inputs
            except BaseException:
                await self._uploads.remove([plan])
                raise
            plan = replace(plan, uploads=())
        else:
            job_id = await self._backend.submit(plan)
        job = Job(self._work, job_id, spec=spec, plan=plan)
        entered([job])
        return job

    async def submit_many(self, specs: Iterable[JobSpec | str | Iterable[str]]) -> list[Job]:
        """Submits many jobs: inputs that several share are carried once, all in as few requests as can be.

        Cancelled in between, it cancels the jobs that were made by then.

        Args:
            specs: descriptions, or the commands of jobs that need no more.

        Returns:
            The jobs, in the order of the descriptions.

        Raises:
            SubmitErrors: some could not be submitted; ``outcomes`` has for each description the job or the error.
                Where a description is wrong, none was submitted.
        """
        self._require_open()
        orders: list[Order] = []
        outcomes: list[Job | MigError] = []
        for each in specs:
            try:
                spec = each if isinstance(each, JobSpec) else JobSpec(each)
                orders.append(Order(spec, spec.plan(secrets.token_hex(12))))
                outcomes.append(SpecError([Fault("specs", None, "not sent, for others are wrong", "mend those")]))
            except SpecError as error:
                outcomes.append(error)
        if len(orders) < len(outcomes):
            raise SubmitErrors(outcomes)
        outcomes = await self._submit_orders(orders)
        if any(isinstance(outcome, MigError) for outcome in outcomes):
            raise SubmitErrors(outcomes)
        return [outcome for outcome in outcomes if isinstance(outcome, Job)]

    async def _submit_orders(self, orders: Sequence[Order]) -> list[Job | MigError]:
        """Submits; of each the job or the error."""
        shared = await self._uploads.share([order.plan for order in orders])
        made = iter(await self._make([plan for plan in shared if not isinstance(plan, MigError)]))
        jobs: list[Job | MigError] = []
        for order, plan in zip(orders, shared, strict=True):
            if isinstance(plan, MigError):
                jobs.append(plan)
            elif isinstance(outcome := next(made), MigError):
                jobs.append(outcome)
            else:
                jobs.append(Job(self._work, outcome, spec=order.spec, plan=replace(plan, uploads=())))
        entered(job for job in jobs if isinstance(job, Job))
        return jobs

    async def _make(self, plans: Sequence[Plan]) -> list[str | MigError]:
        """Carries the inputs of jobs and makes those; what was carried for others is removed."""
        outcomes: list[str | MigError] = []
        try:
            carried = await self._carry_all(plans)
            ready = [plan for plan, error in zip(plans, carried, strict=True) if error is None]
            made = iter(await self._backend.submit_many(ready) if ready else [])
            outcomes = [next(made) if error is None else error for error in carried]
        finally:
            # Of one whose fate is not known the inputs stay: the job may be there and want them.
            failed = [plan for plan, each in zip_longest(plans, outcomes) if not isinstance(each, str | SubmitUnknown)]
            if uploaded := [plan for plan in failed if plan.uploads]:
                await self._uploads.remove(uploaded)
        return outcomes

    async def _carry_all(self, plans: Sequence[Plan]) -> list[MigError | None]:
        errors: list[MigError | None] = [None] * len(plans)

        async def carry(place: int) -> None:
            try:
                await self._uploads.carry(plans[place])
            except MigError as error:
                errors[place] = error

        async with anyio.create_task_group() as group:
            for place, plan in enumerate(plans):
                if plan.uploads:
                    group.start_soon(carry, place)
        return errors

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
        return Sweep(self._backend, self._submit_orders, self._attach, template, parameters, options)

    def _attach(self, job_id: str, spec: JobSpec) -> Job:
        job = Job(self._work, job_id, spec=spec)
        entered([job])
        return job

    def scope(self) -> Scope:
        """A block whose jobs end with it; see `Scope`."""
        self._require_open()
        return Scope(self.submit, lambda job: job.backend is self._backend)

    async def _resubmit(self, plan: Plan, spec: JobSpec | None) -> Job:
        """The same job again, in a private folder of its own."""
        marker = secrets.token_hex(12)
        new = again(plan, f"{PRIVATE_FOLDER}/{marker}", marker)
        try:
            if plan.folder is not None and await self._files.exists(f"{plan.folder}/in"):
                await self._files.copy(f"{plan.folder}/in", f"{new.folder}/in", recursive=True)
            job_id = await self._backend.submit(new)
        except BaseException:
            await self._uploads.remove([new])
            raise
        job = Job(self._work, job_id, spec=spec, plan=new)
        entered([job])
        return job

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
