"""Finds the jobs named on a command line by ids, patterns, or "last"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from .. import JobNotFound
from ._output import say
from ._settings import current

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .. import Job, Session

_F = TypeVar("_F", bound="Callable[..., Any]")

LAST = "last"


def jobs_argument(*, required: bool = True) -> Callable[[_F], _F]:
    """Return the decorator that adds the argument JOB."""
    return click.argument("names", nargs=-1, required=required, metavar="JOB..." if required else "[JOB]...")


async def jobs_named_or_unfinished(mig: Session, names: Sequence[str]) -> list[Job]:
    """Return the named jobs, see `jobs_named`. Without names, return all unfinished jobs."""
    if names:
        return await jobs_named(mig, names)
    jobs = await mig.jobs()
    statuses = await mig.statuses(jobs) if jobs else {}
    unfinished = [job for job in jobs if job.id in statuses and not statuses[job.id].state.is_final]
    current().jobs += [job.id for job in unfinished]
    if not unfinished and not current().quiet:
        say("all jobs have ended" if jobs else "there are no jobs")
    return unfinished


async def jobs_named(mig: Session, names: Sequence[str]) -> list[Job]:
    """Return the named jobs in order, each once. The matches of a pattern come newest first.

    Raises:
        JobNotFound: a pattern matches no job, or there is no last job.
    """
    jobs: dict[str, Job] = {}
    for name in names:
        if name == LAST:
            matches = await mig.jobs(newest=1)
        elif "*" in name or "?" in name:
            matches = await mig.jobs(name)
        else:
            matches = [mig.job(name)]
        if not matches:
            raise JobNotFound(name, "there is no job yet" if name == LAST else "no job id matches")
        jobs |= {job.id: job for job in matches}
    current().jobs += jobs
    return list(jobs.values())
