"""Commands that submit or check a job: ``run``, ``submit``, ``submit-mrsl``, ``mrsl``, ``check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from .. import CheckReport, JobSpec, JobState, SpecError
from ._command import command
from ._describing import describing_options, job_spec
from ._exit_codes import ExitCode
from ._messages import fault_message, report_message
from ._output import duration, ended_at, read_text, say, terminal, write, write_bytes, write_json
from ._progress import fetch_outputs, missing_outputs_message
from ._settings import current, local_files

if TYPE_CHECKING:
    from .. import Job, JobResult, Session


@command("run", options_first=True)
@describing_options
@click.option(
    "--fetch-to",
    type=click.Path(path_type=Path, file_okay=False),
    default=".",
    help="The directory for output files; default: the current one.",
)
@click.option("--no-fetch", is_flag=True, help="Leave the output files in the MiG home.")
@click.option("--follow", "-f", is_flag=True, help="Print lines while the job writes them, not at its end.")
@click.option(
    "--on-interrupt",
    type=click.Choice(["leave", "cancel"]),
    help="What Ctrl-C does to the job. Default: cancel in local mode, leave on a grid.",
)
async def run(
    mig: Session,
    /,
    *,
    fetch_to: Path,
    no_fetch: bool,
    follow: bool,
    on_interrupt: Literal["leave", "cancel"] | None,
    **options: Any,
) -> int:
    """Run a job: submit it, watch it, print its output, download its output files, and exit with its exit code.

    COMMAND is a single word with a command line for the job's shell, or a command with arguments. Options come first.

    \b
      aiomig run -i fit.py -i data.csv -o out.txt 'python3 fit.py data.csv > out.txt'
      aiomig run -i fit.py -t 2h -m 4G python3 fit.py --steps 10

    Reports go to standard error. After Ctrl-C the command reports the state of the job.
    """
    settings = current()
    settings.on_interrupt = on_interrupt or ("cancel" if mig.mode == "local" else "leave")
    if follow and settings.json:
        raise click.UsageError("--follow and --json cannot be combined; use one of them")
    spec = job_spec(**options)
    settings.names_missing_outputs = not no_fetch
    job = await mig.submit(spec)
    settings.jobs.append(job.id)
    await (_follow(job) if follow else _show_states(mig, job))
    result = await job.result(check=False)
    if settings.json:
        write_json(result.as_dict())
    elif not follow:
        write_bytes(result.stdout_bytes)
        write_bytes(result.stderr_bytes, to_stderr=True)
    code = _exit_code(result, quiet=settings.quiet)
    if spec.outputs and not no_fetch and result.status.state is JobState.FINISHED:
        fetched = await fetch_outputs(job, fetch_to)
        outputs = [*map(str, fetched.paths), *fetched.kept]
        if outputs and not settings.quiet:
            say(f"outputs: {' '.join(outputs)}")
        if fetched.missing:
            say(missing_outputs_message(job, fetched.missing))
            code = code or ExitCode.FAILURE
    return code


def _exit_code(result: JobResult, *, quiet: bool) -> int:
    status = result.status
    if status.state is JobState.FINISHED and result.exit_code is not None:
        return result.exit_code
    if not quiet:
        causes = ["its results did not arrive" if status.state is JobState.FINISHED else f"it is {status.state}"]
        causes += (": ".join(filter(None, (attempt.reason, attempt.detail))) for attempt in status.attempts)
        say(f"job {status.job_id} has no exit code: {'; '.join(dict.fromkeys(causes))}")
    return ExitCode.NO_EXIT_CODE


async def _show_states(mig: Session, job: Job) -> None:
    """Report the states of a job on standard error: on a terminal in one changing line, else one line per state."""
    if current().quiet:
        await job.wait()
        return
    if (console := terminal(stderr=True)) is None:
        async for status in mig.watch(job):
            say(f"job {job.id} {status.state}")
        return
    from ._live import show_one

    status = await show_one(console, mig, job)
    end, begin = ended_at(status), status.received_at
    seconds = f" after {duration((end - begin).total_seconds())}" if end and begin else ""
    say(f"job {job.id} {status.state}{seconds}")


async def _follow(job: Job) -> None:
    """Print the lines of both streams as they arrive."""
    import anyio

    async def print_lines(name: Literal["stdout", "stderr"]) -> None:
        async for line in job.tail(name):
            write_bytes(f"{line}\n".encode(), to_stderr=name == "stderr")

    async with anyio.create_task_group() as group:
        group.start_soon(print_lines, "stdout")
        group.start_soon(print_lines, "stderr")


@command("submit", options_first=True)
@describing_options
async def submit(mig: Session, /, **options: Any) -> None:
    """Submit a job and print its id.

    On a grid the job then belongs to the grid. In local mode the command returns when the job runs; the job then ends
    and writes its results without aiomig. If other jobs use all cores, the job stays QUEUED, and the command reports
    this. The next aiomig command on the same home starts it if a core is free; aiomig wait, watch, output and fetch
    run all waiting jobs.
    """
    await _report_submitted(mig, [await mig.submit(job_spec(**options))])


@command("submit-mrsl")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", shell_complete=local_files)
async def submit_mrsl(mig: Session, /, *, files: tuple[str, ...]) -> None:
    """Submit job descriptions written in mRSL (- is standard input), and print the ids of the jobs.

    INPUTFILES are files of the MiG home, and OUTPUTFILES are stored there. In local mode the jobs run as with aiomig
    submit.
    """
    for file in files:
        submitted = mig.submit(JobSpec.from_mrsl(read_text())) if file == "-" else mig.submit_mrsl(file)
        await _report_submitted(mig, [await submitted])


async def _report_submitted(mig: Session, jobs: list[Job]) -> None:
    """Print the ids of new jobs, and report jobs that wait for a core."""
    settings = current()
    settings.jobs += [job.id for job in jobs]
    for job in jobs:
        if settings.json:
            write_json({"job_id": job.id})
        else:
            write(job.id)
    if mig.mode == "grid" or settings.quiet:
        return
    for status in (await mig.statuses(jobs)).values():
        if status.state is JobState.QUEUED:
            say(f"{status.job_id} waits for a core; to run it: aiomig {settings.switches}wait {status.job_id}")


@command("mrsl", options_first=True)
@describing_options
def mrsl(**options: Any) -> None:
    """Show the job description that submit would send, with "example" as the name of the job's own directory."""
    text = job_spec(**options).mrsl_text()
    if current().json:
        write_json({"mrsl": text})
    else:
        write(text.rstrip("\n"))


@command("check", options_first=True)
@describing_options
@click.option("--job", "job_id", metavar="JOB", help="Check a waiting job instead of COMMAND.")
async def check(mig: Session, /, *, job_id: str | None, **options: Any) -> int:
    """Check whether the grid would accept a job and a resource could run it. Changes nothing."""
    try:
        report = await mig.check(job_spec(**options) if job_id is None else mig.job(job_id))
    except SpecError as error:
        report = CheckReport(error.faults)
    if current().json:
        faults, warnings = ([fault_message(fault) for fault in part] for part in (report.faults, report.warnings))
        write_json({"ok": report.ok, "faults": faults, "warnings": warnings, "unknown": report.unknown})
    else:
        write(report_message(report))
    return ExitCode.SUCCESS if report.ok else ExitCode.DESCRIPTION
