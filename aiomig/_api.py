"""The functions of the module: they act on the innermost open session of the current context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from ._collect import Completed, Waited, as_jobs, backend_of, cancel_all, statuses_of, wait_for
from ._job import Job
from ._session import current_session
from ._watch import Watch

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterable, Iterable

    from ._backend import Outcome
    from ._spec import JobSpec, SpecFields
    from ._status import JobStatus
    from ._sweep import Sweep, Template


class SweepOptions(TypedDict, total=False):
    """The options of `sweep`; see `Session.sweep`."""

    in_flight: int
    order: Literal["completion", "submission"]
    on_failure: Literal["collect", "raise"]
    retries: int
    journal: str | os.PathLike[str] | None


async def submit(commands: str | Iterable[str] | JobSpec, **fields: Unpack[SpecFields]) -> Job:
    """Submits a job in the current session; see `Session.submit`.

    Example::

        async with aiomig.connect():
            job = await submit("python3 fit.py data.csv > out.txt", inputs=["fit.py", "data.csv"], outputs=["out.txt"])
            print((await job).exit_code)

    Raises:
        NoSession: none is open.
    """
    return await current_session().submit(commands, **fields)


async def submit_mrsl(path: str | os.PathLike[str]) -> Job:
    """Submits a hand-written job description in the current session; see `Session.submit_mrsl`.

    Args:
        path: a local file of mRSL text.

    Raises:
        NoSession: none is open.
        SpecError: the text is wrong; the faults have line numbers.
    """
    return await current_session().submit_mrsl(path)


async def submit_many(specs: Iterable[JobSpec | str | Iterable[str]]) -> list[Job]:
    """Submits many jobs in the current session, in few requests; see `Session.submit_many`.

    Example::

        jobs = await submit_many(f"./fit {n}" for n in range(100))

    Args:
        specs: descriptions, or the commands of jobs that need no more.

    Returns:
        The jobs, in the order of the descriptions.

    Raises:
        NoSession: none is open.
        SubmitErrors: some could not be submitted; has the job or the error of each.
    """
    return await current_session().submit_many(specs)


def sweep(template: Template, parameters: Iterable[Any] | AsyncIterable[Any], **options: Unpack[SweepOptions]) -> Sweep:
    """Runs a job for each of any number of parameters in the current session; see `Session.sweep`.

    Example::

        async for job in sweep(lambda n: f"./fit {n}", range(10_000), in_flight=50):
            print(job.parameter, (await job.result(check=False)).exit_code)

    Raises:
        NoSession: none is open.
    """
    return current_session().sweep(template, parameters, **options)


def watch(jobs: Job | str | Iterable[Job | str]) -> Watch:
    """The statuses of one job or many: of each the present one, then each change once, in order, until it has ended.

    Example::

        async for status in watch(job):
            print(status.state, status.queued_at)

    Args:
        jobs: a job, or several of one session. Ids are looked up in the current session.

    Returns:
        An async iterator of `JobStatus`, with ``status.job_id``; it can be left at any time.

    Raises:
        NoSession: ids were given, and no session is open.
        JobNotFound: while iterating: there is no such job.
    """
    known = _known(jobs)
    return Watch(backend_of(known), [job.id for job in known]) if known else current_session().watch(())


async def wait(jobs: Job | str | Iterable[Job | str], return_when: Literal["all", "any"] = "all") -> Waited:
    """Waits for the end of jobs, whatever it is. Cancelling it, also by a timeout, does nothing to the jobs.

    Example::

        with anyio.move_on_after(60):
            done, pending = await wait(jobs, return_when="any")

    Args:
        jobs: jobs of one session. Ids are looked up in the current session.
        return_when: ``"all"``, or ``"any"`` to come back when at least one has ended.

    Returns:
        The jobs that have ended and the others.

    Raises:
        NoSession: ids were given, and no session is open.
        JobNotFound: there is no such job.
        GridError: the grid could not be asked for too long.
    """
    return await wait_for(_known(jobs), return_when)


def as_completed(jobs: Job | str | Iterable[Job | str]) -> Completed:
    """The jobs in the order in which they end.

    Example::

        async for job in as_completed(jobs):
            print(job.id, (await job.result(check=False)).exit_code)

    Args:
        jobs: jobs of one session. Ids are looked up in the current session.

    Returns:
        An async iterator of `Job`; it can be left at any time. It raises what `watch` does.
    """
    return Completed(_known(jobs))


async def statuses(jobs: Job | str | Iterable[Job | str]) -> dict[str, JobStatus]:
    """Asks for the present status of jobs, in one request.

    Args:
        jobs: jobs of one session. Ids are looked up in the current session.

    Returns:
        Status by job id, in the order given; jobs that are not known are left out.

    Raises:
        NoSession: ids were given, and no session is open.
        GridError: the grid could not be asked.
    """
    return await statuses_of(_known(jobs))


async def cancel(jobs: Job | str | Iterable[Job | str]) -> dict[str, Outcome]:
    """Cancels jobs, in one request.

    Args:
        jobs: jobs of one session. Ids are looked up in the current session.

    Returns:
        An `Outcome` by job id: whether it was canceled, and if not, why. Jobs that had ended, and ids that are not
        known, are no error here.

    Raises:
        NoSession: ids were given, and no session is open.
        GridError: the grid could not be asked.
    """
    return await cancel_all(_known(jobs))


def _known(jobs: Job | str | Iterable[Job | str]) -> list[Job]:
    given: Iterable[Job | str] = [jobs] if isinstance(jobs, (Job, str)) else jobs
    return as_jobs([current_session().job(job) if isinstance(job, str) else job for job in given])
