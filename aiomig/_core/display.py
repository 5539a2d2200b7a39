"""Tables for notebooks: what `_repr_html_` of the values gives. All text in them is escaped."""

from __future__ import annotations

import html
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LONGEST_OUTPUT = 10_000
_CELL = "text-align: left; vertical-align: top; white-space: pre-wrap"


class Row(Protocol):
    """What can be a row of a table."""

    _HTML_HEAD: ClassVar[tuple[str, ...]]

    def _html_row(self) -> Sequence[object]:
        """The cells, as many as `_HTML_HEAD` has."""
        ...


R = TypeVar("R", bound=Row)


class Listing(list[R]):
    """A list that a notebook shows as a table. In all else it is a list."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return of(self)


class Mapped(dict[str, R]):
    """A dict whose values a notebook shows as a table. In all else it is a dict."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return of(self.values())


def of(rows: Iterable[Row]) -> str:
    """A table of values of one kind."""
    given = list(rows)
    return table(given[0]._HTML_HEAD, [row._html_row() for row in given]) if given else "<em>none</em>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table.

    Args:
        head: the names of the columns.
        rows: the cells: text, numbers, times, or ``None`` for nothing.
    """
    top = "".join(f'<th style="{_CELL}">{escaped(name)}</th>' for name in head)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{escaped(cell)}</td>' for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def output(name: str, text: str) -> str:
    """The end of an output stream under its name; nothing where it is empty."""
    if not text:
        return ""
    cut = f" (the last {_LONGEST_OUTPUT} of {len(text)} characters)" if len(text) > _LONGEST_OUTPUT else ""
    return f"<div>{escaped(name + cut)}</div><pre>{escaped(text[-_LONGEST_OUTPUT:])}</pre>"


def escaped(value: object) -> str:
    """A value as text that no browser takes for anything else."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return html.escape(str(value))
