"""Message queues: `Queue`, the same on the grid and in local mode, and what the two modes give it to work with."""

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

_Names: TypeAlias = list[str]  # inside of Queue, `list` is a method

_NAME = re.compile(r"[A-Za-z0-9]{1,255}")  # docs/protocol.md#characters
_UNSENDABLE = re.compile(
    # all but ASCII without < and > and control characters, the letters of Latin-1, and some signs:
    # docs/protocol.md#characters
    "[^\t\n -;=?-~À-ÖØ-öø-ÿ¤€£¢¥₣₤±×÷½¾§‰¶]"
)


def is_name(name: object) -> bool:
    """Whether a queue, or a message, may have this name."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def no_queue(name: str) -> FileNotFound:
    """The error for a queue that is not there."""
    return FileNotFound(f"{FOLDER}/{name}", "there is no such message queue; make it with queue.create()")


def queue_exists(name: str) -> FileExists:
    """The error for a queue that is there already."""
    return FileExists(f"{FOLDER}/{name}", "there is such a message queue already; create(exist_ok=True) takes it")


class Queue:
    """A message queue of the user, by which programs and jobs of a grid hand each other short texts.

    Made by `Session.queue`, with no I/O. Messages come out in the order in which they were sent, each to one receiver,
    whatever number of programs asks. They lie in the home, below ``message_queues/NAME``, a file each, named by its id.

    On a grid a job sends a message by writing ``target mqueue``, ``source FILE`` and ``destination NAME``, a line each,
    into the file ``$MIG_LOCALJOBNAME.sendupdate``; that takes half a minute. The other way servers on Python 3 hand a
    job an empty file. Local mode does not look at such files: there queues are for programs.

    Example::

        queue = session.queue("results")
        await queue.create(exist_ok=True)
        await queue.send("seed 7 is done")
        print(await queue.receive())            # seed 7 is done
        print(await queue.receive())            # None: it is empty

    Attributes:
        name: its name.
    """

    __slots__ = ("_backend", "_ensure_own_loop", "name")

    def __init__(self, backend: QueueBackend, name: str, ensure_own_loop: Callable[[], None] = lambda: None) -> None:
        if not is_name(name):
            remedy = "use 1 to 255 ASCII letters and digits"
            raise SpecError([Fault("name", name, "not a name that MiG takes for a message queue", remedy)])
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
        """Makes the queue. That named ``default`` is there from the beginning in local mode, and on most servers.

        Args:
            exist_ok: whether it is fine that it is there; only then it is tried again where an answer is lost.

        Raises:
            FileExists: it is there already.
            GridError: the grid could not be asked; it may have been made.
        """
        await self._access.create(self.name, exist_ok=exist_ok)

    async def send(self, message: str) -> str:
        """Adds a message at the end.

        It is sent once. Where the answer is lost, the queue is looked at: an error then means that the message was not
        sent, or was received by somebody within that time. Cancelled, it may have been sent.

        Args:
            message: at least one character: ASCII without ``<``, ``>`` and control characters other than tabs and
                line breaks, the letters of Latin-1, and the signs ``¤€£¢¥₣₤±×÷½¾§‰¶``. A server refuses all others,
                and so does local mode. What is large belongs into a file of the home, and its path into the message.

        Returns:
            The id of the message: ASCII letters and digits. Later ones are sorted behind it.

        Raises:
            SpecError: the message cannot be sent.
            FileNotFound: there is no such queue.
            GridError: the grid could not be asked.
        """
        _check(message)
        # Servers count seconds since the epoch, and take the smallest text first: so this fits among theirs.
        message_id = f"{time.time_ns()}{secrets.token_hex(4)}"
        await self._access.send(self.name, message_id, message)
        return message_id

    async def receive(self) -> str | None:
        """Takes the next message out of the queue.

        A grid removes the message before it answers, so that it is received once at most: where the answer is lost, or
        the task cancelled meanwhile, the message may be gone. The request is never repeated for that reason. In local
        mode none is lost.

        Returns:
            The message, or ``None`` where the queue is empty.

        Raises:
            FileNotFound: there is no such queue.
            GridError: the grid could not be asked.
        """
        return await self._access.next(self.name, take=True)

    async def peek(self) -> str | None:
        """The next message, which stays in the queue; ``None`` where it is empty.

        Raises:
            FileNotFound: there is no such queue.
            GridError: the grid could not be asked.
        """
        return await self._access.next(self.name, take=False)

    async def list(self) -> _Names:
        """What waits in the queue.

        Returns:
            The ids of the messages, the next one first. What one says is the text of its file,
            ``session.files.read_text(f"message_queues/{queue.name}/{message_id}")``.

        Raises:
            FileNotFound: there is no such queue.
            GridError: the grid could not be asked.
        """
        return await self._access.ids(self.name)

    async def remove(self, *, missing_ok: bool = False) -> None:
        """Removes the queue and the messages in it. That named ``default`` may be there again at once.

        Args:
            missing_ok: whether it is fine that it is not there; only then it is tried again where an answer is lost.

        Raises:
            FileNotFound: there is no such queue.
            GridError: the grid could not be asked; it may have been removed.
        """
        await self._access.remove(self.name, missing_ok=missing_ok)


def _check(message: Any) -> None:
    if not isinstance(message, str):
        problem, remedy = "not text", "decode it; bytes that are no text can be sent as base64"
    elif not message:
        problem, remedy = "empty, which a server takes for no message", "send at least one character"
    elif stray := _UNSENDABLE.search(message):
        name = unicodedata.name(stray[0], f"U+{ord(stray[0]):04X}")
        problem = f"holds {stray[0]!r} ({name}), which a grid's queues do not take"
        remedy = "leave it out, or send JSON made by json.dumps, which escapes it (< as \\u003c), or base64"
    else:
        return
    raise SpecError([Fault("message", message, problem, remedy)])
