"""Which jobs are meant: ids, patterns, or the last one."""

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
    """The argument that names jobs."""
    return click.argument("names", nargs=-1, required=required, metavar="JOB..." if required else "[JOB]...")


async def chosen_or_unfinished(mig: Session, names: Sequence[str]) -> list[Job]:
    """The jobs that are meant, as `chosen`; without any name all that have not ended."""
    if names:
        return await chosen(mig, names)
    jobs = await mig.jobs()
    statuses = await mig.statuses(jobs) if jobs else {}
    unfinished = [job for job in jobs if job.id in statuses and not statuses[job.id].state.is_final]
    current().jobs += [job.id for job in unfinished]
    if not unfinished and not current().quiet:
        say("there is no job that has not ended")
    return unfinished


async def chosen(mig: Session, names: Sequence[str]) -> list[Job]:
    """The jobs that are meant: each once, in order; of patterns the newest first.

    Raises:
        JobNotFound: a pattern matches nothing, or there is no last job.
    """
    jobs: dict[str, Job] = {}
    for name in names:
        if name == LAST:
            found = await mig.jobs(newest=1)
        elif "*" in name or "?" in name:
            found = await mig.jobs(name)
        else:
            found = [mig.job(name)]
        if not found:
            raise JobNotFound(name, "there is no job yet" if name == LAST else "no job's id matches")
        jobs |= {job.id: job for job in found}
    current().jobs += jobs
    return list(jobs.values())
