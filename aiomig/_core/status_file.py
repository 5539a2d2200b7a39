"""Parser of a job's ``.status`` file, in which MiG records the exit codes of commands. No I/O."""

from __future__ import annotations

import io
from bisect import bisect_right
from typing import TYPE_CHECKING

import anyio.lowlevel

from .models import CommandResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

LONGEST_STATUS = 16 << 20
"""The largest ``.status`` file that is read, in bytes. The exit codes in a larger one count as not reported."""

_MOST_ROWS = 20_000
_CHUNK_SIZE = 1 << 12  # bytes that are parsed between two checkpoints, plus the rest of a line


async def parse_status_file(data: bytes, commands: Sequence[str]) -> StatusFileParser:
    """Return a parser that has read a ``.status`` file. Other tasks run in between.

    Args:
        data: the content.
        commands: see `StatusFileParser`.
    """
    parser = StatusFileParser(commands)
    start = 0
    while start < len(data):
        end = data.find(b"\n", start + _CHUNK_SIZE) + 1 or len(data)
        parser.feed(lines_of(data[start:end]))
        start = end
        await anyio.lowlevel.checkpoint()
    return parser


def lines_of(data: bytes) -> Iterator[str]:
    """Return the lines of an accounting file, without blank ones."""
    lines = (line.removesuffix(b"\n").decode("utf-8", "replace") for line in io.BytesIO(data))
    return (line for line in lines if line.strip())


class StatusFileParser:
    """Assigns the lines of a ``.status`` file to commands. See docs/protocol.md#exit-codes.

    A line contains a command, with each ``'`` replaced by a backtick, and its exit code. Loops repeat lines, and a
    command that ends the shell leaves a line without a code. Jobs can also write to the file:

    ==================== ================================================================================
    line                 meaning
    ==================== ================================================================================
    ``COMMAND CODE``     the command ended
    ``COMMAND``          the command ended the shell
    ``CODE``             the code of the previous command, which wrote to the file; if there is none, the code of
                         the command before the next one in the file, which had removed the file
    ``system: …``        a note
    ``COMMAND …``        the command wrote to the file before its code was written
    ``… CODE``           a command with this text, so that no failure is lost
    anything else        a note, or a command if the commands are not known
    ==================== ================================================================================

    Args:
        commands: the EXECUTE lines of the job, unescaped; empty if they are not known.

    Attributes:
        notes: the lines that do not belong to a command.
        count: the number of lines.
    """

    def __init__(self, commands: Sequence[str]) -> None:
        self.notes: list[str] = []
        self.count = 0
        self._commands = commands
        self._rows: list[tuple[int | None, str, int | None]] = []  # position of the command, its text, exit code
        self._places: dict[str, list[int]] = {}
        for position, command in enumerate(commands):
            self._places.setdefault(command.strip().replace("'", "`"), []).append(position)
        self._beginnings = sorted(f"{text} " for text in self._places if text)
        self._shorter = _longest_beginnings(self._beginnings)
        self._cursor = -1
        self._latest = -1  # index of the last row with a known command
        self._orphan: int | None = None
        self._left_out = 0

    def feed(self, lines: Iterable[str]) -> None:
        """Read lines that are not blank."""
        for line in lines:
            self.count += 1
            self._add(line)

    def finish(self, prologue: int = 0, epilogue: int = 0) -> tuple[CommandResult, ...]:
        """Return a `CommandResult` for each report, in order, then one for each command without a report.

        Args:
            prologue: the number of aiomig's own commands at the beginning, which are left out.
            epilogue: the number of aiomig's own commands at the end.
        """
        self._assign_orphan(len(self._commands))
        if self._left_out:
            self.notes.append(f"{self._left_out} reports with exit code 0 are left out")
        users = range(prologue, max(prologue, len(self._commands) - epilogue))
        results = [
            CommandResult(text if position is None else self._commands[position], code)
            for position, text, code in self._rows
            if position is None or position in users
        ]
        silent = sorted(set(users) - {position for position, _, _ in self._rows})
        return tuple(results + [CommandResult(self._commands[position], None) for position in silent])

    def _add(self, line: str) -> None:
        text, _, word = line.rpartition(" ")
        code = int(word) if len(word) < 4 and word.isascii() and word.isdigit() else None
        if code is not None and not text:
            self._lone_code(code)
        elif code is not None and (position := self._find(text)) is not None:
            self._match(position, text, code)
        elif (position := self._find(line.strip())) is not None:
            self._match(position, line.strip(), None)
        elif line.startswith("system: "):
            self._note(line)
        elif (position := self._find_beginning(line)) is not None:
            self._match(position, line, code)
        elif code is not None or not self._commands:
            self._append(None, line.strip() if code is None else text, code)
        else:
            self._note(line)

    def _find(self, text: str) -> int | None:
        places = self._places.get(text)
        if places is None:
            return None
        later = bisect_right(places, self._cursor)
        return places[later if later < len(places) else 0]

    def _find_beginning(self, line: str) -> int | None:
        """Return the position of the longest command with which a line begins."""
        at = bisect_right(self._beginnings, line) - 1
        while at >= 0:
            if line.startswith(self._beginnings[at]):
                return self._find(self._beginnings[at][:-1])
            at = self._shorter[at]
        return None

    def _match(self, position: int, text: str, code: int | None) -> None:
        self._assign_orphan(position)
        self._cursor = position
        if self._append(position, text, code):
            self._latest = len(self._rows) - 1

    def _append(self, position: int | None, text: str, code: int | None) -> bool:
        if len(self._rows) >= _MOST_ROWS and (code == 0 or len(self._rows) >= 2 * _MOST_ROWS):
            self._left_out += 1
            return False
        self._rows.append((position, text, code))
        return True

    def _note(self, line: str) -> None:
        if len(self.notes) < _MOST_ROWS:
            self.notes.append(line)

    def _assign_orphan(self, following: int) -> None:
        """Assign a code without a command to the command before position `following`."""
        if self._orphan is not None:
            self._append(following - 1 if following else None, "", self._orphan)
            self._orphan = None

    def _lone_code(self, code: int) -> None:
        at = self._latest if self._commands else len(self._rows) - 1
        if at < 0:
            self._orphan = code
            return
        position, text, _ = self._rows[at]
        # The command itself wrote the rows between its line and its code.
        for _, written, number in self._rows[at + 1 :]:
            self._note(f"{written} {number}")
        self._rows[at:] = [(position, text, code)]


def _longest_beginnings(texts: Sequence[str]) -> list[int]:
    """Return for each string in a sorted sequence the position of the longest other one that is its prefix, or -1."""
    shorter: list[int] = []
    for at, text in enumerate(texts):
        candidate = at - 1
        while candidate >= 0 and not text.startswith(texts[candidate]):
            candidate = shorter[candidate]
        shorter.append(candidate)
    return shorter
