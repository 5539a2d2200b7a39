"""Commands that act on jobs: ``cancel``, ``freeze``, ``thaw``, ``resubmit``, ``clean``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from .. import ActionRefused, JobNotFound
from ._choosing import jobs_argument, jobs_named
from ._command import command
from ._describing import parse_duration
from ._exit_codes import ExitCode
from ._output import say, write, write_json
from ._settings import current

if TYPE_CHECKING:
    from .. import Outcome, Session


@command("cancel")
@jobs_argument()
async def cancel(mig: Session, /, *, names: tuple[str, ...]) -> None:
    """Cancel jobs. JOB is an id, a pattern, or "last". Jobs that have already ended are left unchanged."""
    outcomes = await mig.cancel(await jobs_named(mig, names))
    for outcome in outcomes.values():
        _report(outcome)
    for job_id, outcome in outcomes.items():
        if outcome.before is None:
            raise JobNotFound(job_id)


@command("freeze")
@jobs_argument()
async def freeze(mig: Session, /, *, names: tuple[str, ...]) -> int:
    """Hold back waiting jobs until aiomig thaw. JOB is an id, a pattern, or "last"."""
    return await _act(mig, "freeze", names)


@command("thaw")
@jobs_argument()
async def thaw(mig: Session, /, *, names: tuple[str, ...]) -> int:
    """Put frozen jobs back into the queue. JOB is an id, a pattern, or "last"."""
    return await _act(mig, "thaw", names)


async def _act(mig: Session, action: str, names: tuple[str, ...]) -> int:
    code = ExitCode.SUCCESS
    for job in await jobs_named(mig, names):
        try:
            _report(await (job.freeze() if action == "freeze" else job.thaw()))
        except ActionRefused as error:
            _report(error.outcome)
            code = ExitCode.FAILURE
    return code


def _report(outcome: Outcome) -> None:
    if current().json:
        write_json(outcome)
    elif outcome.after is not None:
        write(f"{outcome.job_id}  {outcome.before} -> {outcome.after}")
    elif outcome.before is not None:
        say(f"{outcome.job_id} stays {outcome.before}: {outcome.message}")


@command("resubmit")
@jobs_argument()
async def resubmit(mig: Session, /, *, names: tuple[str, ...]) -> None:
    """Submit jobs again as new jobs with their own outputs, and print the new ids. See also: aiomig submit."""
    for job in await jobs_named(mig, names):
        new = await job.resubmit()
        if current().json:
            write_json({"job_id": new.id, "of": job.id})
        else:
            write(new.id)


@command("clean")
@jobs_argument(required=False)
@click.option("--results", is_flag=True, help="Also remove the output and the exit codes.")
@click.option(
    "--older-than", type=parse_duration, metavar="TIME", help="All jobs that ended more than TIME ago: 30d, 12h."
)
@click.option("--records", is_flag=True, help="With --older-than: also forget the jobs.")
async def clean(
    mig: Session, /, *, names: tuple[str, ...], results: bool, older_than: int | None, records: bool
) -> None:
    """Remove the inputs and outputs of jobs from the MiG home. JOB is an id, a pattern, or "last".

    --older-than removes what aiomig keeps for old jobs; in local mode that includes their results. Unfinished jobs are
    never affected.
    """
    if older_than is not None:
        if names or results:
            raise click.UsageError("--older-than cannot be combined with JOBs or --results; leave them out")
        count = await mig.prune(older_than=timedelta(seconds=older_than), records=records)
        if current().json:
            write_json({"jobs": count})
        elif not current().quiet:
            say(f"removed the files of {count} jobs")
        return
    if not names or records:
        raise click.UsageError("give JOBs, or --older-than TIME; --records needs --older-than")
    for job in await jobs_named(mig, names):
        await job.clean(results=results)
