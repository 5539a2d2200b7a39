"""The message queues of a grid, by ``mqueue`` (docs/protocol.md#message-queues)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from .._core.errors import ConnectionFailed, FileNotFound, GridError, ProtocolError, ServerError
from .._home.queues import is_name, no_queue, queue_exists
from .protocol import site
from .protocol.answer import raise_for_errors

if TYPE_CHECKING:
    from .operations import OperationClient
    from .protocol.answer import Answer

_OPERATION = "mqueue"


class GridQueues:
    """The queues of the user of the certificate.

    Args:
        operations: the operations of the server.
    """

    def __init__(self, operations: OperationClient) -> None:
        self._operations = operations

    async def names(self) -> list[str]:
        """List the queues by ``listqueues``. Skip other files in that folder, such as a lock."""
        answer = await self._operations.query(_OPERATION, [("action", "listqueues")])
        return sorted(filter(is_name, site.names(answer)))

    async def create(self, name: str, *, exist_ok: bool) -> None:
        """Create a queue by ``create``."""
        answer = await self._change("create", name, repeatable=exist_ok)
        try:
            raise_for_errors(_OPERATION, answer)
        except ServerError as error:
            # The server sends the same message for every failure.
            if name not in await self.names():
                raise
            if not exist_ok:
                raise queue_exists(name) from error

    async def remove(self, name: str, *, missing_ok: bool) -> None:
        """Remove a queue by ``remove``."""
        try:
            await self._checked(name, await self._change("remove", name, repeatable=missing_ok))
        except FileNotFound:
            if not missing_ok:
                raise

    async def ids(self, name: str) -> list[str]:
        """List the ids of the messages by ``listmessages``."""
        answer = await self._operations.query(_OPERATION, [("action", "listmessages"), ("queue", name)])
        await self._checked(name, answer)
        return sorted(filter(is_name, site.names(answer)))

    async def send(self, name: str, message_id: str, message: str) -> None:
        """Send a message by ``send``, once. If that fails, look for the message in the queue."""
        try:
            answer = await self._change("send", name, ("msg", message), ("msg_id", message_id))
            await self._checked(name, answer)
        except (ConnectionFailed, ProtocolError, ServerError) as error:
            if not isinstance(error, ConnectionFailed) or error.sent:
                with suppress(GridError, FileNotFound):
                    if message_id in await self.ids(name):
                        return
            raise

    async def next(self, name: str, *, take: bool) -> str | None:
        """Take the next message by ``receive``, sent once, or read it by ``show``."""
        if take:
            answer = await self._change("receive", name)
        else:
            answer = await self._operations.query(_OPERATION, [("action", "show"), ("queue", name)])
        await self._checked(name, answer)
        message = site.message(answer)
        return None if message is None else message.text

    async def _change(self, action: str, name: str, *more: tuple[str, str], repeatable: bool = False) -> Answer:
        fields = [("action", action), ("queue", name), *more]
        return await self._operations.execute(_OPERATION, fields, repeatable=repeatable)

    async def _checked(self, name: str, answer: Answer) -> None:
        """Raise the error in a response, if any. Its message is the same for every failure, so check for the queue."""
        try:
            raise_for_errors(_OPERATION, answer)
        except ServerError as error:
            if name not in await self.names():
                raise no_queue(name) from error
            raise
