"""Whether the clock of a server and that of this machine agree."""

from __future__ import annotations

import logging
from datetime import timedelta

from ._retry import http_date

logger = logging.getLogger("aiomig.grid")

LARGE = 60.0
"""Seconds; the clocks of machines that keep them differ by less than one."""


class ClockSkew:
    """Compares clocks by the ``Date`` of answers, and tells once of a large difference."""

    def __init__(self) -> None:
        self._is_told = False

    def note(self, date: str | None, began: float, ended: float) -> None:
        """Takes in an answer.

        Args:
            date: its ``Date`` header, which has whole seconds and was set at some time in between.
            began: when the request was sent, by this machine's clock, in seconds since 1970.
            ended: when the answer was there.
        """
        if self._is_told or not date or (at := http_date(date)) is None:
            return
        told = at.timestamp()
        skew = max(told - ended, 0.0) or min(told + 1.0 - began, 0.0)
        if abs(skew) < LARGE:
            return
        self._is_told = True
        logger.warning(
            "the server's clock is %s %s this machine's, which spoils times of jobs and files that are compared with "
            "times of here, and the dates of certificates; set the clock that is wrong (NTP does)",
            timedelta(seconds=round(abs(skew))),
            "ahead of" if skew > 0 else "behind",
            extra={"event_name": "clock_skew", "skew": skew},
        )
