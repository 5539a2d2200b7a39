"""How long to wait before a read is tried again. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_RETRY_AFTER = 300.0


@dataclass(frozen=True, slots=True)
class Retry:
    """Growing pauses with jitter.

    Attributes:
        tries: how often a read is sent at most.
        first: the first pause in seconds; each further one is twice as long.
        longest: the longest pause in seconds.
    """

    tries: int = 5
    first: float = 0.5
    longest: float = 20.0

    def pauses(self) -> Iterator[float]:
        """The pauses between the tries: each between half of its length and all of it."""
        for number in range(self.tries - 1):
            yield min(self.first * 2**number, self.longest) * random.uniform(0.5, 1.0)


def retry_after(value: str | None, date: str | None = None) -> float:
    """The seconds that a ``Retry-After`` header asks to wait; 0 where there is none, at most five minutes.

    Args:
        value: the header: a number of seconds, or a date.
        date: the ``Date`` of the same answer, from which a date is counted: the two clocks may differ. Default is
            the clock of this machine.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)
    else:
        until = http_date(text)
        seconds = (until - (http_date(date or "") or datetime.now(UTC))).total_seconds() if until else 0.0
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)


def http_date(text: str) -> datetime | None:
    """The moment that a header names; ``None`` where it is none."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # A zone of -0000 is read as none at all; HTTP knows no other than GMT (RFC 9110 5.6.7).
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
