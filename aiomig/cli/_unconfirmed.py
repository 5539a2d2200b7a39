"""The command ``unconfirmed``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._command import command
from ._output import local_time, write_json, write_table
from ._settings import current

if TYPE_CHECKING:
    from .. import Session

_COLUMNS = {"MARKER": "left", "SENT": "left", "NAME": "left", "JOB": "left"}


@command("unconfirmed")
@click.argument("markers", nargs=-1, metavar="[MARKER]...")
@click.option("--confirm", "-y", is_flag=True, help="Report those with a MARKER no more; without any, all.")
async def unconfirmed(mig: Session, /, *, markers: tuple[str, ...], confirm: bool) -> None:
    """List submits whose answer was lost, or that were cut off: each with the job that it made, or -.

    One without a job can be submitted again after some minutes. In local mode there are never any.
    """
    lost = [each for each in await mig.unconfirmed() if not markers or each.marker in markers]
    if confirm:
        mig.confirm(*lost)
    if current().json:
        write_json(lost)
    elif lost:
        rows = (
            [each.marker, local_time(each.sent_at), each.name or "-", " ".join(each.job_ids) or "-"] for each in lost
        )
        write_table(_COLUMNS, rows)
