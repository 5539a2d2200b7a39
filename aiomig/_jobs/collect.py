"""Functions for many jobs at once: `as_completed`, `wait`, `statuses`, `cancel` and `Session.results`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

from .._core.display import html_rows
from .._core.errors import MigError, SpecError
from .._core.models import Fault
from .._core.tasks import run_all
from .._core.validation import spent_fault
from .job import Job
from .watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._backend import Backend
    from .._core.models import JobResult, JobStatus, Outcome


_LOADED_AT_ONCE = 8
"""Number of results that are downloaded at the same time."""


def as_jobs(jobs: Job | str | Iterable[Job | str], by_id: Callable[[str], Job]) -> list[Job]:
    """Return one or more jobs, given as jobs or ids, as a list without duplicates.

    Raises:
        SpecError: a value is neither a job nor an id.
    """
    if isinstance(jobs, str | Job):
        jobs = [jobs]
    if not isinstance(jobs, Iterable):
        raise _not_jobs(jobs)
    if fault := spent_fault("jobs", jobs):
        raise SpecError([fault])
    return list(dict.fromkeys(job if isinstance(job, Job) else _job_of(job, by_id) for job in jobs))


def _job_of(job_id: object, by_id: Callable[[str], Job]) -> Job:
    if not isinstance(job_id, str):
        raise _not_jobs(job_id)
    return by_id(job_id)


def _not_jobs(value: object) -> SpecError:
    return SpecError([Fault("jobs", value, "neither a job nor a job id", "give a Job, its id as a string, or several")])


def backend_of(jobs: Sequence[Job]) -> Backend:
    """Return the common backend of jobs.

    Raises:
        MigError: the jobs belong to several sessions.
    """
    backend = jobs[0].backend
    backend.tasks.ensure_own_loop()
    if any(job.backend is not backend for job in jobs):
        raise MigError("these jobs belong to several sessions; pass the jobs of one session at a time")
    return backend


class Completed:
    """Async iterator of jobs as they end. Made by `aiomig.as_completed`; can be left and cancelled like a `Watch`."""

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
        """End the iteration. Optional."""
        if self._watch is not None:
            self._watch.close()

    def ready(self) -> list[Job]:
        """Return the jobs that are already known to have ended and have not been yielded, without waiting."""
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
    """Wait until jobs end and return their results; see `Session.results`."""
    results: dict[str, JobResult] = {}

    async def load(job: Job) -> None:
        results[job.id] = await job.result(check=False)

    await wait_for(jobs, "all")
    await run_all(load, jobs, at_once=_LOADED_AT_ONCE)
    return {job.id: results[job.id] for job in jobs}


async def statuses_of(jobs: Sequence[Job]) -> dict[str, JobStatus]:
    """Return the current statuses of jobs; see `aiomig.statuses`."""
    return dict(await backend_of(jobs).statuses([job.id for job in jobs])) if jobs else {}


async def cancel_all(jobs: Sequence[Job]) -> dict[str, Outcome]:
    """Cancel jobs; see `aiomig.cancel`."""
    return dict(await backend_of(jobs).act("cancel", [job.id for job in jobs])) if jobs else {}
