"""Waiting for jobs: `watch`, `as_completed`, `wait`, `statuses` and `cancel`.

The iterators are objects and not generators: one that is dropped in the middle of a loop ends its subscription at
once, on asyncio and on trio, and nothing needs to be closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Self

import anyio.lowlevel

from .._core.display import html_rows
from .._core.errors import JobNotFound, MigError
from .._core.models import JobState
from .._core.tasks import run_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from .._backend import Backend
    from .._core.models import JobResult, JobStatus, Outcome
    from .job import Job

_TURNS = 100
"""Number of statuses after which a loop lets other tasks run."""


_LOADED_AT_ONCE = 8
"""Number of results that are downloaded at the same time."""


class Watch:
    """Async iterator of the statuses of jobs: for each job the present one, then each change once, until it has ended.

    Made by `aiomig.watch`. A slow loop gets the latest status of a job and not all those between. Leaving the loop,
    cancelling it, or dropping the object leaves nothing behind; `__anext__` may be cancelled and called again, and
    loses nothing.

    Raises, while it is iterated:
        JobNotFound: there is no such job.
        GridError: the grid could not be asked for too long.
        LocalError: local mode had to stop.
    """

    def __init__(self, backend: Backend, job_ids: Iterable[str]) -> None:
        backend.tasks.ensure_own_loop()
        self._backend = backend
        self._subscription = backend.subscriptions.subscribe()
        self._unread: list[str] = []
        self._turns = 0
        self._add(job_ids)

    def _add(self, job_ids: Iterable[str]) -> None:
        self._unread += self._subscription.add(*job_ids)

    def add(self, *jobs: object) -> None:
        """Add jobs (or ids) to a running watch."""
        self._add(str(getattr(job, "id", job)) for job in jobs)

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> JobStatus:
        self._backend.tasks.ensure_own_loop()
        status: JobStatus | None = None
        while status is None:
            if self._unread:
                await self._read()
            self._turns += 1
            if self._turns % _TURNS == 0:
                await anyio.lowlevel.checkpoint()
            status = await self._subscription.next()
        return status

    def ready(self) -> list[JobStatus]:
        """Return all statuses that are there now, without waiting."""
        return list(iter(self._subscription.ready, None))

    async def _read(self) -> None:
        """Read the present statuses of new jobs. A change that was published meanwhile is newer, and stays."""
        unread = list(self._unread)
        try:
            present = await self._backend.present(unread)
        except JobNotFound as error:
            # Raised once: the others can still be watched.
            self._unread = [job_id for job_id in self._unread if job_id != error.job_id]
            self._subscription.discard(error.job_id)
            raise
        done = set(unread)
        self._unread = [job_id for job_id in self._unread if job_id not in done]
        for status in present.values():
            self._subscription.offer_first(status)

    def close(self) -> None:
        """End the watch, also for a task that waits in it; allowed, but not needed."""
        self._subscription.close()
        self._unread.clear()

    async def aclose(self) -> None:
        """End the watch; see `close`."""
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


_RANKS = {JobState.PARSE: 0, JobState.QUEUED: 1, JobState.FROZEN: 2, JobState.EXECUTING: 3, JobState.RETRY: 3}


def _rank(state: JobState) -> int:
    """Return how far a job has come in a state, as a number."""
    return 4 if state.is_final else _RANKS.get(state, -1)


async def reached_status(backend: Backend, job_id: str, until: JobState) -> JobStatus:
    """Wait until a job has reached a state, or a later one. Cancelling this does nothing to the job."""
    watch = Watch(backend, [job_id])
    try:
        status = await anext(watch)
        # Back in the queue after a failed attempt, it has been EXECUTING.
        while max(_rank(status.state), 3 if status.attempts else -1) < _rank(until):
            status = await anext(watch)
    finally:
        watch.close()  # the traceback of an error may keep the object alive
    return status


def as_jobs(jobs: Job | str | Iterable[Job | str], by_id: Callable[[str], Job]) -> list[Job]:
    """Return one job or several, given as jobs or ids, as a list without duplicates."""
    is_one = isinstance(jobs, str) or hasattr(jobs, "id")
    items: Iterable[Job | str] = [jobs] if is_one else jobs  # type: ignore[list-item,assignment]
    return list(dict.fromkeys(by_id(job) if isinstance(job, str) else job for job in items))


def backend_of(jobs: Sequence[Job]) -> Backend:
    """Return the backend of jobs.

    Raises:
        MigError: they belong to several sessions.
    """
    backend = jobs[0].backend
    backend.tasks.ensure_own_loop()
    if any(job.backend is not backend for job in jobs):
        raise MigError("these jobs belong to several sessions; wait for those of each session apart")
    return backend


class Completed:
    """Async iterator of jobs as they end. Made by `aiomig.as_completed`; see `Watch` for leaving and cancelling it."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = {job.id: job for job in jobs}
        self._watch = Watch(backend_of(jobs), self._jobs) if jobs else None

    def __aiter__(self) -> Completed:
        return self

    async def __anext__(self) -> Job:
        if self._watch is None:
            raise StopAsyncIteration
        while True:
            status = await self._watch.__anext__()
            if status.state.is_final:
                return self._jobs[status.job_id]

    def close(self) -> None:
        """End it; allowed, but not needed."""
        if self._watch is not None:
            self._watch.close()

    def ready(self) -> list[Job]:
        """Return the jobs that are known to have ended and were not yielded yet."""
        statuses = self._watch.ready() if self._watch is not None else []
        return [self._jobs[status.job_id] for status in statuses if status.state.is_final]


class Waited(NamedTuple):
    """Result of `wait`.

    Attributes:
        done: the jobs that have ended, in the order of the arguments.
        pending: the other jobs, in the same order.
    """

    done: list[Job]
    pending: list[Job]

    def _repr_html_(self) -> str:
        return f"<div>done</div>{html_rows(self.done)}<div>pending</div>{html_rows(self.pending)}"


async def wait_for(jobs: Sequence[Job], return_when: Literal["all", "any"]) -> Waited:
    """Wait for jobs; see `aiomig.wait`."""
    if return_when not in ("all", "any"):
        raise ValueError(f"return_when={return_when!r}: use 'all' or 'any'")
    done: set[str] = set()
    completed = Completed(jobs)
    try:
        async for job in completed:
            done.add(job.id)
            if return_when == "any":
                done |= {other.id for other in completed.ready()}
                break
    finally:
        completed.close()
    return Waited([job for job in jobs if job.id in done], [job for job in jobs if job.id not in done])


async def results_of(jobs: Sequence[Job]) -> dict[str, JobResult]:
    """Wait for jobs and return their results; see `Session.results`."""
    results: dict[str, JobResult] = {}

    async def load(job: Job) -> None:
        results[job.id] = await job.result(check=False)

    await wait_for(jobs, "all")
    await run_all(load, jobs, at_once=_LOADED_AT_ONCE)
    return {job.id: results[job.id] for job in jobs}


async def statuses_of(jobs: Sequence[Job]) -> dict[str, JobStatus]:
    """Ask for the statuses of jobs; see `aiomig.statuses`."""
    return dict(await backend_of(jobs).statuses([job.id for job in jobs])) if jobs else {}


async def cancel_all(jobs: Sequence[Job]) -> dict[str, Outcome]:
    """Cancel jobs; see `aiomig.cancel`."""
    return dict(await backend_of(jobs).act("cancel", [job.id for job in jobs])) if jobs else {}
