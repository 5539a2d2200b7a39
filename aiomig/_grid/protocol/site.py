"""Parses responses about a MiG server's documentation and message queues. Pure functions, no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..._core.errors import ProtocolError
from ..._core.site import Keyword
from .answer import Answer, excerpt, lines_of, of_type, plain, raise_for_errors, rows, shown, text_of

__all__ = ["Keyword", "Message", "keywords", "message", "names", "runtime_environments", "topics"]

_SUPPORTED = re.compile(r"supports the following values:\s*(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a queue.

    Attributes:
        id: its id in the queue.
        text: its content.
    """

    id: str
    text: str


def names(answer: Answer, operation: str = "mqueue") -> tuple[str, ...]:
    """Return the queues, or the ids of the messages of a queue, in the order of the response.

    Raises:
        ServerError: the queue does not exist, or the request was refused.
        ProtocolError: the response is about something else.
    """
    # Every response about queues has a file_output (recorded).
    raise_for_errors(operation, answer, "list" if of_type(answer, "list") else "file_output")
    return tuple(name for item in of_type(answer, "list") for name in _items(operation, item.get("list")))


def message(answer: Answer, operation: str = "mqueue") -> Message | None:
    """Return the message in a response to ``receive`` or ``show``, or ``None`` if the queue is empty.

    For an empty queue, the response is ``NO MESSAGES``. Only the missing id distinguishes it from a message with that
    text (docs/protocol.md#message-queues).

    Raises:
        ServerError: the queue does not exist, or the request was refused.
        ProtocolError: the response is about something else.
    """
    raise_for_errors(operation, answer, "file_output")
    for item in of_type(answer, "file_output"):
        if message_id := text_of(item, "path"):
            return Message(message_id, "".join(lines_of(operation, item)))
    return None


def keywords(answer: Answer, operation: str = "docs") -> dict[str, Keyword]:
    """Return the server's mRSL keywords by name, from ``docs.py?show=mrsl`` (docs/protocol.md#discovery).

    Raises:
        ServerError: the request was refused.
        ProtocolError: the response documents no keyword.
    """
    raise_for_errors(operation, answer)
    sections: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for item in answer:
        if item.get("object_type") == "sectionheader":
            lines = sections.setdefault(plain(text_of(item, "text")).strip(": "), [])
        elif lines is not None and item.get("object_type") == "list":
            lines += _items(operation, item.get("list"))
        elif lines is not None and text_of(item, "text"):
            lines.append(text_of(item, "text"))
    result = {name: _keyword(name, lines) for name, lines in sections.items() if re.fullmatch("[A-Z]+", name)}
    if not result:
        raise ProtocolError(f"{operation}: the response documents no keyword", excerpt=excerpt(answer))
    return result


def topics(answer: Answer, operation: str = "docs") -> tuple[str, ...]:
    """Return the documented topics, from ``docs.py`` without a topic.

    Raises:
        ServerError: the request was refused.
        ProtocolError: the response is about something else.
    """
    raise_for_errors(operation, answer)
    return tuple(plain(topic) for item in of_type(answer, "list") for topic in _items(operation, item.get("list")))


def runtime_environments(answer: Answer, operation: str = "redb") -> tuple[str, ...]:
    """Read the names of the server's runtime environments from ``redb.py`` (docs/protocol.md#discovery).

    Raises:
        ServerError: the request was refused.
        ProtocolError: the response is about something else, or an environment has no name.
    """
    raise_for_errors(operation, answer, "runtimeenvironments")
    environments = rows(operation, answer, "runtimeenvironments")
    names = tuple(plain(text_of(row, "name")) for row in environments)
    if not all(names):
        raise ProtocolError(f"{operation}: a runtime environment has no name", excerpt=excerpt(answer))
    return names


def _keyword(name: str, lines: list[str]) -> Keyword:
    pieces = (piece for line in lines for piece in re.split(r"<br */?>", line))
    shown = [line for piece in pieces if (line := plain(re.sub(r"<[^<>]*>", " ", piece)))]
    match = _SUPPORTED.search("\n".join(shown))
    values = match[1].partition("\n")[0].split(",") if match else []
    return Keyword(name, tuple(shown), tuple(value.strip() for value in values if value.strip()))


def _items(operation: str, value: object) -> list[str]:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise ProtocolError(f"{operation}: list is not a list of text", excerpt=shown(value))
