"""Iterators over the statuses of jobs, for `watch`, `wait` and `as_completed`.

They are objects and not generators: one that is dropped in the middle of a loop is gone at once, with its
subscription, on asyncio and on trio, and nothing needs to be closed.

Waiting for many jobs at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Self

import anyio.lowlevel

from .._core.display import html_rows
from .._core.errors import JobNotFound, MigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from .._backend import Backend
    from .._core.models import JobStatus, Outcome
    from .job import Job

_TURNS = 100
"""After so many statuses a loop gives way to other tasks, however many more there are."""


class Watch:
    """The statuses of some jobs: of each the present one, then each change once and in order, up to a final one.

    Made by `aiomig.watch`. The loop ends when every job has ended. A slow loop gets the latest status of a job
    and not all between. Leaving the loop, cancelling it, or dropping the object leaves nothing behind; `__anext__`
    may be cancelled and called again, and loses nothing.

    Raises, while it is iterated:
        JobNotFound: there is no such job.
        GridError: the grid could not be asked for too long.
        LocalError: local mode had to stop.
    """

    def __init__(self, backend: Backend, job_ids: Iterable[str]) -> None:
        self._backend = backend
        self._subscription = backend.subscriptions.subscribe()
        self._unread: list[str] = []
        self._turns = 0
        self._add(job_ids)

    def _add(self, job_ids: Iterable[str]) -> None:
        self._unread += self._subscription.add(*job_ids)

    def add(self, *jobs: object) -> None:
        """Adds jobs (or ids) to a running watch."""
        self._add(str(getattr(job, "id", job)) for job in jobs)

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> JobStatus:
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
        """All that can be had now, without waiting."""
        found: list[JobStatus] = []
        while (status := self._subscription.ready()) is not None:
            found.append(status)
        return found

    async def _read(self) -> None:
        """Takes what is known of the jobs that are new here. A change that came meanwhile is newer, and stays."""
        unread = list(self._unread)
        try:
            present = await self._backend.present(unread)
        except JobNotFound as error:
            # Told once: the others can be watched on.
            self._unread = [job_id for job_id in self._unread if job_id != error.job_id]
            self._subscription.discard(error.job_id)
            raise
        done = set(unread)
        self._unread = [job_id for job_id in self._unread if job_id not in done]
        for status in present.values():
            self._subscription.offer_first(status)

    def close(self) -> None:
        """Ends the watch, also for a task that waits in it; not needed, but allowed."""
        self._subscription.close()
        self._unread.clear()

    async def aclose(self) -> None:
        """As `close`."""
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


async def final_status(backend: Backend, job_id: str) -> JobStatus:
    """Waits for the end of one job. Cancelling it does nothing to the job."""
    watch = Watch(backend, [job_id])
    try:
        while not (status := await anext(watch)).state.is_final:
            pass
    finally:
        watch.close()  # not with the traceback of an error that someone keeps
    return status


class Waited(NamedTuple):
    """What `wait` gives.

    Attributes:
        done: the jobs that have ended, in the order in which they were given.
        pending: the others, likewise.
    """

    done: list[Job]
    pending: list[Job]

    def _repr_html_(self) -> str:
        return f"<div>done</div>{html_rows(self.done)}<div>pending</div>{html_rows(self.pending)}"


def as_jobs(jobs: Job | Iterable[Job]) -> list[Job]:
    """One job or several, as a list without doubles."""
    given = [jobs] if hasattr(jobs, "id") else list(jobs)
    return list(dict.fromkeys(given))  # type: ignore[arg-type]


def backend_of(jobs: Sequence[Job]) -> Backend:
    """The one mode that all these jobs belong to.

    Raises:
        MigError: they belong to several sessions.
    """
    backends = {id(job.backend): job.backend for job in jobs}
    if len(backends) > 1:
        raise MigError("these jobs belong to several sessions; wait for those of each session apart")
    return jobs[0].backend


class Completed:
    """The jobs of a set as they end. Made by `aiomig.as_completed`; the same promises as `Watch`."""

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
        """Ends it; not needed, but allowed."""
        if self._watch is not None:
            self._watch.close()

    def ready(self) -> list[Job]:
        """The jobs that are known to have ended and were not given yet."""
        found = self._watch.ready() if self._watch is not None else []
        return [self._jobs[status.job_id] for status in found if status.state.is_final]


async def wait_for(jobs: Sequence[Job], return_when: Literal["all", "any"]) -> Waited:
    """See `aiomig.wait`."""
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


async def statuses_of(jobs: Sequence[Job]) -> dict[str, JobStatus]:
    """See `aiomig.statuses`."""
    return dict(await backend_of(jobs).statuses([job.id for job in jobs])) if jobs else {}


async def cancel_all(jobs: Sequence[Job]) -> dict[str, Outcome]:
    """See `aiomig.cancel`."""
    return dict(await backend_of(jobs).act("cancel", [job.id for job in jobs])) if jobs else {}
