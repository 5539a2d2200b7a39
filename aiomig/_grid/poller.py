"""Following jobs on a grid: one task asks for all that anyone watches, many in one request."""

from __future__ import annotations

import logging
import math
import random
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import anyio
import anyio.lowlevel

from .._core.errors import JobNotFound, ProtocolError, ServerError, SpecError
from .._core.models import Fault
from .._core.validation import is_count
from .schedule import Schedule

if TYPE_CHECKING:
    from .._core.models import JobStatus
    from .._core.subscriptions import Board

logger = logging.getLogger("aiomig.grid")

Ask: TypeAlias = Callable[[Sequence[str]], Awaitable[tuple[Iterable["JobStatus"], Iterable[str]]]]
"""Sends one request for some jobs: the statuses that differ from what it gave before, and the ids of which the server
says that it has none."""

_ENDED_KEPT = 10_000
"""How many final statuses are remembered, so that a later waiter needs no request."""

_SLOW = 4.0
"""A round that takes long is followed by a pause of so many times its length, but of no more than the ceiling or, where
that is longer, its length."""

_MINUTE = 60.0

_FEW = 100
"""So many jobs in one request are too much for no server."""

_RECOVERY = 600.0
"""Seconds without a failure after which more jobs in a request are tried again."""

_TURNS = 100
"""After so many statuses other tasks have their turn."""


