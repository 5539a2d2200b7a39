"""What a command says: data on standard output; all else on standard error, as sentences."""

from __future__ import annotations

import dataclasses
import json
import sys
from datetime import datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from .. import JobState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from .. import JobResult, JobStatus

_STYLES = {
    JobState.FINISHED: "green",
    JobState.EXECUTING: "cyan",
    JobState.FAILED: "bold red",
    JobState.EXPIRED: "red",
    JobState.CANCELED: "yellow",
    JobState.FROZEN: "blue",
}


def say(text: str) -> None:
    """A sentence for the user, on standard error."""
    sys.stderr.write(f"aiomig: {printable(text)}\n")
    sys.stderr.flush()


def write(text: str, *, content: bool = False) -> None:
    """A line of the answer, on standard output.

    Args:
        text: the line.
        content: it is what a file or a job holds, and shown as it is; else a terminal gets what it cannot obey.
    """
    sys.stdout.write(f"{printable(text) if not content and sys.stdout.isatty() else text}\n")
    sys.stdout.flush()


def write_bytes(data: bytes, *, to_stderr: bool = False) -> None:
    """Bytes as they are, on standard output or standard error."""
    stream = sys.stderr if to_stderr else sys.stdout
    stream.flush()
    left = memoryview(data)
    while left:  # under PYTHONUNBUFFERED it takes as much as it likes
        left = left[stream.buffer.write(left) :]
    stream.buffer.flush()


def write_json(value: object) -> None:
    """A value as one line of JSON, on standard output."""
    sys.stdout.write(json.dumps(value, default=_plain, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _plain(value: Any) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, PurePath | Path):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def printable(text: str) -> str:
    """A text without what a terminal would obey: names of files and words of a server may hold that."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode() for each in text
    )


class ResultValue(TypedDict):
    """A `JobResult` in JSON."""

    job_id: str
    state: str
    exit_code: int | None
    ok: bool
    stdout: str
    stderr: str


def result_value(result: JobResult) -> ResultValue:
    """A result in JSON."""
    return {
        "job_id": result.status.job_id,
        "state": str(result.status.state),
        "exit_code": result.exit_code,
        "ok": result.ok,
        "stdout": result.stdout,
        "stderr": result.stderr,
    }


def terminal(*, stderr: bool = False) -> Console | None:
    """What draws on a terminal; ``None`` where there is none, and plain lines are wanted."""
    if not (sys.stderr if stderr else sys.stdout).isatty():
        return None
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, emoji=False, markup=False)


def write_table(columns: Mapping[str, str], rows: Iterable[Sequence[str]]) -> None:
    """A table: on a terminal in colours and in its width, else as lines of aligned words.

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
    """The same for rich; states are coloured."""
    from rich.table import Table
    from rich.text import Text

    lines = [[printable(cell) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, (heading, align) in enumerate(columns.items()):
        # Where there is too little room, the last column gives way: ids are there to be copied.
        widest = max(len(heading), *(len(line[number]) for line in lines)) if lines else len(heading)
        least = widest if number < len(columns) - 1 else len(heading)
        side: Literal["left", "right"] = "right" if align == "right" else "left"
        table.add_column(heading, justify=side, no_wrap=True, overflow="ellipsis", min_width=least)
    for line in lines:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in line))  # type: ignore[call-overload]
    return table


def duration(seconds: float) -> str:
    """Seconds as people say them: ``3.2 s``, ``4m05s``, ``2h07m``, ``3d04h``."""
    if seconds < 60:
        return f"{max(seconds, 0):.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"


def size(count: int) -> str:
    """Bytes as people say them: ``17 B``, ``4.2 KiB``."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def local_time(when: datetime | None) -> str:
    """A time on this machine's clock; ``-`` where it is not known."""
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S}" if when is not None else "-"


def ended_at(status: JobStatus) -> datetime | None:
    """When a job ended, if it did and the grid says so."""
    return status.finished_at or status.failed_at or status.canceled_at if status.state.is_final else None


def short_time(when: datetime | None) -> str:
    """A time for a table: on a terminal without what goes without saying."""
    if when is None or not sys.stdout.isatty():
        return local_time(when)
    here = when.astimezone()
    return f"{here:%H:%M:%S}" if here.date() == datetime.now().astimezone().date() else f"{here:%Y-%m-%d %H:%M}"
