"""Text for people: printable text, shortened values, explained exit codes, and HTML tables for notebooks."""

from __future__ import annotations

import os
import signal
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_LONGEST_VALUE = 120
_LONGEST_OUTPUT = 10_000
_CELL = "text-align: left; vertical-align: top; white-space: pre-wrap"


def printable(text: str, *, keep: str = "") -> str:
    r"""Escape control characters, bidi controls and line breaks, which a terminal, log or page would interpret.

    All text from a server or a job passes through this function before it is displayed.

    Args:
        text: any string.
        keep: characters that are not escaped, such as ``"\n\t"`` for text of several lines.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in keep else character.encode("unicode_escape").decode()
        for character in text
    )


def short_repr(value: object) -> str:
    """Return the repr of a value, shortened for a message. Never raises."""
    if isinstance(value, str | bytes | bytearray) and len(value) > _LONGEST_VALUE:
        unit = "characters" if isinstance(value, str) else "bytes"
        return f"{value[: _LONGEST_VALUE - 20]!r}… ({len(value)} {unit})"
    try:
        text = repr(os.fspath(value) if isinstance(value, os.PathLike) else value)
    except Exception:  # noqa: BLE001 - a user's own __repr__, or an integer with too many digits
        return f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 20]}… ({len(text)} characters)"


# -- exit codes

_EXIT_CODES = (  # exit code, part of standard error, explanation; the first match counts
    (124, "", "ended by the timeout command"),
    (126, "Argument list too long", "arguments or environment too long: write them to a file, and make it an input"),
    (126, "Exec format error", "built for another processor"),
    (126, "Is a directory", "a directory, not a program"),
    (126, "", "found, but not executable: executables=[…] makes files executable; a disk mounted noexec allows none"),
    (127, "", "command not found: executables=[…] sends your own"),
    (255, "", "unbalanced quotes, or an error of ssh or a similar program"),
)
_SIGNALS: Mapping[int, str] = {
    signal.SIGILL: "illegal instruction, often built for another processor",
    signal.SIGABRT: "aborted, often by a failed assertion",
    signal.SIGKILL: "killed, often out of memory (raise memory_mb), or over the CPU time that wall_time allows",
    signal.SIGSEGV: "segmentation fault",
    signal.SIGTERM: "asked to terminate",
    signal.SIGXCPU: "over the CPU time that wall_time allows",
    signal.SIGXFSZ: "over the file size that disk_gb or ulimit -f allows",
}


def signal_name(exit_code: int) -> str | None:
    """Return the name of signal N for the exit code 128 + N, or ``None`` for other codes."""
    try:
        return signal.Signals(exit_code - 128).name
    except ValueError:
        return None


def explain_exit_code(exit_code: int, stderr: str = "") -> str:
    """Return the usual meaning of an exit code, as a space and text in parentheses; empty if it has none.

    Args:
        exit_code: the exit code of a command.
        stderr: the end of its standard error.
    """
    for code, stderr_part, explanation in _EXIT_CODES:
        if code == exit_code and stderr_part in stderr:
            return f" ({explanation})"
    return f" (signal {exit_code - 128}, {explain_signal(exit_code - 128)})" if signal_name(exit_code) else ""


def explain_signal(number: int) -> str:
    """Return the name and the usual meaning of a signal."""
    meaning = _SIGNALS.get(number, "")
    return f"{signal_name(128 + number) or 'unknown'}{meaning and ': '}{meaning}"


# -- notebooks


class Failure(str):
    """A table cell that is highlighted as a failure."""

    __slots__ = ()


class HtmlRow(Protocol):
    """A value that can be shown as a row of an HTML table."""

    _HTML_HEAD: ClassVar[tuple[str, ...]]

    def _html_row(self) -> Sequence[object]:
        """Return a cell for each column in `_HTML_HEAD`."""
        ...


def html_rows(values: Iterable[HtmlRow]) -> str:
    """Return an HTML table of values of the same type."""
    rows = list(values)
    return html_table(rows[0]._HTML_HEAD, [row._html_row() for row in rows]) if rows else "<em>none</em>"


def html_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return an HTML table.

    Args:
        head: the column names.
        rows: the cells: text, numbers, times, or ``None`` for an empty cell.
    """
    top = "".join(f'<th style="{_CELL}">{html_text(name)}</th>' for name in head)
    body = "".join("<tr>" + "".join(map(_html_cell, row)) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _html_cell(value: object) -> str:
    color = "; color: #c53030; font-weight: bold" if isinstance(value, Failure) else ""
    return f'<td style="{_CELL}{color}">{html_text(value)}</td>'


def html_output(name: str, text: str) -> str:
    """Return the name and the end of an output stream as HTML; empty if there is no output."""
    if not text:
        return ""
    cut = f" (the last {_LONGEST_OUTPUT} of {len(text)} characters)" if len(text) > _LONGEST_OUTPUT else ""
    return f"<div>{html_text(name + cut)}</div><pre>{html_text(text[-_LONGEST_OUTPUT:])}</pre>"


def html_text(value: object) -> str:
    """Return a value as escaped HTML text."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    import html

    return html.escape(printable(str(value), keep="\n\t"))
