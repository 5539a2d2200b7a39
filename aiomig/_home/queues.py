"""Message queues: `Queue`, the same on a grid and in local mode."""

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
"""The folder of the queues in the home: a folder each, a file for each message (docs/protocol.md#message-queues)."""

_Names: TypeAlias = list[str]  # inside Queue, `list` is a method

_NAME = re.compile(r"[A-Za-z0-9]{1,255}")  # docs/protocol.md#characters
_UNSENDABLE = re.compile(
    # Everything but ASCII without < and > and control characters, the letters of Latin-1, and some signs:
    # docs/protocol.md#characters
    "[^\t\n -;=?-~À-ÖØ-öø-ÿ¤€£¢¥₣₤±×÷½¾§‰¶]"
)


def is_name(name: object) -> bool:
    """Return whether a queue or a message may have this name."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def no_queue(name: str) -> FileNotFound:
    """Return the error for a missing queue."""
    return FileNotFound(f"{FOLDER}/{name}", "there is no such message queue; make it with queue.create()")


def queue_exists(name: str) -> FileExists:
    """Return the error for a queue that exists."""
    return FileExists(f"{FOLDER}/{name}", "this message queue exists already; create(exist_ok=True) accepts it")


class Queue:
    """A message queue of the user: programs and jobs of a grid send each other short texts.

    `Session.queue` makes it without I/O. Messages arrive in the order of sending, and each goes to one receiver. A
    message is a file in the home: ``message_queues/NAME/ID``.

    A job sends a message by a file ``$MIG_LOCALJOBNAME.sendupdate`` with the lines ``target mqueue``, ``source FILE``
    and ``destination NAME``, and receives one by a file ``….getupdate`` with ``source NAME`` and ``destination
    DIRECTORY``. Each file is renamed to ``…done`` when that has happened: on a grid after half a minute, in local mode
    at once. The message is then the file ``DIRECTORY/NAME``, which is empty if the queue was. Servers on Python 3 give
    jobs empty messages. ``examples/master_and_workers.py`` shows both.

    Example::

        queue = session.queue("results")
        await queue.create(exist_ok=True)
        await queue.send("seed 7 is done")
        print(await queue.receive())            # seed 7 is done
        print(await queue.receive())            # None: the queue is empty

    Attributes:
        name: the name of the queue.
    """

    __slots__ = ("_backend", "_ensure_own_loop", "name")

    def __init__(self, backend: QueueBackend, name: str, ensure_own_loop: Callable[[], None] = lambda: None) -> None:
        if not is_name(name):
            remedy = "use 1 to 255 ASCII letters and digits"
            raise SpecError([Fault("name", name, "not a name of a message queue in MiG", remedy)])
        self._backend = backend
        self._ensure_own_loop = ensure_own_loop
        self.name: str = name

    @property
    def _access(self) -> QueueBackend:
        self._ensure_own_loop()
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
        """Make the queue. The queue ``default`` always exists in local mode, and on most servers.

        Args:
            exist_ok: accept an existing queue. Only then the request is retried if its response is lost.

        Raises:
            FileExists: the queue exists.
            GridError: the grid could not be asked; the queue may have been made.
        """
        await self._access.create(self.name, exist_ok=exist_ok)

    async def send(self, message: str) -> str:
        """Add a message at the end.

        It is sent once. If the response is lost, aiomig looks into the queue: an error then means that the message was
        not sent, or that someone has received it already. If this is cancelled, the message may have been sent.

        Args:
            message: at least one character: ASCII without ``<``, ``>`` and control characters other than tabs and
                line breaks, the letters of Latin-1, and the signs ``¤€£¢¥₣₤±×÷½¾§‰¶``. Servers and local mode refuse
                others. Put large content into a file of the home, and its path into the message.

        Returns:
            The id of the message: ASCII letters and digits. Later messages have greater ids.

        Raises:
            SpecError: the message cannot be sent.
            FileNotFound: the queue does not exist.
            GridError: the grid could not be asked.
        """
        _check(message)
        # Servers use seconds since 1970, and deliver the smallest id first. This id sorts among theirs.
        message_id = f"{time.time_ns()}{secrets.token_hex(4)}"
        await self._access.send(self.name, message_id, message)
        return message_id

    async def receive(self) -> str | None:
        """Return the next message and remove it from the queue.

        `receive` is at-most-once: a grid deletes the message before it sends it, so a lost response or a cancellation
        may lose the message. For that reason the request is never retried. Local mode loses no message.

        Returns:
            The message, or ``None`` if the queue is empty.

        Raises:
            FileNotFound: the queue does not exist.
            GridError: the grid could not be asked.
        """
        return await self._access.next(self.name, take=True)

    async def peek(self) -> str | None:
        """Return the next message and leave it in the queue; ``None`` if the queue is empty.

        Raises:
            FileNotFound: the queue does not exist.
            GridError: the grid could not be asked.
        """
        return await self._access.next(self.name, take=False)

    async def list(self) -> _Names:
        """List the messages in the queue.

        Returns:
            The ids of the messages, the next one first. ``session.files.read_text`` of
            ``f"message_queues/{queue.name}/{message_id}"`` returns the message.

        Raises:
            FileNotFound: the queue does not exist.
            GridError: the grid could not be asked.
        """
        return await self._access.ids(self.name)

    async def remove(self, *, missing_ok: bool = False) -> None:
        """Remove the queue and its messages. The queue ``default`` may exist again at once.

        Args:
            missing_ok: accept a missing queue. Only then the request is retried if its response is lost.

        Raises:
            FileNotFound: the queue does not exist.
            GridError: the grid could not be asked; the queue may have been removed.
        """
        await self._access.remove(self.name, missing_ok=missing_ok)


def _check(message: Any) -> None:
    if not isinstance(message, str):
        problem, remedy = "not text", "decode it, or send other bytes as base64"
    elif not message:
        problem, remedy = "empty, which a server treats as no message", "send at least one character"
    elif stray := _UNSENDABLE.search(message):
        name = unicodedata.name(stray[0], f"U+{ord(stray[0]):04X}")
        problem = f"holds {stray[0]!r} ({name}), which a grid's queues do not accept"
        remedy = "leave it out, or send JSON made by json.dumps, which escapes it (< as \\u003c), or base64"
    else:
        return
    raise SpecError([Fault("message", message, problem, remedy)])
