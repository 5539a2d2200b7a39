"""When each of many jobs is to be asked for. Pure: the times are given.

Most jobs have their times in common: they were submitted together, and nothing has happened to them since. Such jobs
share one entry, so that a round of ten thousand jobs is planned in a few steps.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet


class _Times:
    """Those of some jobs.

    Attributes:
        since: when something happened to them.
        due: when they are to be asked for.
        pause: what is between two looks at them now; 0 before the first.
        jobs: how many there are.
    """

    __slots__ = ("due", "jobs", "pause", "since")

    def __init__(self, since: float, due: float, pause: float = 0.0) -> None:
        self.since = since
        self.due = due
        self.pause = pause
        self.jobs = 0


class Schedule:
    """The jobs that are followed, in the order in which they came. Times are in seconds, of any clock."""

    def __init__(self) -> None:
        self._times: dict[str, _Times] = {}
        self._distinct: set[_Times] = set()
        self._taken: set[_Times] = set()
        self._latest: _Times | None = None  # of those who came last
        self._since: dict[_Times, _Times] = {}  # where jobs went to which something happened at the latest such time

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._times

    @property
    def ids_view(self) -> AbstractSet[str]:
        """The ids of the jobs."""
        return self._times.keys()

    def add(self, job_ids: Iterable[str], now: float, due: float) -> None:
        """Takes in jobs, to be asked for together; those that are here already stay as they are.

        Where others came so lately that they are not due yet, these go with them: ten thousand tasks that watch a job
        each come one by one.
        """
        times = self._latest
        if times is None or times.pause or times not in self._distinct or times in self._taken or now > times.due:
            times = self._latest = _Times(now, due)
        for job_id in job_ids:
            if job_id not in self._times:
                self._put(job_id, times)

    def remove(self, job_id: str) -> None:
        """Takes a job out; harmless where it is not here."""
        if (times := self._times.pop(job_id, None)) is not None:
            self._leave(times)

    def touch(self, job_id: str, now: float) -> None:
        """Something happened to a job that is here."""
        before = self._times[job_id]
        if before.since == now:
            return
        times = self._since.get(before)
        if times is None or times.since != now or times not in self._distinct:
            times = self._since[before] = _Times(now, before.due, before.pause)
            if before in self._taken:
                self._taken.add(times)
        self._put(job_id, times)
        self._leave(before)

    def _put(self, job_id: str, times: _Times) -> None:
        self._times[job_id] = times
        self._distinct.add(times)
        times.jobs += 1

    def _leave(self, times: _Times) -> None:
        times.jobs -= 1
        if not times.jobs:
            self._distinct.discard(times)

    def first(self) -> float:
        """When the first is due."""
        return min([times.due for times in self._distinct], default=math.inf)

    def take(self, now: float) -> list[str]:
        """The jobs of a round: those that are due within half of their pause, and all that are new."""
        later = {times for times in self._distinct if times.pause and times.due - times.pause / 2 > now}
        self._taken = self._distinct - later
        self._since.clear()
        if not later:
            return list(self._times)
        return [job_id for job_id, times in self._times.items() if times not in later]

    def plan(self, now: float, pause: Callable[[float], float]) -> None:
        """Says when the jobs of the round are to be asked for again.

        Args:
            now: the time.
            pause: given for how long nothing has happened to a job, for how long it is left alone.
        """
        for times in self._taken:
            times.pause = pause(now - times.since)
            times.due = now + times.pause

    def postpone(self, now: float, pause: float) -> None:
        """Leaves all jobs alone for so long."""
        for times in self._distinct:
            times.pause, times.due = pause, now + pause
