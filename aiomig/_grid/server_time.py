"""Times in the headers of responses: how long to wait before a retry, and how far the server's clock is off."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

logger = logging.getLogger("aiomig.grid")

_LONGEST_RETRY_AFTER = 300.0
_LARGE_SKEW = 60.0  # seconds; clocks that are kept right differ by less than one


def retry_after(value: str | None, date: str | None = None) -> float:
    """Return how many seconds a ``Retry-After`` header asks to wait; 0 if there is none, at most five minutes.

    Args:
        value: the header: a number of seconds, or a date.
        date: the ``Date`` of the same response, from which a date is counted, because the server's clock may differ;
            by default the clock of this machine.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)
    else:
        until = _http_date(text)
        seconds = (until - (_http_date(date or "") or datetime.now(UTC))).total_seconds() if until else 0.0
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)


def _http_date(text: str) -> datetime | None:
    """Return the moment that a header names, or ``None`` if it is not a date."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # The zone -0000 is read as none at all; HTTP knows no zone but GMT (RFC 9110 5.6.7).
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


class ClockSkew:
    """Compares the clocks of server and client by the ``Date`` of responses. Warns once of a large difference."""

    def __init__(self) -> None:
        self._is_told = False

    def note(self, date: str | None, began: float, ended: float) -> None:
        """Compare the clocks by one response.

        Args:
            date: its ``Date`` header, in whole seconds, set at some time in between.
            began: when the request was sent, by this machine's clock, in seconds since 1970.
            ended: when the response had arrived.
        """
        if self._is_told or not date or (at := _http_date(date)) is None:
            return
        told = at.timestamp()
        skew = max(told - ended, 0.0) or min(told + 1.0 - began, 0.0)
        if abs(skew) < _LARGE_SKEW:
            return
        self._is_told = True
        logger.warning(
            "the server's clock is %s %s this machine's, so times of jobs, files and certificates cannot be compared "
            "with local times; set the clock that is wrong, for example by NTP",
            timedelta(seconds=round(abs(skew))),
            "ahead of" if skew > 0 else "behind",
            extra={"event_name": "clock_skew", "skew": skew},
        )
