"""The user's crontab at the site: commands that the server runs at given times."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from ..._core.errors import ProtocolError, ServerError, SpecError
from ..._core.models import Fault
from ..._core.validation import is_text
from ..protocol.answer import excerpt
from .service import Service

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..protocol.answer import Answer

_Entries: TypeAlias = "list[CronEntry]"  # inside Crontab, `list` is a method
_Lines: TypeAlias = "list[str]"
_When: TypeAlias = "int | Literal['*']"

_OPERATION = "crontab"
_FIELDS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 6)}
_LINE = re.compile(r"\s*" + r"(\*|\d{1,2})\s+" * 5 + r"(\S.*?)\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class CronEntry:
    """One line of a crontab: a command, and when the server runs it, in its own time zone.

    Each time is a number or ``"*"``, which is all that servers take: they drop a line with ``*/5``, ``1,2`` or ``1-5``
    in silence, so it is refused here. Make an entry for each number instead.

    Example::

        CronEntry("submit nightly.mRSL", hour=3, minute=30)

    Attributes:
        command: an operation of the server and its arguments, such as ``"submit job.mRSL"``.
        minute: 0 to 59.
        hour: 0 to 23.
        day: of the month, 1 to 31.
        month: 1 to 12.
        weekday: 0 to 6; 0 is Sunday.

    Raises:
        SpecError: a time is not one that servers take, or the command is not one line.
    """

    command: str
    minute: _When = "*"
    hour: _When = "*"
    day: _When = "*"
    month: _When = "*"
    weekday: _When = "*"

    def __post_init__(self) -> None:
        faults: list[Fault] = []
        for name, (low, high) in _FIELDS.items():
            value = getattr(self, name)
            if value != "*" and not (isinstance(value, int) and not isinstance(value, bool) and low <= value <= high):
                remedy = f"give '*' or a number from {low} to {high}, and an entry for each of several numbers"
                faults.append(Fault(name, value, "a server drops such a line in silence", remedy))
        if not is_text(self.command) or not self.command.isprintable():
            faults.append(Fault("command", self.command, "not one line of text", "give an operation, as in 'ls x'"))
        if faults:
            raise SpecError(faults)

    def __str__(self) -> str:
        return " ".join([*(str(getattr(self, name)) for name in _FIELDS), self.command])

    @classmethod
    def parse(cls, line: str) -> CronEntry:
        """Return the entry that a line of a crontab is.

        Raises:
            SpecError: it is not one that servers take.
        """
        match = _LINE.fullmatch(line)
        if match is None:
            remedy = "give five times, each '*' or a number, and a command: 30 3 * * * submit nightly.mRSL"
            raise SpecError([Fault("entry", line, "not a line that servers take", remedy)])
        minute, hour, day, month, weekday = (text if text == "*" else int(text) for text in match.groups()[:5])
        return cls(match[6], minute, hour, day, month, weekday)  # type: ignore[arg-type]


class Crontab(Service):
    """The crontab of the user, reached as ``session.crontab``. A grid only.

    Each method raises `GridError` if the grid refuses it or cannot be asked, and `LocalError` in local mode.

    The server keeps one text, so two programs that change it at the same time may undo each other's change.

    Example::

        await session.crontab.add(CronEntry("submit nightly.mRSL", hour=3, minute=30))
    """

    __slots__ = ()

    async def list(self) -> _Entries:
        """List the entries; lines that are none, such as comments, are left out."""
        return _entries(await self._lines())

    async def set(self, entries: Iterable[CronEntry]) -> None:
        """Replace the whole crontab.

        Raises:
            SpecError: something is not a `CronEntry`.
            ServerError: the server did not keep all entries.
        """
        await self._save([str(_checked(entry)) for entry in entries])

    async def add(self, entry: CronEntry) -> None:
        """Add an entry at the end, unless it is there. Raises as `set`."""
        new = _checked(entry)
        lines = await self._lines()
        if new not in _entries(lines):
            await self._save([*lines, str(new)])

    async def remove(self, entry: CronEntry) -> None:
        """Remove an entry; one that is not there is fine. Raises as `set`."""
        old = _checked(entry)
        lines = await self._lines()
        kept = [line for line in lines if _entries([line]) != [old]]
        if kept != lines:
            await self._save(kept)

    async def _lines(self) -> _Lines:
        return _lines(await self._call(_OPERATION, action="show"))

    async def _save(self, lines: _Lines) -> None:
        # An empty field would be dropped, and the crontab stay as it is.
        text = "\n".join(lines) or "# empty"
        await self._call(_OPERATION, action="save", crontab=f"{text}\n")
        kept = _entries(await self._lines())
        missing = [str(entry) for entry in _entries(lines) if entry not in kept]
        if missing:
            raise ServerError(_OPERATION, [f"the server did not keep: {'; '.join(missing)}"])


def _checked(entry: CronEntry) -> CronEntry:
    """Return an entry. A text was not checked, and the server would drop it in silence if it is wrong."""
    if isinstance(entry, CronEntry):
        return entry
    raise SpecError([Fault("entry", entry, "not a CronEntry", "make one of a line by CronEntry.parse(line)")])


def _entries(lines: Iterable[str]) -> list[CronEntry]:
    found = []
    for line in lines:
        with suppress(SpecError):
            found.append(CronEntry.parse(line))
    return found


def _lines(answer: Answer) -> list[str]:
    """Return the lines of the crontab in a response, as they are: a text or a list of texts.

    Raises:
        ProtocolError: it has none. Taking it for empty would lose the entries at the next change.
    """
    for each in answer:
        if isinstance(value := each.get("crontab"), str | list):
            parts = [value] if isinstance(value, str) else value
            return [line for part in parts if isinstance(part, str) for line in part.splitlines()]
    raise ProtocolError(f"{_OPERATION}: the answer has no crontab", excerpt=excerpt(answer))
