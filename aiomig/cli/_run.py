"""Commands that make jobs: ``run``, ``submit``, ``submit-mrsl``, ``mrsl``, ``check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from .. import CheckReport, JobSpec, JobState, SpecError
from ._command import command
from ._describing import describing_options, job_spec
from ._exit_codes import ExitCode
from ._output import duration, ended_at, read_text, result_value, say, terminal, write, write_bytes, write_json
from ._progress import progress_bar
from ._settings import current, local_files

if TYPE_CHECKING:
    from .. import Job, JobResult, Session


@command("run", options_first=True)
@describing_options
@click.option(
    "--fetch-to",
    type=click.Path(path_type=Path, file_okay=False),
    default=".",
    help="The folder for the outputs; default is this one.",
)
@click.option("--no-fetch", is_flag=True, help="Leave the outputs in the MiG home.")
@click.option("--follow", "-f", is_flag=True, help="Print lines as the job writes them; else all bytes at its end.")
@click.option(
    "--on-interrupt",
    type=click.Choice(["leave", "cancel"]),
    help="What Ctrl-C does to the job: by default it is canceled in local mode, and left on a grid.",
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
    """Run a job: submit it, watch it, print its output, download what it made, and exit with its exit code.

    COMMAND may be one word, a line for the job's shell, or a command with arguments. Options come before it.

    \b
      aiomig run -i fit.py -i data.csv -o out.txt 'python3 fit.py data.csv > out.txt'
      aiomig run -i fit.py -t 2h -m 4G python3 fit.py --steps 10

    What happens is told on standard error. Interrupted by Ctrl-C it says what became of the job.
    """
    settings = current()
    settings.on_interrupt = on_interrupt or ("cancel" if mig.mode == "local" else "leave")
    if follow and settings.json:
        raise click.UsageError("--follow prints lines, and --json one value at the end; leave one of them out")
    spec = job_spec(**options)
    job = await mig.submit(spec)
    settings.jobs.append(job.id)
    await (_follow(job) if follow else _show_states(mig, job))
    result = await job.result(check=False)
    if settings.json:
        write_json(result_value(result))
    elif not follow:
        write_bytes(result.stdout_bytes)
        write_bytes(result.stderr_bytes, to_stderr=True)
    if spec.outputs and not no_fetch:
        with progress_bar("fetch") as report:
            paths = await job.fetch(fetch_to, check=result.ok, progress=report)
        if paths and not settings.quiet:
            say("outputs: " + " ".join(map(str, paths)))
    return _ending(result, quiet=settings.quiet)


def _ending(result: JobResult, *, quiet: bool) -> int:
    status = result.status
    if status.state is JobState.FINISHED and result.exit_code is not None:
        return result.exit_code
    if not quiet:
        reasons = "".join(f"; {each.reason}{each.detail and ': '}{each.detail}" for each in status.attempts)
        what = "its results did not arrive" if status.state is JobState.FINISHED else f"it is {status.state}{reasons}"
        say(f"job {status.job_id} has no exit code: {what}")
    return ExitCode.NO_EXIT_CODE


async def _show_states(mig: Session, job: Job) -> None:
    """Tells on standard error what becomes of a job: on a terminal in one line that changes, else a line each."""
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
    """Prints the lines of both streams as they come."""
    import anyio

    async def lines(name: Literal["stdout", "stderr"]) -> None:
        async for line in job.tail(name):
            write_bytes(f"{line}\n".encode(), to_stderr=name == "stderr")

    async with anyio.create_task_group() as group:
        group.start_soon(lines, "stdout")
        group.start_soon(lines, "stderr")


@command("submit", options_first=True)
@describing_options
async def submit(mig: Session, /, **options: Any) -> None:
    """Submit a job, and print its id.

    On a grid the job then belongs to the grid. In local mode this waits until the job runs, and leaves it running: it
    ends and writes its results on its own. Where jobs have all cores already it stays QUEUED, and this says so: every
    aiomig command that opens the same home starts what has room by then, and aiomig wait, watch, output and fetch run
    all that waits.
    """
    await _told(mig, [await mig.submit(job_spec(**options))])


@command("submit-mrsl")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", shell_complete=local_files)
async def submit_mrsl(mig: Session, /, *, files: tuple[str, ...]) -> None:
    """Submit job descriptions written by hand in mRSL (- is standard input), and print their ids.

    Their INPUTFILES lie in the MiG home, their OUTPUTFILES go there. In local mode jobs run as aiomig submit says.
    """
    for file in files:
        submitted = mig.submit(JobSpec.from_mrsl(read_text())) if file == "-" else mig.submit_mrsl(file)
        await _told(mig, [await submitted])


async def _told(mig: Session, jobs: list[Job]) -> None:
    """Prints the ids of new jobs; says where one has to wait for somebody to run it."""
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
            say(f"all cores are in use: {status.job_id} runs while aiomig {settings.switches}wait {status.job_id} does")


@command("mrsl", options_first=True)
@describing_options
def mrsl(**options: Any) -> None:
    """Show the job description that would be sent, and send nothing. "example" stands for the job's own folder."""
    text = job_spec(**options).mrsl_text()
    if current().json:
        write_json({"mrsl": text})
    else:
        write(text.rstrip("\n"))


@command("check", options_first=True)
@describing_options
@click.option("--job", "job_id", metavar="JOB", help="Ask of a job that waits, instead of one described here.")
async def check(mig: Session, /, *, job_id: str | None, **options: Any) -> int:
    """Ask whether the grid would take a job, and some resource could run it. Nothing is made or changed."""
    try:
        report = await mig.check(job_spec(**options) if job_id is None else mig.job(job_id))
    except SpecError as error:
        report = CheckReport(error.faults)
    if current().json:
        texts = {"faults": report.faults, "warnings": report.warnings, "unknown": report.unknown}
        write_json({"ok": report.ok, **{name: [str(each) for each in found] for name, found in texts.items()}})
    else:
        write(str(report))
    return ExitCode.WELL if report.ok else ExitCode.DESCRIPTION
