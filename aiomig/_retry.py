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


def retry_after(value: str | None, now: datetime | None = None) -> float:
    """The seconds of a ``Retry-After`` header, a number or a date; 0 where there is none, at most five minutes."""
    if not value:
        return 0.0
    if value.strip().isdigit():
        seconds = float(value.strip())
    else:
        try:
            seconds = (parsedate_to_datetime(value) - (now or datetime.now(UTC))).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)
