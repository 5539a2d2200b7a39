"""Tables for notebooks: what `_repr_html_` of the values gives. All text in them is escaped."""

from __future__ import annotations

import html
import signal
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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


_LONGEST_SHOWN = 120


def shown(value: object) -> str:
    """A value as messages show it: its repr, cut to a bearable length; never an error, whatever the value is."""
    if isinstance(value, str | bytes | bytearray) and len(value) > _LONGEST_SHOWN:
        return f"{value[: _LONGEST_SHOWN - 20]!r}… ({len(value)} {'characters' if isinstance(value, str) else 'bytes'})"
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a repr of the user's own, or a number of too many digits
        return f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 20]}… ({len(text)} characters)"


def printable(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]


_EXIT_CODES: Mapping[int, str] = {
    124: "ended by the timeout command",
    126: "found, but not executable: executables=[…] sends files that are",
    127: "command not found: executables=[…] sends your own",
    255: "unbalanced quotes, or an error of ssh and the like",
}


_SIGNALS: Mapping[int, str] = {
    signal.SIGILL: "illegal instruction, often built for another processor",
    signal.SIGABRT: "aborted, often by a failed assertion",
    signal.SIGKILL: "killed, often out of memory, or over the CPU time that wall_time allows",
    signal.SIGSEGV: "segmentation fault",
    signal.SIGTERM: "told to end",
    signal.SIGXCPU: "over the CPU time that wall_time allows",
    signal.SIGXFSZ: "over the file size that disk_gb allows",
}


def _signal_name(exit_code: int) -> str | None:
    """Of 128 + N the name of signal N."""
    try:
        return signal.Signals(exit_code - 128).name
    except ValueError:
        return None


def explain_exit_code(exit_code: int) -> str:
    """What an exit code usually means, as text in brackets, or nothing."""
    if exit_code in _EXIT_CODES:
        return f" ({_EXIT_CODES[exit_code]})"
    name = _signal_name(exit_code)
    if name is None:
        return ""
    meaning = _SIGNALS.get(exit_code - 128, "")
    return f" (signal {exit_code - 128}, {name}{meaning and ': '}{meaning})"
