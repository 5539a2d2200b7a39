"""MiG's ``.status`` file of a job: which command ended with which exit code. No I/O."""

from __future__ import annotations

import io
from bisect import bisect_right
from typing import TYPE_CHECKING

import anyio.lowlevel

from .models import CommandResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

LONGEST_STATUS = 16 << 20
"""How much of a ``.status`` file is read, in bytes. If it has more, the exit codes count as not reported."""

_MOST_ROWS = 20_000
_PIECE = 1 << 12  # bytes, and the rest of a line; then other tasks run


async def parse_status_file(data: bytes, commands: Sequence[str]) -> StatusFileParser:
    """Return a parser that has read a ``.status`` file, in pieces between which other tasks run.

    Args:
        data: the content.
        commands: see `StatusFileParser`.
    """
    parser = StatusFileParser(commands)
    start = 0
    while start < len(data):
        end = data.find(b"\n", start + _PIECE) + 1 or len(data)
        parser.feed(lines_of(data[start:end]))
        start = end
        await anyio.lowlevel.checkpoint()
    return parser


def lines_of(data: bytes) -> Iterator[str]:
    """Return the lines of an accounting file that are not blank."""
    texts = (line.removesuffix(b"\n").decode("utf-8", "replace") for line in io.BytesIO(data))
    return (text for text in texts if text.strip())


class StatusFileParser:
    """Finds the command behind each line of a ``.status`` file. See docs/protocol.md#exit-codes.

    A line shows a command, with each ``'`` as a backtick, and its exit code. Loops repeat lines, a shell that ended
    itself leaves its last line without a code, and a job can write into the file:

    ==================== ================================================================================
    line                 meaning
    ==================== ================================================================================
    ``COMMAND CODE``     the command ended
    ``COMMAND``          the command ended the shell
    ``CODE``             the code of the command before it, which wrote into the file in between, or else of
                         the command before the next one that reports: it removed the file
    ``system: …``        a note
    ``COMMAND …``        the command wrote into the file before its code came
    ``… CODE``           kept under its own text, so that no failure is lost
    anything else        a note; if no command is known, a command
    ==================== ================================================================================

    Args:
        commands: the EXECUTE lines of the job, unescaped; empty if they are not known.

    Attributes:
        notes: the lines that are not about a command.
        count: how many lines there were.
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
        self._latest = -1  # the last row that has a command
        self._orphan: int | None = None
        self._left_out = 0

    def feed(self, lines: Iterable[str]) -> None:
        """Read lines that are not blank."""
        for line in lines:
            self.count += 1
            self._add(line)

    def finish(self, prologue: int = 0, epilogue: int = 0) -> tuple[CommandResult, ...]:
        """Return a `CommandResult` for each time a command reported, in order, then those that never did.

        Args:
            prologue: how many of the first commands belong to aiomig and are left out.
            epilogue: how many of the last ones.
        """
        self._adopt(len(self._commands))  # a code that still has no command belongs to the last one
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
        elif (position := self._begun(line)) is not None:
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

    def _begun(self, line: str) -> int | None:
        """Return the longest command that the line begins with."""
        at = bisect_right(self._beginnings, line) - 1
        while at >= 0:
            if line.startswith(self._beginnings[at]):
                return self._find(self._beginnings[at][:-1])
            at = self._shorter[at]
        return None

    def _match(self, position: int, text: str, code: int | None) -> None:
        self._adopt(position)
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

    def _adopt(self, following: int) -> None:
        if self._orphan is not None:
            self._append(following - 1 if following else None, "", self._orphan)
            self._orphan = None

    def _lone_code(self, code: int) -> None:
        at = self._latest if self._commands else len(self._rows) - 1
        if at < 0:
            self._orphan = code
            return
        position, text, _ = self._rows[at]
        # The command wrote what stands between itself and its code.
        for _, written, number in self._rows[at + 1 :]:
            self._note(f"{written} {number}")
        self._rows[at:] = [(position, text, code)]


def _longest_beginnings(texts: Sequence[str]) -> list[int]:
    """Return for each of some sorted texts the position of the longest other text that it begins with, or -1."""
    shorter: list[int] = []
    for at, text in enumerate(texts):
        candidate = at - 1
        while candidate >= 0 and not text.startswith(texts[candidate]):
            candidate = shorter[candidate]
        shorter.append(candidate)
    return shorter
