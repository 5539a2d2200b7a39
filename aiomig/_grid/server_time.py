"""Times in response headers: the delay before a retry, and the difference between the clocks."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

logger = logging.getLogger("aiomig.grid")

_LONGEST_RETRY_AFTER = 300.0
_LARGE_SKEW = 60.0  # seconds; synchronized clocks differ by less than one


def retry_after(value: str | None, date: str | None = None) -> float:
    """Return the seconds to wait according to a ``Retry-After`` header, at most five minutes; 0 without the header.

    Args:
        value: the header: a number of seconds, or a date.
        date: the ``Date`` header of the same response, to measure a date by the server's clock; by default, this
            machine's clock is used.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)
    else:
        until = _http_date(text)
        seconds = (until - (_http_date(date or "") or datetime.now(UTC))).total_seconds() if until else 0.0
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)


def _http_date(text: str) -> datetime | None:
    """Return the date in a header, or ``None`` if it is not a date."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # The zone -0000 gives a naive datetime; the only zone in HTTP is GMT (RFC 9110 5.6.7).
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


class ClockSkew:
    """Compares the clocks of server and client by the ``Date`` of responses. Warns once about a large difference."""

    def __init__(self) -> None:
        self._has_warned = False

    def note(self, date: str | None, began: float, ended: float) -> None:
        """Compare the clocks by one response.

        Args:
            date: its ``Date`` header, in whole seconds, set at some time between the next two.
            began: when the request was sent, by this machine's clock, in seconds since 1970.
            ended: when the response had arrived.
        """
        if self._has_warned or not date or (at := _http_date(date)) is None:
            return
        server_time = at.timestamp()
        skew = max(server_time - ended, 0.0) or min(server_time + 1.0 - began, 0.0)
        if abs(skew) < _LARGE_SKEW:
            return
        self._has_warned = True
        logger.warning(
            "the server's clock is %s %s this machine's, so times of jobs, files and certificates cannot be compared "
            "with local times; set the clock that is wrong, for example by NTP",
            timedelta(seconds=round(abs(skew))),
            "ahead of" if skew > 0 else "behind",
            extra={"event_name": "clock_skew", "skew": skew},
        )
