"""The command ``watch``: follows jobs in a live table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ._choosing import jobs_argument, jobs_named_or_unfinished
from ._command import command
from ._output import local_time, terminal, write, write_json
from ._settings import current

if TYPE_CHECKING:
    from .. import JobStatus, Session


@command("watch")
@jobs_argument(required=False)
async def watch(mig: Session, /, *, names: tuple[str, ...]) -> None:
    """Follow jobs until they end, in a live table with ages, times and resources.

    JOB is an id, a pattern, or "last"; the default is all unfinished jobs. With --json, or if standard output is not a
    terminal, each change is printed as a line. In local mode this command also runs waiting jobs of the home. Ctrl-C
    ends the command, not the jobs.
    """
    jobs = await jobs_named_or_unfinished(mig, names)
    console = None if current().json else terminal()
    if console is None or not jobs:
        async for status in mig.watch(jobs):
            _report(status)
        return
    from ._live import show_many

    await show_many(console, mig, jobs)


def _report(status: JobStatus) -> None:
    if current().json:
        write_json(status)
    else:
        code = "" if status.exit_code is None else f"  exit code {status.exit_code}"
        name = f"  {status.name}" if status.name else ""
        write(f"{local_time(datetime.now(UTC))}  {status.job_id}  {status.state}{code}{name}")
