"""The user's crontab at the site: commands that the server runs at set times."""

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
    """A line of a crontab: a command, and the times at which the server runs it, in the server's time zone.

    Each time is a number or ``"*"``. aiomig refuses ``*/5``, ``1,2`` and ``1-5``, because servers drop such lines
    without an error. Create an entry for each number instead.

    Example::

        CronEntry("submit nightly.mRSL", hour=3, minute=30)

    Attributes:
        command: an operation of the server with its arguments, such as ``"submit job.mRSL"``.
        minute: 0 to 59.
        hour: 0 to 23.
        day: of the month, 1 to 31.
        month: 1 to 12.
        weekday: 0 to 6; 0 is Sunday.

    Raises:
        SpecError: servers do not accept a time, or the command is not a single line.
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
                remedy = f"give '*' or a number from {low} to {high}; for several numbers, add an entry for each"
                faults.append(Fault(name, value, "servers drop such a line without an error", remedy))
        if not is_text(self.command) or not self.command.isprintable():
            faults.append(Fault("command", self.command, "not one line of text", "give an operation, as in 'ls x'"))
        if faults:
            raise SpecError(faults)

    def __str__(self) -> str:
        return " ".join([*(str(getattr(self, name)) for name in _FIELDS), self.command])

    @classmethod
    def parse(cls, line: str) -> CronEntry:
        """Parse a line of a crontab.

        Raises:
            SpecError: servers do not accept the line.
        """
        match = _LINE.fullmatch(line)
        if match is None:
            remedy = "give five times, each '*' or a number, and a command: 30 3 * * * submit nightly.mRSL"
            raise SpecError([Fault("entry", line, "not a line that servers accept", remedy)])
        minute, hour, day, month, weekday = (text if text == "*" else int(text) for text in match.groups()[:5])
        return cls(match[6], minute, hour, day, month, weekday)  # type: ignore[arg-type]


class Crontab(Service):
    """The crontab of the user, reached as ``session.crontab``. A grid only.

    Each method raises `GridError` if the request fails or the grid refuses it, and `LocalError` in local mode.

    The server stores the crontab as a single text, so two programs that change it at once may undo each other's
    changes.

    Example::

        await session.crontab.add(CronEntry("submit nightly.mRSL", hour=3, minute=30))
    """

    __slots__ = ()

    async def list(self) -> _Entries:
        """List the entries. Comments and other lines are left out."""
        return _entries(await self._lines())

    async def set(self, entries: Iterable[CronEntry]) -> None:
        """Replace the whole crontab.

        Raises:
            SpecError: an entry is not a `CronEntry`.
            ServerError: the server did not keep all entries.
        """
        await self._save([str(_checked(entry)) for entry in entries])

    async def add(self, entry: CronEntry) -> None:
        """Append an entry, unless the crontab contains it. Raises the errors of `set`."""
        new = _checked(entry)
        lines = await self._lines()
        if new not in _entries(lines):
            await self._save([*lines, str(new)])

    async def remove(self, entry: CronEntry) -> None:
        """Remove an entry, if the crontab contains it. Raises the errors of `set`."""
        old = _checked(entry)
        lines = await self._lines()
        kept = [line for line in lines if _entries([line]) != [old]]
        if kept != lines:
            await self._save(kept)

    async def _lines(self) -> _Lines:
        return _lines(await self._call(_OPERATION, action="show"))

    async def _save(self, lines: _Lines) -> None:
        # An empty field would be dropped, and the crontab would not change.
        text = "\n".join(lines) or "# empty"
        await self._call(_OPERATION, action="save", crontab=f"{text}\n")
        kept = _entries(await self._lines())
        missing = [str(entry) for entry in _entries(lines) if entry not in kept]
        if missing:
            raise ServerError(_OPERATION, [f"the server did not keep: {'; '.join(missing)}"])


def _checked(entry: CronEntry) -> CronEntry:
    """Return the entry. Refuse a string, because the server would drop an invalid one without an error."""
    if isinstance(entry, CronEntry):
        return entry
    raise SpecError([Fault("entry", entry, "not a CronEntry", "parse a line with CronEntry.parse(line)")])


def _entries(lines: Iterable[str]) -> list[CronEntry]:
    entries = []
    for line in lines:
        with suppress(SpecError):
            entries.append(CronEntry.parse(line))
    return entries


def _lines(answer: Answer) -> list[str]:
    """Return the lines of the crontab in a response, which is a string or a list of strings.

    Raises:
        ProtocolError: there is no crontab. If aiomig took it for empty, the next change would delete all entries.
    """
    for item in answer:
        if isinstance(value := item.get("crontab"), str | list):
            parts = [value] if isinstance(value, str) else value
            return [line for part in parts if isinstance(part, str) for line in part.splitlines()]
    raise ProtocolError(f"{_OPERATION}: the response has no crontab", excerpt=excerpt(answer))
