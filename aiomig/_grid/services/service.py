"""The base class of the services, checks of their arguments, and readers of fields of responses."""

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
        backend: the backend of the session. In local mode, each method raises a LocalError that names the operation.
    """

    __slots__ = ("_backend",)

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def _call(self, operation: str, /, **fields: object) -> Answer:
        """Run an operation. Leave out fields that are empty or ``None``."""
        self._backend.tasks.ensure_own_loop()
        present = {name: value for name, value in fields.items() if value is not None and value != "" and value != ()}
        return await self._backend.call(operation, form_fields(operation, present))


def given_id(value: object, field: str) -> str:
    """Return the id in an argument, which is a string or has an ``id`` (docs/protocol.md#characters).

    Raises:
        SpecError: the argument is not an id.
    """
    item_id = getattr(value, "id", value)
    if isinstance(item_id, str) and _ID.fullmatch(item_id):
        return item_id
    raise SpecError([Fault(field, value, "not an id of the server", "give letters, digits, '.', '_' and '-'")])


def find_by_id(rows: Iterable[_T], wanted: str, kind: str) -> _T:
    """Return the row with an id.

    Raises:
        FileNotFound: there is no such row.
    """
    for row in rows:
        if row.id == wanted:
            return row
    raise FileNotFound(wanted, f"there is no {kind} with this id")


def given_texts(texts: Iterable[str], field: str) -> tuple[str, ...]:
    """Return the strings in an argument.

    Raises:
        SpecError: the argument is a single string, whose characters would count as strings.
    """
    if isinstance(texts, str):
        raise SpecError([Fault(field, texts, "a single text instead of a list", "give a list of texts")])
    return tuple(texts)


def given_paths(paths: HomePath | Iterable[HomePath], field: str, nothing: str) -> tuple[str, ...]:
    """Return the paths of the home in an argument, which is a path or several.

    Raises:
        SpecError: there are no paths; ``nothing`` is its message.
        PathRefused: a path leaves the home.
    """
    result = tuple(home_path(path) for path in ([paths] if isinstance(paths, str | PurePath) else paths))
    if not result:
        raise SpecError([Fault(field, paths, nothing, "give files or directories of the home")])
    return result


def id_of(operation: str, row: Object, *keys: str) -> str:
    """Return the id of a row.

    Raises:
        ProtocolError: the row has no id.
    """
    row_id = next((text for key in keys if (text := words(row, key))), "")
    if not _ID.fullmatch(row_id):
        raise ProtocolError(f"{operation}: a row has no {keys[0]}", excerpt=excerpt([row]))
    return row_id


def words(row: Object, *keys: str) -> str:
    """Return the first of these members that is a string or a number, as plain text; empty if there is none."""
    for key in keys:
        value = row.get(key)
        if isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
            return plain(str(value))
    return ""


def texts(row: Object, *keys: str) -> tuple[str, ...]:
    """Return the strings in the first of these members that is a string or contains strings."""
    for key in keys:
        value = row.get(key)
        values = [value] if isinstance(value, str) else value
        if isinstance(values, list) and (strings := tuple(text for text in values if isinstance(text, str) and text)):
            return strings
    return ()


def moment(value: object) -> datetime | None:
    """Parse a time: asctime or ISO 8601 in UTC, or seconds since 1970. Return ``None`` for anything else."""
    if isinstance(value, str):
        try:
            time = datetime.fromisoformat(value.strip())
        except ValueError:
            return timestamp(value)
        return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    epoch_time = epoch(value)
    return epoch_time if epoch_time is not None and epoch_time.timestamp() > 0 else None
