"""Base class of the services, checks of what the user gives, and readers of what servers answer."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol, TypeVar

from ..._core.errors import FileNotFound, ProtocolError, SpecError
from ..._core.models import Fault
from ..._core.operations import form_fields
from ..._core.paths import home_path
from ..protocol.answer import excerpt, plain
from ..protocol.files import epoch
from ..protocol.jobs import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..._backend import Backend
    from ..._core.paths import HomePath
    from ..protocol.answer import Answer, Object


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


_T = TypeVar("_T", bound=_HasId)
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


def given_id(value: object, field: str) -> str:
    """Return the id that the user gave, by itself or with its value (docs/protocol.md#characters).

    Raises:
        SpecError: it is not one.
    """
    found = getattr(value, "id", value)
    if isinstance(found, str) and _ID.fullmatch(found):
        return found
    raise SpecError([Fault(field, value, "not an id of the server", "give letters, digits, '.', '_' and '-'")])


def find_by_id(rows: Iterable[_T], wanted: str, kind: str) -> _T:
    """Return the value with an id.

    Raises:
        FileNotFound: there is none.
    """
    for row in rows:
        if row.id == wanted:
            return row
    raise FileNotFound(wanted, f"there is no {kind} with this id")


def given_texts(texts: Iterable[str], field: str) -> tuple[str, ...]:
    """Return the texts that the user gave.

    Raises:
        SpecError: it is one text, whose characters would count as texts.
    """
    if isinstance(texts, str):
        raise SpecError([Fault(field, texts, "one text in the place of several", "give a list of texts")])
    return tuple(texts)


def given_paths(paths: HomePath | Iterable[HomePath], field: str, nothing: str) -> tuple[str, ...]:
    """Return one or several paths of the home that the user gave.

    Raises:
        SpecError: there is none; ``nothing`` is what it says then.
        PathRefused: one leaves the home.
    """
    found = tuple(home_path(path) for path in ([paths] if isinstance(paths, str | PurePath) else paths))
    if not found:
        raise SpecError([Fault(field, paths, nothing, "give files or directories of the home")])
    return found


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
    """Return the texts of the first of some members that has any, as they are: a list of texts, or one text."""
    for key in keys:
        value = row.get(key)
        found = [value] if isinstance(value, str) else value
        if isinstance(found, list) and (kept := tuple(text for text in found if isinstance(text, str) and text)):
            return kept
    return ()


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
