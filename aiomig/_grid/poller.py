"""Background task that polls the grid for watched jobs, many in one request."""

from __future__ import annotations

import logging
import math
import random
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import anyio

from .._core.errors import JobNotFound, ProtocolError, ServerError, SpecError
from .._core.models import Fault
from .._core.turns import give_way
from .._core.validation import is_count, is_number

if TYPE_CHECKING:
    from .._core.models import JobStatus
    from .._core.subscriptions import Subscriptions

logger = logging.getLogger("aiomig.grid")

Ask: TypeAlias = Callable[[Sequence[str]], Awaitable[tuple[Iterable["JobStatus | None"], Iterable[str]]]]
"""Sends one request for some jobs. Returns the rows of the response (the status if it has changed since the last
request, otherwise ``None``), and the ids that the server does not know."""

_SLOW = 4.0
"""The pause after a slow round is this many times its length, but at most the ceiling or its own length."""

_MINUTE = 60.0

_FEW = 100
"""A number of jobs in one request that no server refuses."""

_RECOVERY = 600.0
"""Seconds without a failure after which the number of jobs in one request grows again."""


@dataclass(frozen=True, slots=True)
class Polling:
    """How often aiomig polls a grid for watched jobs. All times are in seconds.

    The pause between two requests for a job is a share of the time since its last change, or since it was first
    watched, but between a floor and a ceiling. A round polls every job that is due within half of its pause, and all
    new ones, many jobs per request. aiomig does not poll jobs that have ended or that nobody watches. The pauses grow
    if the server responds slowly or requests a delay.

    Attributes:
        floor: the shortest pause.
        ceiling: the longest pause.
        share: the pause as a share of the time since the last change.
        jitter: the largest random deviation of a pause, as a share of the pause.
        gather: how long a new job waits for others, so that one request polls all of them.
        jobs_a_request: the most jobs in one request. A request costs a server 13 ms, plus 0.22 ms for each job
            (docs/protocol.md#cost-of-polling): 2,000 jobs occupy one of its ten worker processes for half a second. A
            server accepted 3,000 ids (docs/protocol.md#connections). If a request fails, aiomig polls fewer jobs at
            once.
        requests_a_minute: the most requests per minute. After a round of many requests, aiomig pauses to stay within
            this limit.
        failures: number of consecutive failed rounds, with growing pauses, after which all waiting tasks get the error.
        remembered: number of final statuses to remember, so that tasks that wait later need no request.

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
    remembered: int = 10_000

    def __post_init__(self) -> None:
        faults = [
            Fault(name, getattr(self, name), "not a positive whole number", "give a count of at least 1")
            for name in ("jobs_a_request", "requests_a_minute", "failures", "remembered")
            if not is_count(getattr(self, name))
        ]
        for name in ("floor", "ceiling", "share", "jitter", "gather"):
            value, may_be_zero = getattr(self, name), name in ("jitter", "gather")
            if not is_number(value) or value < 0 or (value == 0 and not may_be_zero):
                least = "of at least 0" if may_be_zero else "above 0"
                faults.append(Fault(name, value, f"not a number {least}", f"give a number {least}"))
        if not faults and self.floor > self.ceiling:
            faults.append(Fault("floor", self.floor, "above the ceiling", f"give at most {self.ceiling}"))
        if not faults and self.jitter >= 1:
            faults.append(Fault("jitter", self.jitter, "not a share", "give a number from 0 to below 1"))
        if faults:
            raise SpecError(faults)

    def pause(self, quiet: float) -> float:
        """Return the pause, without jitter, for a job that has not changed for ``quiet`` seconds."""
        return min(max(self.floor, self.share * quiet), self.ceiling)

    def pause_after(self, took: float, quiet: float) -> float:
        """Return the pause after a request that took ``took`` seconds, if nothing has changed for ``quiet`` seconds."""
        return max(self.pause(quiet), min(_SLOW * took, max(self.ceiling, took)))


@dataclass(slots=True)
class _Watched:
    """The schedule and status of one watched job.

    Attributes:
        since: when it last changed, or was first watched.
        due: when to poll it.
        pause: the pause before ``due``; 0 if it has not been polled yet.
        status: its latest status, or ``None``.
    """

    since: float
    due: float
    pause: float = 0.0
    status: JobStatus | None = None


class Poller:
    """Polls all watched jobs, and publishes changes.

    Args:
        subscriptions: the watchers, by job.
        ask: sends one request.
        polling: the pauses and limits.
        is_own: whether this session submitted a job. Such a job exists, even if a response lacks it.
        forget: called with jobs that are no longer watched; the next ``ask`` for them must return their statuses.
    """

    def __init__(
        self,
        subscriptions: Subscriptions,
        ask: Ask,
        polling: Polling,
        is_own: Callable[[str], bool],
        forget: Callable[[Collection[str]], None] = lambda _: None,
    ) -> None:
        self._subscriptions = subscriptions
        self._ask = ask
        self._forget = forget
        self._polling = polling
        self._is_own = is_own
        self._size = polling.jobs_a_request
        self._resized_at = 0.0
        self._watched: dict[str, _Watched] = {}
        self._ended: OrderedDict[str, JobStatus] = OrderedDict()
        self._not_before = -math.inf  # the earliest time of the next round
        self._next_round = math.inf  # the planned time of the next round
        self._sent: deque[float] = deque()
        self._failures = 0
        self._sooner = anyio.Event()

    def wake(self, job_ids: Iterable[str]) -> None:
        """Start to poll jobs."""
        now = anyio.current_time()
        due = now + self._polling.gather
        for job_id in job_ids:
            if job_id not in self._watched and job_id not in self._ended:
                self._watched[job_id] = _Watched(now, due)
        if max(due, self._not_before) < self._next_round:
            self._next_round = max(due, self._not_before)
            self._sooner.set()

    def present(self, job_ids: Iterable[str]) -> Mapping[str, JobStatus]:
        """Return the known statuses of jobs, without a request."""
        statuses: dict[str, JobStatus] = {}
        for job_id in job_ids:
            watched = self._watched.get(job_id)
            status = watched.status if watched is not None else self._ended.get(job_id)
            if status is not None:
                statuses[job_id] = status
        return statuses

    def note(self, status: JobStatus) -> None:
        """Publish a status. Ignore it if the job has ended, because the status is then older than the end."""
        job_id = status.job_id
        if job_id in self._ended:
            return
        watched = self._watched.get(job_id)
        if status.state.is_final:
            self._watched.pop(job_id, None)
            self._ended[job_id] = status
            if len(self._ended) > self._polling.remembered:
                self._ended.popitem(last=False)
        elif watched is not None:
            if watched.status != status:
                watched.since = anyio.current_time()
            watched.status = status
        self._subscriptions.publish(status)

    def _note_all(self, statuses: Iterable[JobStatus | None]) -> Generator[None, None, None]:
        for status in statuses:
            if status is not None:
                self.note(status)
            yield

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            due = await self._wait_until_due()
            size = self._size
            chunks = [due[start : start + size] for start in range(0, len(due), size)]
            try:
                took = sum([await self._request(chunk) for chunk in chunks])
            except Exception as error:  # noqa: BLE001 - the waiting tasks get any error, and the session continues
                self._postpone(due, error)
            else:
                await give_way(self._plan(due, len(chunks), took))

    async def _wait_until_due(self) -> list[str]:
        """Wait until a round is due. Return its jobs: those due within half of their pause, and all new ones."""
        while True:
            await give_way(self._drop_unwatched())
            now = anyio.current_time()
            first = min([watched.due for watched in self._watched.values()], default=math.inf)
            self._next_round = max(first, self._not_before)
            if self._next_round <= now:
                return [
                    job_id
                    for job_id, watched in self._watched.items()
                    if watched.due - watched.pause / 2 <= now or not watched.pause
                ]
            while now < self._next_round:
                self._sooner = anyio.Event()
                with anyio.move_on_after(self._next_round - now):
                    await self._sooner.wait()
                now = anyio.current_time()

    def _drop_unwatched(self) -> Generator[None, None, None]:
        """Forget the jobs that are no longer watched. Yields after each job."""
        unwatched: list[str] = []
        for job_id in list(self._watched):
            if job_id not in self._subscriptions and self._watched.pop(job_id, None) is not None:
                unwatched.append(job_id)
            yield
        if unwatched:
            self._forget(unwatched)

    async def _request(self, job_ids: Sequence[str]) -> float:
        """Poll some jobs. Return the duration of the request in seconds."""
        await self.admit()
        began = anyio.current_time()
        statuses, missing = await self._ask(job_ids)
        took = anyio.current_time() - began
        await give_way(self._note_all(statuses))
        for job_id in missing:
            watched = self._watched.get(job_id)
            # A job that the server has shown, or that this session submitted, exists even if one response lacks it.
            if watched is not None and watched.status is None and not self._is_own(job_id):
                del self._watched[job_id]
                self._subscriptions.refuse(job_id, JobNotFound(job_id))
        return took

    async def admit(self) -> None:
        """Count one request, after waiting if the limit per minute is reached."""
        while len(self._sent) >= self._polling.requests_a_minute:
            left = self._sent[0] + _MINUTE - anyio.current_time()
            if left > 0:
                await anyio.sleep(left)
            self._sent.popleft()
        self._sent.append(anyio.current_time())

    def _plan(self, job_ids: Iterable[str], requests: int, took: float) -> Generator[None, None, None]:
        """Set the due times of the jobs of a round. Yields after each job."""
        self._failures = 0
        now = anyio.current_time()
        self._not_before = now + self._polling.floor
        if self._size < self._polling.jobs_a_request and now - self._resized_at > _RECOVERY:
            self._size, self._resized_at = min(self._size * 2, self._polling.jobs_a_request), now
        shortest = max(
            requests * _MINUTE / self._polling.requests_a_minute,
            min(_SLOW * took, max(self._polling.ceiling, took)),
        )
        factor = self._jitter()
        for job_id in job_ids:
            if (watched := self._watched.get(job_id)) is not None:
                watched.pause = max(self._polling.pause(now - watched.since) * factor, shortest)
                watched.due = now + watched.pause
            yield

    def _jitter(self) -> float:
        """Return a random factor for all pauses of a round. Jobs that are due together stay together by it."""
        return 1.0 + random.uniform(-1.0, 1.0) * self._polling.jitter

    def _postpone(self, job_ids: Sequence[str], error: Exception) -> None:
        """Schedule the next round after a failed one, with growing pauses."""
        self._failures += 1
        if isinstance(error, ServerError | ProtocolError):
            # The request may have been too large for this server.
            self._size = max(self._size // 2, min(self._size, _FEW))
            self._resized_at = anyio.current_time()
        logger.warning("asking for %d jobs failed (%d in a row): %s", len(job_ids), self._failures, error)
        pause = min(self._polling.floor * 2.0 ** min(self._failures, 60), self._polling.ceiling)
        if self._failures >= self._polling.failures:
            self._failures = 0
            pause = self._polling.ceiling
            self._subscriptions.fail(error)
        pause *= self._jitter()
        now = anyio.current_time()
        self._not_before = now + pause  # new jobs wait, too, to spare a failing server
        for watched in self._watched.values():
            watched.pause, watched.due = pause, now + pause
