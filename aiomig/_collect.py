"""Waiting for many jobs at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from ._errors import MigError
from ._html import Listing, Mapped, of
from ._watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ._backend import Backend, Outcome
    from ._job import Job
    from ._status import JobStatus


class Waited(NamedTuple):
    """What `wait` gives.

    Attributes:
        done: the jobs that have ended, in the order in which they were given.
        pending: the others, likewise.
    """

    done: list[Job]
    pending: list[Job]

    def _repr_html_(self) -> str:
        return f"<div>done</div>{of(self.done)}<div>pending</div>{of(self.pending)}"


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
    return Waited(Listing(job for job in jobs if job.id in done), Listing(job for job in jobs if job.id not in done))


async def statuses_of(jobs: Sequence[Job]) -> dict[str, JobStatus]:
    """See `aiomig.statuses`."""
    return Mapped(await backend_of(jobs).statuses([job.id for job in jobs])) if jobs else Mapped()


async def cancel_all(jobs: Sequence[Job]) -> dict[str, Outcome]:
    """See `aiomig.cancel`."""
    return dict(await backend_of(jobs).act("cancel", [job.id for job in jobs])) if jobs else {}
