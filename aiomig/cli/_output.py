"""Writes the output of commands: data to standard output, and messages to standard error."""

from __future__ import annotations

import io
import json
import os
import re
import select
import sys
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TextIO

from .. import JobState
from .._core.display import Failure, printable
from .._core.models import json_value

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from .. import JobStatus

_STYLES = {
    JobState.FINISHED: "green",
    JobState.EXECUTING: "cyan",
    JobState.FAILED: "bold red",
    JobState.EXPIRED: "red",
    JobState.CANCELED: "yellow",
    JobState.FROZEN: "blue",
}
_LINES = "\n\t"
_CHUNK = 1 << 20


class OutputFailed(Exception):
    """Standard output cannot be written. Not an `OSError`, because click exits on some of these."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror or error}")
        self.reader_gone = isinstance(error, BrokenPipeError)


def say(message: str) -> None:
    """Write a message for the user to standard error."""
    write_error(f"aiomig: {printable(message, keep=_LINES)}\n")


def write_error(text: str) -> None:
    """Write text to standard error. Ignore errors, because there is no place left to report them."""
    _send_error(text.encode(sys.stderr.encoding or "utf-8", "backslashreplace"))


def write(text: str, *, content: bool = False) -> None:
    """Write a line to standard output.

    Args:
        text: the line. On a terminal, control characters are escaped.
        content: whether the line comes from a file or a job's output. Tabs are then kept, and line breaks are escaped.
    """
    if sys.stdout.isatty():
        text = printable(text, keep="\t" if content else _LINES)
    _send(sys.stdout, f"{text}\n".encode(sys.stdout.encoding or "utf-8", sys.stdout.errors or "strict"))


def write_bytes(data: bytes, *, to_stderr: bool = False) -> None:
    """Write the content of a file or the output of a job unchanged, or on a terminal with escapes as `write` does."""
    stream = sys.stderr if to_stderr else sys.stdout
    if stream.isatty():
        data = printable(data.decode("utf-8", "backslashreplace").replace("\r\n", "\n"), keep=_LINES).encode()
    if to_stderr:
        _send_error(data)
    else:
        _send(stream, data)


def write_json(value: object) -> None:
    """Write a value to standard output as one line of JSON."""
    _send(sys.stdout, f"{to_json(value)}\n".encode())


def to_json(value: object) -> str:
    """Return a value as one line of JSON with escaped control characters."""
    text = json.dumps(json_value(value), ensure_ascii=False)
    return text if text.isprintable() else re.sub(r"\W", _escape, text)


def _escape(match: re.Match[str]) -> str:
    return match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1]


def _send(stream: TextIO, data: bytes) -> None:
    try:
        _send_all(stream, data)
    except OSError as error:
        raise OutputFailed(error) from error


def _send_error(data: bytes) -> None:
    with suppress(OSError):
        _send_all(sys.stderr, data)


def _send_all(stream: TextIO, data: bytes) -> None:
    """Write all bytes without a buffer, because data left in a buffer would fail only at exit."""
    stream.flush()
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:  # not a file, in tests
        stream.buffer.write(data)
        return
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # another program has made the pipe non-blocking
            select.select([], [descriptor], [])


def read_bytes() -> bytes:
    """Read all of standard input.

    Raises:
        OSError: standard input cannot be read.
    """
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise OSError(f"standard input cannot be read: {error.strerror}") from error


async def read_chunks() -> AsyncGenerator[bytes, None]:
    """Read standard input in chunks.

    Raises:
        OSError: standard input cannot be read.
    """
    try:
        while chunk := sys.stdin.buffer.read(_CHUNK):
            yield chunk
    except OSError as error:
        raise OSError(f"standard input cannot be read: {error.strerror}") from error


def read_text() -> str:
    """Read all of standard input as text.

    Raises:
        ValueError: standard input is not UTF-8 text.
        OSError: standard input cannot be read.
    """
    try:
        return read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"standard input is not UTF-8 text: {error.reason} at byte {error.start}") from error


def terminal(*, stderr: bool = False) -> Console | None:
    """Return a console for the stream, or ``None`` if the stream is not a terminal."""
    if not (sys.stderr if stderr else sys.stdout).isatty():
        return None
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, emoji=False, markup=False)


def write_table(columns: Mapping[str, str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table: on a terminal with colours and fitted to its width, else as lines of aligned text.

    Args:
        columns: the alignment of each column, ``"left"`` or ``"right"``, by heading.
        rows: the cells of each row.
    """
    lines = [list(row) for row in rows]
    if (console := terminal()) is not None:
        console.print(rich_table(columns, lines))
        return
    lines.insert(0, list(columns))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    adjust = [str.rjust if align == "right" else str.ljust for align in columns.values()]
    for line in lines:
        cells = (justify(cell, width) for justify, cell, width in zip(adjust, line, widths, strict=True))
        write("  ".join(cells).rstrip())


def rich_table(columns: Mapping[str, str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table for rich with coloured states."""
    from rich.table import Table
    from rich.text import Text

    lines = [[cell if cell.isprintable() else printable(cell) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, (heading, align) in enumerate(columns.items()):
        # On a narrow terminal, only names and the last column are shortened, so that ids can be copied.
        widest = max(len(heading), *(len(line[number]) for line in lines)) if lines else len(heading)
        min_width = widest if number < len(columns) - 1 and heading != "NAME" else len(heading)
        justify: Literal["left", "right"] = "right" if align == "right" else "left"
        table.add_column(heading, justify=justify, no_wrap=True, overflow="ellipsis", min_width=min_width)
    for line in lines:
        table.add_row(*(Text(cell, style=_style(cell)) for cell in line))
    return table


def _style(cell: str) -> str:
    return "bold red" if isinstance(cell, Failure) else _STYLES.get(cell, "")  # type: ignore[call-overload]


def state_cells(status: JobStatus) -> list[str]:
    """Return the cells for a job's state and exit code, with failures marked as such."""
    code = "-" if status.exit_code is None else str(status.exit_code)
    return [Failure(status.state) if status.is_failure else status.state, Failure(code) if status.exit_code else code]


def duration(seconds: float) -> str:
    """Format seconds: ``3.2s``, ``4m05s``, ``2h07m``, ``3d04h``."""
    if seconds < 60:
        return f"{max(seconds, 0):.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"


def size(count: int) -> str:
    """Format a number of bytes: ``17 B``, ``4.2 KiB``."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def local_time(when: datetime | None) -> str:
    """Format a time in the local time zone; ``None`` becomes ``-``."""
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S}" if when is not None else "-"


def ended_at(status: JobStatus) -> datetime | None:
    """Return the time at which a job ended, or ``None`` if it has not ended or the grid does not report the time."""
    return status.finished_at or status.failed_at or status.canceled_at if status.state.is_final else None


def short_time(when: datetime | None) -> str:
    """Format a time for a table. On a terminal, omit today's date."""
    if when is None or not sys.stdout.isatty():
        return local_time(when)
    local = when.astimezone()
    return f"{local:%H:%M:%S}" if local.date() == datetime.now().astimezone().date() else f"{local:%Y-%m-%d %H:%M}"
