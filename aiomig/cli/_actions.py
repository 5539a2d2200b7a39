"""Commands that act on jobs: ``cancel``, ``freeze``, ``thaw``, ``resubmit``, ``clean``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .. import ActionRefused, JobNotFound
from ._app import Command
from ._choosing import chosen, jobs_argument
from ._exit_codes import ExitCode
from ._output import say, write, write_json
from ._running import with_session
from ._settings import current, shared_options

if TYPE_CHECKING:
    from .. import Outcome, Session


@click.command(cls=Command)
@jobs_argument()
@shared_options
@with_session
async def cancel(mig: Session, /, *, names: tuple[str, ...]) -> None:
    """Cancel jobs. JOB is an id, a pattern, or "last". One that has ended stays as it is, and that is no error."""
    outcomes = await mig.cancel(await chosen(mig, names))
    for outcome in outcomes.values():
        _tell(outcome)
    for job_id, outcome in outcomes.items():
        if outcome.before is None:
            raise JobNotFound(job_id)


@click.command(cls=Command)
@jobs_argument()
@shared_options
@with_session
async def freeze(mig: Session, /, *, names: tuple[str, ...]) -> int:
    """Hold jobs back that wait in the queue. JOB is an id, a pattern, or "last". aiomig thaw lets them go on."""
    return await _each(mig, "freeze", names)


@click.command(cls=Command)
@jobs_argument()
@shared_options
@with_session
async def thaw(mig: Session, /, *, names: tuple[str, ...]) -> int:
    """Put frozen jobs back into the queue. JOB is an id, a pattern, or "last"."""
    return await _each(mig, "thaw", names)


async def _each(mig: Session, action: str, names: tuple[str, ...]) -> int:
    code = ExitCode.WELL
    for job in await chosen(mig, names):
        try:
            _tell(await (job.freeze() if action == "freeze" else job.thaw()))
        except ActionRefused as error:
            _tell(error.outcome)
            code = ExitCode.NOT_WELL
    return code


def _tell(outcome: Outcome) -> None:
    if current().json:
        write_json(outcome)
    elif outcome.after is not None:
        write(f"{outcome.job_id}  {outcome.before} -> {outcome.after}")
    elif outcome.before is not None:
        say(f"{outcome.job_id} stays {outcome.before}: {outcome.message}")


@click.command(cls=Command)
@jobs_argument()
@shared_options
@with_session
async def resubmit(mig: Session, /, *, names: tuple[str, ...]) -> None:
    """Submit jobs again, as new ones with outputs of their own; prints the new ids. See aiomig submit."""
    for job in await chosen(mig, names):
        new = await job.resubmit()
        if current().json:
            write_json({"job_id": new.id, "of": job.id})
        else:
            write(new.id)


@click.command(cls=Command)
@jobs_argument()
@click.option("--results", is_flag=True, help="Remove output and exit codes, too.")
@shared_options
@with_session
async def clean(mig: Session, /, *, names: tuple[str, ...], results: bool) -> None:
    """Remove what aiomig keeps in the MiG home for jobs: their inputs and outputs. JOB: an id, a pattern, or "last"."""
    for job in await chosen(mig, names):
        await job.clean(results=results)
