"""Commands that copy files between a running job and the home: ``send-live``, ``get-live``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._choosing import jobs_named
from ._command import command
from ._output import write, write_json
from ._settings import current

if TYPE_CHECKING:
    from .. import Job, Session


async def _find_job(mig: Session, name: str) -> Job:
    jobs = await jobs_named(mig, [name])
    if len(jobs) > 1:
        raise click.BadParameter(f"{name!r} matches {len(jobs)} jobs; name a single job")
    return jobs[0]


def _report(paths: tuple[str, ...]) -> None:
    if current().json:
        write_json(paths)
    elif not current().quiet:
        for path in paths:
            write(path)


@command("send-live")
@click.argument("job")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--to", metavar="DIRECTORY", help="The target directory in the home.")
async def send_live(mig: Session, /, *, job: str, files: tuple[str, ...], to: str | None) -> None:
    """Copy files of a running job into the home, and print their paths. On a grid they appear 20 to 100 s later.

    The default is the standard output and standard error so far.
    """
    _report(await (await _find_job(mig, job)).send_live(files, to))


@command("get-live")
@click.argument("job")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--to", metavar="DIRECTORY", default=".", help="The target directory in the job.")
async def get_live(mig: Session, /, *, job: str, files: tuple[str, ...], to: str) -> None:
    """Copy files of the home to a running job, and print their paths in the job's directory."""
    _report(await (await _find_job(mig, job)).get_live(files, to))
