"""Commands that look at jobs: ``jobs``, ``status``, ``wait``, ``output``, ``fetch``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import JobError, JobNotFound, JobState
from ._choosing import jobs_argument, jobs_named, jobs_named_or_unfinished
from ._command import command
from ._exit_codes import ExitCode
from ._output import ended_at, local_time, result_value, say, short_time, write, write_bytes, write_json, write_table
from ._progress import progress_bar
from ._settings import current

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .. import Job, JobStatus, Session

_COLUMNS = {"JOB": "left", "STATE": "left", "RECEIVED": "left", "STARTED": "left", "ENDED": "left", "RESOURCE": "left"}


@command("jobs")
@click.argument("pattern", default="*")
@click.option(
    "--newest", "-n", type=click.IntRange(1), metavar="N", default=20, show_default=True, help="At most so many."
)
@click.option("--all", "-a", "everything", is_flag=True, help="All of them.")
@click.option(
    "--state",
    "-s",
    "states",
    multiple=True,
    type=click.Choice(list(JobState), case_sensitive=False),
    help="Only these.",
)
@click.option("--ids", is_flag=True, help="Print ids only.")
async def jobs(
    mig: Session, /, *, pattern: str, newest: int, everything: bool, states: tuple[str, ...], ids: bool
) -> None:
    """List jobs, newest first. PATTERN is for ids, with * for any text and ? for one character."""
    found = await mig.jobs(pattern, newest=None if everything or states else newest)
    known = await mig.statuses(found) if found else {}
    statuses = [status for status in known.values() if not states or status.state in states]
    statuses = statuses if everything else statuses[:newest]
    if current().json:
        write_json(statuses)
    elif ids:
        for status in statuses:
            write(status.job_id)
    else:
        write_table(_COLUMNS, map(_row, statuses))


def _row(status: JobStatus) -> list[str]:
    times = status.received_at, status.executing_at, ended_at(status)
    return [status.job_id, str(status.state), *map(short_time, times), status.resource or "-"]


@command("status")
@jobs_argument()
async def status(mig: Session, /, *, names: tuple[str, ...]) -> None:
    """Show all that is known of jobs: times, attempts, reasons. JOB is an id, a pattern, or "last"."""
    wanted = await jobs_named(mig, names)
    known = await mig.statuses(wanted)
    for job in wanted:
        if job.id not in known:
            raise JobNotFound(job.id)
    if current().json:
        write_json(list(known.values()))
        return
    for number, each in enumerate(known.values()):
        if number:
            write("")
        for line in _lines(each):
            write(line)


def _lines(status: JobStatus) -> list[str]:
    native = f" ({status.native})" if status.native != status.state else ""
    facts = {
        "job": status.job_id,
        "state": f"{status.state}{native}",
        "received": status.received_at,
        "queued": status.queued_at,
        "executing": status.executing_at,
        "finished": status.finished_at,
        "failed": status.failed_at,
        "canceled": status.canceled_at,
        "resource": status.resource,
        "schedule": status.schedule_hint,
        "verified": status.verified,
    }
    told = {name: fact if isinstance(fact, str) else local_time(fact) for name, fact in facts.items() if fact}
    for number, attempt in enumerate(status.attempts, 1):
        reason = ": ".join(filter(None, (attempt.reason or "no reason given", attempt.detail)))
        place = f" on {attempt.resource}" if attempt.resource else ""
        told[f"attempt {number}"] = f"failed {local_time(attempt.failed_at)}{place}: {reason}"
    return [f"{name:<10} {fact}" for name, fact in told.items()]


@command("wait")
@jobs_argument(required=False)
@click.option("--any", "first", is_flag=True, help="Come back when one of them has ended.")
async def wait(mig: Session, /, *, names: tuple[str, ...], first: bool) -> int:
    """Wait until jobs have ended, whatever their end.

    JOB is an id, a pattern, or "last"; without any, all that have not ended. Exits with 0 where all that ended did so
    well: FINISHED, with exit codes of 0. In local mode this runs what waits in the home. Interrupting it does nothing
    to the jobs.
    """
    code = ExitCode.WELL
    async for job in mig.as_completed(await jobs_named_or_unfinished(mig, names)):
        result = await job.result(check=False)
        if not result.ok:
            code = ExitCode.NOT_WELL
        if current().json:
            write_json(result_value(result))
        elif not current().quiet:
            shown = "" if result.exit_code is None else f"  exit code {result.exit_code}"
            write(f"{job.id}  {result.status.state}{shown}")
        if first:
            break
    return code


@command("output")
@jobs_argument()
@click.option("--stdout", "only_stdout", is_flag=True, help="Standard output only.")
@click.option("--stderr", "only_stderr", is_flag=True, help="Standard error only, on standard output.")
@click.option("--no-wait", is_flag=True, help="What there is by now.")
async def output(
    mig: Session, /, *, names: tuple[str, ...], only_stdout: bool, only_stderr: bool, no_wait: bool
) -> None:
    """Print what jobs wrote, byte for byte, when they have ended. JOB is an id, a pattern, or "last".

    Standard error goes to standard error. In local mode it runs what waits in the home.
    """
    if only_stdout and only_stderr:
        raise click.UsageError("--stdout and --stderr are both given; leave both out for both")
    for job in await jobs_named(mig, names):
        stdout = b"" if only_stderr else await job.stdout_bytes(wait=not no_wait)
        stderr = b"" if only_stdout else await job.stderr_bytes(wait=not no_wait)
        if current().json:
            write_json({"job_id": job.id, "stdout": stdout, "stderr": stderr})
            continue
        write_bytes(stdout)
        write_bytes(stderr, to_stderr=not only_stderr)


@command("fetch")
@jobs_argument()
@click.option(
    "--to", type=click.Path(path_type=Path, file_okay=False), default=".", help="The folder; default: this one."
)
async def fetch(mig: Session, /, *, names: tuple[str, ...], to: Path) -> int:
    """Wait for the end of jobs, and download their outputs. JOB is an id, a pattern, or "last".

    Of several jobs the outputs go into a folder each, named by the job. What there is of a job that failed is
    downloaded, too. In local mode this runs what waits in the home.
    """
    wanted = await jobs_named(mig, names)
    code = ExitCode.WELL
    for job in wanted:
        await job.wait()
        with progress_bar("fetch") as report:
            paths = await job.fetch(to / job.id if len(wanted) > 1 else to, check=False, progress=report)
        expected = sum(each.destination is not None for each in (await job.plan()).outputs)
        _tell_fetched(job, paths, missing=expected - len(paths))
        try:
            await job.result()
        except JobError as error:
            say(str(error))
            code = ExitCode.NOT_WELL
        if len(paths) < expected:
            code = ExitCode.NOT_WELL
    return code


def _tell_fetched(job: Job, paths: Sequence[Path], *, missing: int) -> None:
    if current().json:
        write_json({"job_id": job.id, "paths": paths, "missing": missing})
        return
    for path in paths:
        write(str(path))
    if missing:
        say(f"job {job.id}: {missing} of its outputs did not arrive")
    elif not paths:
        say(f"job {job.id} has no outputs to download")