@dataclass(frozen=True, slots=True)
class Polling:
    """How often a grid is asked for the jobs that are watched. All times are in seconds.

    The pause between two looks at a job is a share of the time since something happened to it (it was first watched,
    or changed), between a floor and a ceiling. A round takes every job that is due within half of its pause, and all
    that are new, in requests of many jobs. Where nobody watches, nothing is asked, and of a job that is known to have
    ended neither. Slow answers, and servers that ask for patience, make the pauses longer.

    Attributes:
        floor: the shortest pause.
        ceiling: the longest pause.
        share: of the time since something happened.
        jitter: how far a pause may differ from what the rule says, as a share of it.
        gather: how long a new watcher waits for others, to ask for all at once.
        jobs_a_request: the most jobs in one request. A request costs a server 13 ms and each job 0.22 ms more
            (mig-live 7): with 2,000 jobs it keeps one of its ten places for half a second, and of what it costs us
            the jobs are the greater part by then. A server took 3,000 ids (mig-live 1). Where one refuses or breaks,
            fewer are asked for at once.
        requests_a_minute: the most requests, whatever the rest says: a round of many is followed by a pause that
            keeps to it.
        failures: at so many failed rounds in a row, with growing pauses between them, everyone who waits gets the
            error.

    Raises:
        SpecError: a value is out of its range.
    """

    floor: float = 1.0
    ceiling: float = 30.0
    share: float = 0.1
    jitter: float = 0.1
    gather: float = 0.05
    jobs_a_request: int = 2000
    requests_a_minute: int = 60
    failures: int = 5

    def __post_init__(self) -> None:
        faults = [
            Fault(name, getattr(self, name), "not a positive whole number", "give a count of at least 1")
            for name in ("jobs_a_request", "requests_a_minute", "failures")
            if not is_count(getattr(self, name))
        ]
        for name in ("floor", "ceiling", "share", "jitter", "gather"):
            value, may_be_zero = getattr(self, name), name in ("jitter", "gather")
            if not _is_number(value) or value < 0 or (value == 0 and not may_be_zero):
                least = "of at least 0" if may_be_zero else "above 0"
                faults.append(Fault(name, value, f"not a number {least}", f"give a number {least}"))
        if not faults and self.floor > self.ceiling:
            faults.append(Fault("floor", self.floor, "above the ceiling", f"give at most {self.ceiling}"))
        if not faults and self.jitter >= 1:
            faults.append(Fault("jitter", self.jitter, "not a share", "give a number from 0 to below 1"))
        if faults:
            raise SpecError(faults)

    def pause(self, quiet: float) -> float:
        """The pause of a job to which nothing has happened for so many seconds, without jitter."""
        return min(max(self.floor, self.share * quiet), self.ceiling)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class Poller:
    """The task that asks.

    Args:
        board: who watches what; what is found is published there.
        ask: sends one request.
        polling: the rule.
        is_own: whether a job was submitted here, and so exists whatever an answer lacks.
        forget: called with jobs of which `ask` shall give all again, if it is asked for them again.
    """

    def __init__(
        self,
        board: Board,
        ask: Ask,
        polling: Polling,
        is_own: Callable[[str], bool],
        forget: Callable[[Collection[str]], None] = lambda _: None,
    ) -> None:
        self._board = board
        self._ask = ask
        self._forget = forget
        self._size = polling.jobs_a_request
        self._sized = 0.0  # when that was changed last
        self._polling = polling
        self._is_own = is_own
        self._followed = Schedule()
        self._departures = 0  # of the board, when those who left were let go
        self._unanswered: set[str] = set()  # of these, those that were not found since they are watched
        # What `ask` gave last, and will not give again.
        self._told: dict[str, JobStatus] = {}
        self._ended: OrderedDict[str, JobStatus] = OrderedDict()
        self._not_before = -math.inf  # when the next round may be
        self._sent: deque[float] = deque()
        self._failures = 0
        self._needed = anyio.Event()

    def wake(self, job_ids: Iterable[str]) -> None:
        """Someone began to watch jobs."""
        now = anyio.current_time()
        new = [job_id for job_id in job_ids if job_id not in self._followed and job_id not in self._ended]
        self._followed.add(new, now, now + self._polling.gather)
        self._unanswered.update(new)
        self._needed.set()

    def present(self, job_ids: Iterable[str]) -> Mapping[str, JobStatus]:
        """What is known of jobs, without asking."""
        known: dict[str, JobStatus] = {}
        for job_id in job_ids:
            if job_id in self._ended:
                known[job_id] = self._ended[job_id]
            elif job_id in self._followed and job_id not in self._unanswered:
                known[job_id] = self._told[job_id]
        return known

    def note(self, status: JobStatus) -> None:
        """Takes in what was learned of a job in another way."""
        self._note(status, anyio.current_time())

    def _note(self, status: JobStatus, now: float) -> None:
        job_id = status.job_id
        if job_id in self._ended:
            # An end is final: whatever says otherwise is an answer from before.
            return
        if status.state.is_final:
            self._ended[job_id] = status
            self._followed.remove(job_id)
            self._unanswered.discard(job_id)
            self._told.pop(job_id, None)
            while len(self._ended) > _ENDED_KEPT:
                self._ended.popitem(last=False)
        elif job_id in self._followed:
            if self._told.get(job_id) != status:
                self._followed.touch(job_id, now)
            self._unanswered.discard(job_id)
            self._told[job_id] = status
        self._board.publish(status)

    async def run(self) -> None:
        """Asks for ever; ends by cancellation only."""
        while True:
            due = await self._due()
            size = self._size
            chunks = [due[start : start + size] for start in range(0, len(due), size)]
            try:
                took = sum([await self._request(chunk) for chunk in chunks])
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait get it, and the session lives on
                self._failed(due, error)
            else:
                self._plan(len(chunks), took)

    async def _due(self) -> list[str]:
        """Waits until a round is due; the jobs that it takes."""
        while True:
            self._let_go()
            now = anyio.current_time()
            first = max(self._followed.first(), self._not_before)
            if first <= now:
                return self._followed.take(now)
            self._needed = anyio.Event()
            with anyio.move_on_after(first - now):
                await self._needed.wait()

    def _let_go(self) -> None:
        """Forgets jobs that nobody watches any more."""
        watched = self._board.ids_view
        if self._departures == self._board.departures:
            return
        self._departures = self._board.departures
        left = self._followed.ids_view - watched
        for job_id in left:
            self._followed.remove(job_id)
            self._told.pop(job_id, None)
        self._unanswered -= left
        self._forget(left)

    async def _request(self, job_ids: Sequence[str]) -> float:
        """Asks for some jobs; the seconds that the answer took."""
        await self._keep_cap()
        began = anyio.current_time()
        self._sent.append(began)
        statuses, missing = await self._ask(job_ids)
        answered = anyio.current_time()
        for turn, status in enumerate(statuses, 1):
            self._note(status, answered)
            if turn % _TURNS == 0:
                await anyio.lowlevel.checkpoint()
        for job_id in self._unanswered.intersection(missing):
            # A job that was there, or was submitted here, is not gone because an answer lacks it.
            if job_id not in self._told and not self._is_own(job_id):
                self._followed.remove(job_id)
                self._unanswered.discard(job_id)
                self._board.refuse(job_id, JobNotFound(job_id))
        return answered - began

    async def _keep_cap(self) -> None:
        """Waits where a minute's requests are used up."""
        while len(self._sent) >= self._polling.requests_a_minute:
            left = self._sent[0] + _MINUTE - anyio.current_time()
            if left > 0:
                await anyio.sleep(left)
            self._sent.popleft()

    def _plan(self, requests: int, took: float) -> None:
        self._failures = 0
        now = anyio.current_time()
        self._not_before = now + self._polling.floor
        if self._size < self._polling.jobs_a_request and now - self._sized > _RECOVERY:
            self._size, self._sized = min(self._size * 2, self._polling.jobs_a_request), now
        least = max(
            requests * _MINUTE / self._polling.requests_a_minute,
            min(_SLOW * took, max(self._polling.ceiling, took)),
        )
        factor = self._factor()
        self._followed.plan(now, lambda quiet: max(self._polling.pause(quiet) * factor, least))

    def _factor(self) -> float:
        """By how much the pauses after a round differ: one for all, so that what is asked together stays together."""
        return 1.0 + random.uniform(-1.0, 1.0) * self._polling.jitter

    def _failed(self, asked: Sequence[str], error: Exception) -> None:
        """A failed round says nothing of any job: it is asked again, later each time."""
        self._failures += 1
        if isinstance(error, ServerError | ProtocolError):
            # It may be too much at once for this server.
            self._size = max(self._size // 2, min(self._size, _FEW))
            self._sized = anyio.current_time()
        logger.warning("asking for %d jobs failed (%d in a row): %s", len(asked), self._failures, error)
        pause = min(self._polling.floor * 2.0 ** min(self._failures, 60), self._polling.ceiling)
        if self._failures >= self._polling.failures:
            self._failures = 0
            pause = self._polling.ceiling
            self._board.fail(error)
        pause *= self._factor()
        now = anyio.current_time()
        # For those who come now, too: otherwise they would keep a server that is down busy.
        self._not_before = now + pause
        self._followed.postpone(now, pause)
