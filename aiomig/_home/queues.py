"""Message queues in the MiG home, for both modes."""

from __future__ import annotations

import re
import secrets
import time
import unicodedata
from typing import TYPE_CHECKING, TypeAlias

from .._core.errors import FileExists, FileNotFound, SpecError
from .._core.models import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._backend import QueueBackend

FOLDER = "message_queues"
"""The folder with a folder for each queue, which has a file for each message (docs/protocol.md#message-queues)."""

_Names: TypeAlias = list[str]  # in the class Queue, `list` is a method

_NAME = re.compile(r"[A-Za-z0-9]{1,255}")  # docs/protocol.md#characters
_NOT_ALLOWED = re.compile(
    # Allowed are ASCII except <, > and control characters, the letters of Latin-1, and some signs:
    # docs/protocol.md#characters
    "[^\t\n -;=?-~À-ÖØ-öø-ÿ¤€£¢¥₣₤±×÷½¾§‰¶]"
)


def is_name(name: object) -> bool:
    """Return whether this is a valid name of a queue or a message."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def no_queue(name: str) -> FileNotFound:
    """Return the error for a missing queue."""
    return FileNotFound(f"{FOLDER}/{name}", "there is no such message queue; create it with queue.create()")


def queue_exists(name: str) -> FileExists:
    """Return the error for a queue that already exists."""
    return FileExists(f"{FOLDER}/{name}", "this message queue already exists; create(exist_ok=True) accepts it")


class Queue:
    """A message queue, by which programs and jobs of the user exchange short strings.

    `Session.queue` returns it without I/O. Messages are received in the order in which they were sent, each by one
    receiver. A message is a file in the home: ``message_queues/NAME/ID``.

    To send a message, a job writes a file ``$MIG_LOCALJOBNAME.sendupdate`` with the lines ``target mqueue``, ``source
    FILE`` and ``destination NAME``. To receive one, it writes a file ``….getupdate`` with the lines ``target mqueue``,
    ``source NAME`` and ``destination DIRECTORY``. When the request has been executed, on a grid after half a minute and
    in local mode at once, the file is renamed to ``…done``. A received message is the file ``DIRECTORY/NAME``, which is
    empty if the queue was empty. Servers on Python 3 give jobs only empty messages. See
    ``examples/master_and_workers.py``.

    Example::

        queue = session.queue("results")
        await queue.create(exist_ok=True)
        await queue.send("seed 7 is done")
        print(await queue.receive())            # seed 7 is done
        print(await queue.receive())            # None: the queue is empty

    Attributes:
        name: the name of the queue.
    """

    __slots__ = ("_backend", "_require_open", "name")

    def __init__(self, backend: QueueBackend, name: str, require_open: Callable[[], None] = lambda: None) -> None:
        if not is_name(name):
            remedy = "use 1 to 255 ASCII letters and digits"
            raise SpecError([Fault("name", name, "not a valid name of a message queue", remedy)])
        self._backend = backend
        self._require_open = require_open
        self.name: str = name

    @property
    def _access(self) -> QueueBackend:
        self._require_open()
        return self._backend

    def __repr__(self) -> str:
        return f"<Queue {self.name}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Queue):
            return NotImplemented
        return self.name == other.name and self._backend is other._backend

    def __hash__(self) -> int:
        return hash(self.name)

    async def create(self, *, exist_ok: bool = False) -> None:
        """Create the queue. The queue ``default`` always exists in local mode, and on most servers.

        Args:
            exist_ok: accept an existing queue. Only then is the request retried if its response is lost.

        Raises:
            FileExists: the queue already exists.
            GridError: the request failed; the queue may have been created.
        """
        await self._access.create(self.name, exist_ok=exist_ok)

    async def send(self, message: str) -> str:
        """Append a message.

        The request is sent once. If its response is lost, aiomig looks for the message in the queue: an error then
        means that the message was not sent, or has already been received. After a cancellation, the message may have
        been sent.

        Args:
            message: a non-empty string of ASCII characters except ``<``, ``>`` and control characters other than tabs
                and line breaks, of letters of Latin-1, and of the signs ``¤€£¢¥₣₤±×÷½¾§‰¶``. Servers and local mode
                refuse others. Put large content into a file of the home, and send its path.

        Returns:
            The id of the message: ASCII letters and digits. Later messages have greater ids.

        Raises:
            SpecError: the message cannot be sent.
            FileNotFound: the queue does not exist.
            GridError: the request failed.
        """
        _check(message)
        # Servers use seconds since 1970, and deliver the smallest id first. This id sorts among theirs.
        message_id = f"{time.time_ns()}{secrets.token_hex(4)}"
        await self._access.send(self.name, message_id, message)
        return message_id

    async def receive(self) -> str | None:
        """Return the next message and remove it from the queue.

        `receive` is at-most-once: a grid deletes the message before it sends it, so a lost response or a cancellation
        may lose the message. For this reason, the request is never retried. Local mode does not lose messages.

        Returns:
            The message, or ``None`` if the queue is empty.

        Raises:
            FileNotFound: the queue does not exist.
            GridError: the request failed.
        """
        return await self._access.next(self.name, take=True)

    async def peek(self) -> str | None:
        """Return the next message and leave it in the queue. Return ``None`` if the queue is empty.

        Raises:
            FileNotFound: the queue does not exist.
            GridError: the request failed.
        """
        return await self._access.next(self.name, take=False)

    async def list(self) -> _Names:
        """List the messages in the queue.

        Returns:
            The ids of the messages, oldest first. The text of a message is in the file
            ``message_queues/NAME/ID`` of the home.

        Raises:
            FileNotFound: the queue does not exist.
            GridError: the request failed.
        """
        return await self._access.ids(self.name)

    async def remove(self, *, missing_ok: bool = False) -> None:
        """Remove the queue and its messages. The queue ``default`` may exist again at once.

        Args:
            missing_ok: accept a missing queue. Only then is the request retried if its response is lost.

        Raises:
            FileNotFound: the queue does not exist.
            GridError: the request failed; the queue may have been removed.
        """
        await self._access.remove(self.name, missing_ok=missing_ok)


def _check(message: Any) -> None:
    if not isinstance(message, str):
        problem, remedy = "not a string", "decode it, or send binary data as base64"
    elif not message:
        problem, remedy = "empty, which a server treats as no message", "send at least one character"
    elif stray := _NOT_ALLOWED.search(message):
        name = unicodedata.name(stray[0], f"U+{ord(stray[0]):04X}")
        problem = f"contains {stray[0]!r} ({name}), which message queues do not accept"
        remedy = "remove it, or send base64, or JSON from json.dumps, which escapes it (write < as \\u003c)"
    else:
        return
    raise SpecError([Fault("message", message, problem, remedy)])
