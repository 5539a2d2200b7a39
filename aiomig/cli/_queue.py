"""The commands ``queue create``, ``send``, ``receive``, ``list`` and ``remove``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._command import command
from ._exit_codes import ExitCode
from ._output import read_text, write, write_json
from ._settings import current, shared_options

if TYPE_CHECKING:
    from .. import Session

_name = click.argument("name", metavar="QUEUE")


@click.group()
@shared_options
def queue() -> None:
    """Send and receive messages between programs and jobs. QUEUE is a name of ASCII letters and digits.

    A queue stores messages, which are short texts. Each message is received once, in the order of sending. Most grids
    have a queue named "default".

    \b
      aiomig queue create results
      aiomig queue send results 'seed 7 is done'
      aiomig queue receive results
    """


@command("create", queue)
@_name
@click.option("--exist-ok", is_flag=True, help="Do nothing if the queue exists.")
async def create(mig: Session, /, *, name: str, exist_ok: bool) -> None:
    """Create a queue."""
    await mig.queue(name).create(exist_ok=exist_ok)


@command("send", queue)
@_name
@click.argument("message", required=False)
async def send(mig: Session, /, *, name: str, message: str | None) -> None:
    """Send a message, or standard input without its final newline, and print the id of the message.

    Messages cannot contain < or >.
    """
    text = message if message is not None else read_text().removesuffix("\n")
    message_id = await mig.queue(name).send(text)
    if current().json:
        write_json({"queue": name, "id": message_id})
    elif not current().quiet:
        write(message_id)


@command("receive", queue)
@_name
@click.option("--keep", is_flag=True, help="Leave the message in the queue.")
async def receive(mig: Session, /, *, name: str, keep: bool) -> int:
    """Print the next message of a queue and remove it from the queue. Exits with 1 if the queue is empty.

    If the command is interrupted or disconnected, a message may be lost: the server removes it before sending it.
    """
    queue = mig.queue(name)
    message = await (queue.peek() if keep else queue.receive())
    if current().json:
        write_json({"queue": name, "message": message})
    elif message is not None:
        write(message, content=True)
    return ExitCode.FAILURE if message is None else ExitCode.SUCCESS


@command("list", queue)
@click.argument("name", metavar="[QUEUE]", required=False)
async def list_(mig: Session, /, *, name: str | None) -> None:
    """List all queues, or the ids of the messages in a queue, next message first."""
    names = [queue.name for queue in await mig.queues()] if name is None else await mig.queue(name).list()
    if current().json:
        write_json(names)
        return
    for text in names:
        write(text)


@command("remove", queue)
@click.argument("names", nargs=-1, required=True, metavar="QUEUE...")
@click.option("--force", "-f", is_flag=True, help="Do nothing if the queue does not exist.")
async def remove(mig: Session, /, *, names: tuple[str, ...], force: bool) -> None:
    """Remove queues and their messages."""
    for name in names:
        await mig.queue(name).remove(missing_ok=force)
