"""The command ``call``: calls any operation of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._command import command
from ._output import write_json
from ._settings import current

if TYPE_CHECKING:
    from .. import Session


@command("call")
@click.argument("operation")
@click.argument("fields", nargs=-1, metavar="[FIELD=VALUE]...")
async def call(mig: Session, /, *, operation: str, fields: tuple[str, ...]) -> None:
    """Call any operation of the server, such as userstats, and print the objects of its response, one per line.

    A field may be repeated to send several values. With --json, the objects are printed as one list.

    \b
      aiomig call userstats stats=jobs stats=disk
    """
    values: dict[str, list[str]] = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals:
            raise click.BadParameter(f"{field!r} has no =; write FIELD=VALUE")
        values.setdefault(name, []).append(value)
    objects = await mig.call(operation, **values)
    if current().json:
        write_json(objects)
        return
    for item in objects:
        write_json(item)
