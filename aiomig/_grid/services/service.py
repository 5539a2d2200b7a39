"""What the services have in common: calling operations, and reading their objects."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from ..._core.errors import ProtocolError, SpecError
from ..._core.models import Fault
from ..._core.operations import form_fields
from ..protocol.answer import excerpt, members, of_type, plain, text_of
from ..protocol.files import epoch
from ..protocol.jobs import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..._backend import Backend
    from ..protocol.answer import Answer, Object

_ID = re.compile(r"[A-Za-z0-9._-]{1,255}", re.ASCII)


class Service:
    """The operations of one service.

    Args:
        backend: of the session. In local mode each method raises LocalError, which names the operation.
    """

    __slots__ = ("_backend",)

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def _call(self, operation: str, /, **fields: object) -> Answer:
        """Run an operation; leave out the fields that are ``None``, and those that are empty."""
        self._backend.tasks.ensure_own_loop()
        given = {name: value for name, value in fields.items() if value is not None and value != "" and value != ()}
        return await self._backend.call(operation, form_fields(operation, given))


def records(operation: str, answer: Answer, kind: str) -> list[Object]:
    """Return the rows of the objects of a type: the list in the member that has the name of the type.

    Raises:
        ProtocolError: there is no such object, or it holds something else.
    """
    found = of_type(answer, kind)
    if not found:
        raise ProtocolError(f"{operation}: the answer has no {kind}", excerpt=excerpt(answer))
    return [row for each in found for row in members(operation, each, kind)]


def checked_id(value: object, field: str) -> str:
    """Return an id of a service that the user gave (docs/protocol.md#characters).

    Raises:
        SpecError: it is not one.
    """
    if isinstance(value, str) and _ID.fullmatch(value):
        return value
    raise SpecError([Fault(field, value, "not an id of the server", "give letters, digits, '.', '_' and '-'")])


def id_of(operation: str, row: Object, *keys: str) -> str:
    """Return the id of a row.

    Raises:
        ProtocolError: it has none.
    """
    found = next((text for key in keys if (text := words(row, key))), "")
    if not _ID.fullmatch(found):
        raise ProtocolError(f"{operation}: a row has no {keys[0]}", excerpt=excerpt([row]))
    return found


def words(row: Object, *keys: str) -> str:
    """Return the first of some members that is a text or a number, as plain text; empty if there is none."""
    for key in keys:
        value = row.get(key)
        if isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
            return plain(str(value))
    return ""


def texts(row: Object, *keys: str) -> tuple[str, ...]:
    """Return the texts of the first of some members that has any: a list of texts, or one text."""
    for key in keys:
        value = row.get(key)
        found = [value] if isinstance(value, str) else value
        if isinstance(found, list) and (kept := tuple(plain(text) for text in found if isinstance(text, str) and text)):
            return kept
    return ()


def is_on(value: object) -> bool:
    """Return whether a member says yes: a truth value, or one of the words that servers use."""
    return value is True or (isinstance(value, str) and value.strip().lower() in {"on", "yes", "true", "1"})


def moment(value: object) -> datetime | None:
    """Return a time: asctime or ISO 8601 in UTC, or seconds since 1970; ``None`` for anything else."""
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value.strip())
        except ValueError:
            return timestamp(value)
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    found_epoch = epoch(value)
    return found_epoch if found_epoch is not None and found_epoch.timestamp() > 0 else None


def moment_text(field: str, value: date) -> str:
    """Return a date, or an aware datetime in UTC, as it is sent.

    Raises:
        SpecError: it is naive, or no date.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise SpecError([Fault(field, value, "has no time zone", "give an aware datetime, such as one in UTC")])
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, date):
        return value.isoformat()
    raise SpecError([Fault(field, value, "not a date", "give a datetime.date or an aware datetime")])


def named_rows(operation: str, answer: Answer, *keys: str) -> Iterator[tuple[str, Object]]:
    """Yield the names of a listing with what else it says: texts of ``list`` objects, or the rows of any list.

    Args:
        operation: for messages.
        answer: its objects.
        keys: the members that may hold the name of a row.
    """
    for each in answer:
        for value in each.values():
            for row in value if isinstance(value, list) else ():
                if isinstance(row, str):
                    yield plain(row), {}
                elif isinstance(row, dict) and text_of(row, "object_type") != "link":
                    yield words(row, *keys), row
