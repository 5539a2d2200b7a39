"""Commands that show jobs and their results: ``jobs``, ``status``, ``wait``, ``output``, ``fetch``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import JobError, JobNotFound, JobState
from .._core.display import explain_exit_code
from ._choosing import jobs_argument, jobs_named, jobs_named_or_unfinished
from ._command import command
from ._describing import parse_labels, parse_time
from ._exit_codes import ExitCode, sentence
from ._output import ended_at, local_time, say, short_time, state_cells, write, write_bytes, write_json, write_table
from ._progress import Fetched, fetch_outputs, missing_outputs_message
from ._settings import current

if TYPE_CHECKING:
    from datetime import datetime

    from .. import Job, JobStatus, Session

_COLUMNS = {
    "JOB": "left",
    "NAME": "left",
    "STATE": "left",
    "EXIT": "right",
    "RECEIVED": "left",
    "STARTED": "left",
    "ENDED": "left",
    "RESOURCE": "left",
}


@command("jobs")
@click.argument("pattern", default="*")
@click.option(
    "--newest", "-n", type=click.IntRange(1), metavar="N", default=20, show_default=True, help="Maximum number."
)
@click.option("--all", "-a", "everything", is_flag=True, help="All jobs.")
@click.option("--name", metavar="PATTERN", help="Only jobs whose name matches; * and ? are wildcards.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Only jobs with this label; repeatable.")
@click.option(
    "--since", type=parse_time, metavar="TIME", help="Only jobs since TIME: 2h, 3d, 2026-11-23, '2026-11-23 14:00'."
)
@click.option(
    "--state",
    "-s",
    "states",
    multiple=True,
    type=click.Choice(list(JobState), case_sensitive=False),
    help="Only jobs in this state; repeatable.",
)
@click.option("--ids", is_flag=True, help="Print ids only.")
async def jobs(
    mig: Session,
    /,
    *,
    pattern: str,
    newest: int,
    everything: bool,
    name: str | None,
    labels: tuple[str, ...],
    since: datetime | None,
    states: tuple[str, ...],
    ids: bool,
) -> None:
    """List jobs, newest first. PATTERN selects ids; * and ? are wildcards.

    EXIT is the first exit code that is not 0, else 0. The list of a grid does not contain it; it appears after wait,
    output, fetch or run has read the results.
    """
    matches = await mig.jobs(
        pattern,
        name=name,
        labels=parse_labels(labels),
        state=states or None,
        since=since,
        newest=None if everything else newest,
    )
    statuses = list((await mig.statuses(matches)).values()) if matches else []
    if current().json:
        write_json(statuses)
    elif ids:
        for status in statuses:
            write(status.job_id)
    else:
        write_table(_COLUMNS, map(_row, statuses))


def _row(status: JobStatus) -> list[str]:
    times = status.received_at, status.executing_at, ended_at(status)
    return [status.job_id, status.name or "-", *state_cells(status), *map(short_time, times), status.resource or "-"]


@command("status")
@jobs_argument()
async def status(mig: Session, /, *, names: tuple[str, ...]) -> None:
    """Show jobs in full: times, attempts, reasons. JOB is an id, a pattern, or "last"."""
    jobs = await jobs_named(mig, names)
    statuses = await mig.statuses(jobs)
    for job in jobs:
        if job.id not in statuses:
            raise JobNotFound(job.id)
    if current().json:
        write_json(list(statuses.values()))
        return
    for number, status in enumerate(statuses.values()):
        if number:
            write("")
        for line in _lines(status):
            write(line)


def _lines(status: JobStatus) -> list[str]:
    native = f" ({status.native})" if status.native != status.state else ""
    facts = {
        "job": status.job_id,
        "name": status.name,
        "labels": " ".join(f"{name}={value}" for name, value in status.labels.items()),
        "state": f"{status.state}{native}",
        "exit code": None if status.exit_code is None else f"{status.exit_code}{explain_exit_code(status.exit_code)}",
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
    lines = {name: fact if isinstance(fact, str) else local_time(fact) for name, fact in facts.items() if fact}
    for number, attempt in enumerate(status.attempts, 1):
        reason = ": ".join(filter(None, (attempt.reason or "no reason given", attempt.detail)))
        place = f" on {attempt.resource}" if attempt.resource else ""
        lines[f"attempt {number}"] = f"failed {local_time(attempt.failed_at)}{place}: {reason}"
    return [f"{name:<10} {fact}" for name, fact in lines.items()]


@command("wait")
@jobs_argument(required=False)
@click.option("--any", "first", is_flag=True, help="Return when the first job has ended.")
async def wait(mig: Session, /, *, names: tuple[str, ...], first: bool) -> int:
    """Wait until jobs end.

    JOB is an id, a pattern, or "last"; the default is all unfinished jobs. Exits with 0 if all these jobs are FINISHED
    with exit code 0, else with 1. In local mode this command also runs waiting jobs of the home. Ctrl-C ends the
    command, not the jobs.
    """
    code = ExitCode.SUCCESS
    async for job in mig.as_completed(await jobs_named_or_unfinished(mig, names)):
        result = await job.result(check=False)
        if not result.ok:
            code = ExitCode.FAILURE
        if current().json:
            write_json(result.as_dict())
        elif not current().quiet:
            exit_code = "" if result.exit_code is None else f"  exit code {result.exit_code}"
            write(f"{job.id}  {result.status.state}{exit_code}")
        if first:
            break
    return code


@command("output")
@jobs_argument()
@click.option("--stdout", "only_stdout", is_flag=True, help="Standard output only.")
@click.option("--stderr", "only_stderr", is_flag=True, help="Standard error only, on standard output.")
@click.option("--no-wait", is_flag=True, help="Print the output so far.")
async def output(
    mig: Session, /, *, names: tuple[str, ...], only_stdout: bool, only_stderr: bool, no_wait: bool
) -> None:
    """Wait for the end of jobs and print their output. JOB is an id, a pattern, or "last".

    The standard error of a job goes to standard error. Control characters are escaped on a terminal, but not in a
    pipe. In local mode this command also runs waiting jobs of the home.
    """
    if only_stdout and only_stderr:
        raise click.UsageError("--stdout and --stderr exclude each other; omit both to print both")
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
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    default=".",
    help="The directory; default: the current one.",
)
async def fetch(mig: Session, /, *, names: tuple[str, ...], to: Path) -> int:
    """Wait for the end of jobs and download their outputs. JOB is an id, a pattern, or "last".

    The outputs of several jobs go into a directory for each job. If a job fails, its existing outputs are downloaded.
    In local mode this command also runs waiting jobs of the home.
    """
    jobs = await jobs_named(mig, names)
    current().names_missing_outputs = True
    code = ExitCode.SUCCESS
    for job in jobs:
        await job.wait()
        fetched = await fetch_outputs(job, to / job.id if len(jobs) > 1 else to)
        _report_fetched(job, fetched)
        if fetched.missing:
            code = ExitCode.FAILURE
        try:
            await job.result()
        except JobError as error:
            say(sentence(error))
            code = ExitCode.FAILURE
    return code


def _report_fetched(job: Job, fetched: Fetched) -> None:
    if current().json:
        write_json({"job_id": job.id, "paths": fetched.paths, "missing": len(fetched.missing)})
        return
    for path in [*map(str, fetched.paths), *fetched.kept]:
        write(path)
    if fetched.missing:
        say(missing_outputs_message(job, fetched.missing))
    elif not fetched.paths and not fetched.kept:
        say(f"job {job.id} has no outputs to download")
