"""The command ``unconfirmed``: lists submits with an unknown outcome."""

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
@click.option("--confirm", "-y", is_flag=True, help="Stop listing these submits; without MARKER, all.")
async def unconfirmed(mig: Session, /, *, markers: tuple[str, ...], confirm: bool) -> None:
    """List submits that were interrupted or whose response was lost, each with the job that it created, or -.

    A submit without a job can be repeated after some minutes. Local mode has no such submits.
    """
    lost = [submit for submit in await mig.unconfirmed() if not markers or submit.marker in markers]
    if confirm:
        mig.confirm(*lost)
    if current().json:
        write_json(lost)
    elif lost:
        rows = (
            [submit.marker, local_time(submit.sent_at), submit.name or "-", " ".join(submit.job_ids) or "-"]
            for submit in lost
        )
        write_table(_COLUMNS, rows)
