"""The command ``tail``: prints the end of a job's output or of a file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import click

from ._choosing import LAST, jobs_named
from ._command import command
from ._output import write, write_json
from ._settings import current

if TYPE_CHECKING:
    from .. import Session

_JOB_ID = re.compile(r"\d+_\d+_\d+_\d+__\d+_\d+_\d+_[^/]+", re.ASCII)
"""Job ids consist of counter, date, time and server (docs/protocol.md#job-ids)."""


@command("tail")
@click.argument("target", metavar="JOB|FILE")
@click.option(
    "--lines",
    "-n",
    type=click.IntRange(0, 1_000_000),
    metavar="N",
    default=20,
    show_default=True,
    help="Maximum number of lines.",
)
@click.option("--follow", "-f", is_flag=True, help="Print what the job writes, from the beginning until it ends.")
@click.option("--stderr", "of_stderr", is_flag=True, help="Standard error of the job instead of standard output.")
async def tail(mig: Session, /, *, target: str, lines: int, follow: bool, of_stderr: bool) -> None:
    """Print the last lines of a job's output, running or ended, or of a file of the MiG home.

    JOB is an id, or "last". Write ./FILE for a file with such a name. --follow prints new lines until the job ends: in
    local mode at once, on a grid about once a minute.
    """
    stream: Literal["stdout", "stderr"] = "stderr" if of_stderr else "stdout"
    if target != LAST and not _JOB_ID.fullmatch(target):
        if follow or of_stderr:
            raise click.UsageError(f"{target} is not the id of a job; --follow and --stderr are for jobs")
        for line in await mig.files.tail(target, lines) if lines else ():
            _print(line)
        return
    (job,) = await jobs_named(mig, [target])
    if follow:
        async for line in job.tail(stream):
            _print(line)
        return
    text = await (job.stderr(wait=False) if of_stderr else job.stdout(wait=False))
    for line in text.splitlines()[-lines:] if lines else ():
        _print(line)


def _print(line: str) -> None:
    if current().json:
        write_json({"line": line})
    else:
        write(line, content=True)
