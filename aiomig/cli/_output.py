"""What a command writes: data on standard output; everything else on standard error, as sentences."""

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
_PIECE = 1 << 20


class OutputFailed(Exception):
    """Standard output cannot be written. Not an `OSError`: click ends the program itself for some of those."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror or error}")
        self.reader_gone = isinstance(error, BrokenPipeError)


def say(text: str) -> None:
    """Write a sentence for the user on standard error."""
    write_error(f"aiomig: {printable(text, keep=_LINES)}\n")


def write_error(text: str) -> None:
    """Write text on standard error. If that fails there is nobody to tell, and the command goes on."""
    _send_error(text.encode(sys.stderr.encoding or "utf-8", "backslashreplace"))


def write(text: str, *, content: bool = False) -> None:
    """Write a line of the answer on standard output.

    Args:
        text: the line. On a terminal, characters that it would obey are written as escapes.
        content: whether it is a line of a file or of a job's output, in which a tab is kept.
    """
    if sys.stdout.isatty():
        text = printable(text, keep="\t" if content else _LINES)
    _send(sys.stdout, f"{text}\n".encode(sys.stdout.encoding or "utf-8", sys.stdout.errors or "strict"))


def write_bytes(data: bytes, *, to_stderr: bool = False) -> None:
    """Write the content of a file or the output of a job: byte for byte, or on a terminal as `write` does."""
    stream = sys.stderr if to_stderr else sys.stdout
    if stream.isatty():
        data = printable(data.decode("utf-8", "backslashreplace").replace("\r\n", "\n"), keep=_LINES).encode()
    if to_stderr:
        _send_error(data)
    else:
        _send(stream, data)


def write_json(value: object) -> None:
    """Write a value as one line of JSON on standard output."""
    _send(sys.stdout, f"{to_json(value)}\n".encode())


def to_json(value: object) -> str:
    """Return a value as one line of JSON, in which what a terminal would obey is escaped."""
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
    """Write all bytes at once: what stays in a buffer would fail when the program ends."""
    stream.flush()
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:  # not a file, in tests
        stream.buffer.write(data)
        return
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # another program set the pipe to this mode
            select.select([], [descriptor], [])


def read_bytes() -> bytes:
    """Return what standard input holds.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise OSError(f"standard input cannot be read: {error.strerror}") from error


async def read_pieces() -> AsyncGenerator[bytes, None]:
    """Give what standard input holds in pieces.

    Raises:
        OSError: it cannot be read.
    """
    try:
        while piece := sys.stdin.buffer.read(_PIECE):
            yield piece
    except OSError as error:
        raise OSError(f"standard input cannot be read: {error.strerror}") from error


def read_text() -> str:
    """Return what standard input holds.

    Raises:
        ValueError: it is not text in UTF-8.
        OSError: it cannot be read.
    """
    try:
        return read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"standard input is not text in UTF-8: {error.reason} at byte {error.start}") from error


def terminal(*, stderr: bool = False) -> Console | None:
    """Return a console to draw on; ``None`` if the stream is not a terminal and plain lines are wanted."""
    if not (sys.stderr if stderr else sys.stdout).isatty():
        return None
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, emoji=False, markup=False)


def write_table(columns: Mapping[str, str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table: on a terminal in colours and as wide as that, else as lines of aligned words.

    Args:
        columns: the heading and the alignment (``"left"`` or ``"right"``) of each.
        rows: the cells of each line.
    """
    lines = [list(row) for row in rows]
    if (console := terminal()) is not None:
        console.print(rich_table(columns, lines))
        return
    lines.insert(0, list(columns))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    adjust = [str.rjust if align == "right" else str.ljust for align in columns.values()]
    for line in lines:
        cells = (put(cell, width) for put, cell, width in zip(adjust, line, widths, strict=True))
        write("  ".join(cells).rstrip())


def rich_table(columns: Mapping[str, str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table for rich, with coloured states."""
    from rich.table import Table
    from rich.text import Text

    lines = [[cell if cell.isprintable() else printable(cell) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, (heading, align) in enumerate(columns.items()):
        # If there is too little room, names and the last column become shorter: ids are there to be copied.
        widest = max(len(heading), *(len(line[number]) for line in lines)) if lines else len(heading)
        least = widest if number < len(columns) - 1 and heading != "NAME" else len(heading)
        side: Literal["left", "right"] = "right" if align == "right" else "left"
        table.add_column(heading, justify=side, no_wrap=True, overflow="ellipsis", min_width=least)
    for line in lines:
        table.add_row(*(Text(cell, style=_style(cell)) for cell in line))
    return table


def _style(cell: str) -> str:
    return "bold red" if isinstance(cell, Failure) else _STYLES.get(cell, "")  # type: ignore[call-overload]


def state_cells(status: JobStatus) -> list[str]:
    """Return the cells of a job's state and exit code, in which a failure looks like one."""
    code = "-" if status.exit_code is None else str(status.exit_code)
    return [Failure(status.state) if status.is_failure else status.state, Failure(code) if status.exit_code else code]


def duration(seconds: float) -> str:
    """Return seconds as people write them: ``3.2s``, ``4m05s``, ``2h07m``, ``3d04h``."""
    if seconds < 60:
        return f"{max(seconds, 0):.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"


def size(count: int) -> str:
    """Return bytes as people write them: ``17 B``, ``4.2 KiB``."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def local_time(when: datetime | None) -> str:
    """Return a time in the time zone of this machine, or ``-``."""
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S}" if when is not None else "-"


def ended_at(status: JobStatus) -> datetime | None:
    """Return when a job ended, if it did and the grid reports it."""
    return status.finished_at or status.failed_at or status.canceled_at if status.state.is_final else None


def short_time(when: datetime | None) -> str:
    """Return a time for a table: on a terminal without the date if that is today."""
    if when is None or not sys.stdout.isatty():
        return local_time(when)
    here = when.astimezone()
    return f"{here:%H:%M:%S}" if here.date() == datetime.now().astimezone().date() else f"{here:%Y-%m-%d %H:%M}"
