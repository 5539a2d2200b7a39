"""Following jobs on a grid: one task asks for all that anyone watches, many in one request."""

from __future__ import annotations

import logging
import random
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import anyio

from ._errors import Fault, GridError, JobNotFound, SpecError

if TYPE_CHECKING:
    from ._board import Board
    from ._status import JobStatus

logger = logging.getLogger("aiomig.grid")

Ask: TypeAlias = Callable[[Sequence[str]], Awaitable[tuple[Iterable["JobStatus"], Iterable[str]]]]
"""Sends one request for some jobs: the statuses that are new, and the ids of which the server says it has none."""

_ENDED_KEPT = 10_000
"""How many final statuses are remembered, so that a later waiter needs no request."""

_SLOW = 4.0
"""A round that takes long is followed by a pause of at least so many times its length."""

_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Polling:
    """How often a grid is asked for the jobs that are watched. All times are in seconds.

    The pause between two looks at a job is a share of the time since something happened to it (it was first watched,
    or changed), between a floor and a ceiling. A round takes every job that is due within half of its pause, in
    requests of many jobs. Where nobody watches, nothing is asked, and of a job that is known to have ended neither.

    Attributes:
        floor: the shortest pause.
        ceiling: the longest pause.
        share: of the time since something happened.
        jitter: how far a pause may differ from what the rule says, as a share of it.
        gather: how long a new watcher waits for others, to ask for all at once.
        jobs_a_request: the most jobs in one request. A request costs a server 13 ms and each job 0.22 ms more
            (mig-live 7): of 500 jobs, the request is a tenth, and it keeps one of its ten places for an eighth of
            a second.
        requests_a_minute: the most requests, whatever the rest says.
        failures: how many failed rounds in a row are borne before everyone who waits gets the error.
    """

    floor: float = 1.0
    ceiling: float = 30.0
    share: float = 0.1
    jitter: float = 0.1
    gather: float = 0.05
    jobs_a_request: int = 500
    requests_a_minute: int = 60
    failures: int = 5

    def __post_init__(self) -> None:
        faults = [
            Fault(name, getattr(self, name), "not a positive number", "give a number above 0")
            for name in self.__slots__
            if not _is_number(getattr(self, name)) or (getattr(self, name) <= 0 and name not in ("jitter", "gather"))
        ]
        if not faults and self.floor > self.ceiling:
            faults.append(Fault("floor", self.floor, "above the ceiling", f"give at most {self.ceiling}"))
        if not faults and not 0 <= self.jitter < 1:
            faults.append(Fault("jitter", self.jitter, "not a share", "give a number from 0 to below 1"))
        if faults:
            raise SpecError(faults)

    def pause(self, quiet: float) -> float:
        """The pause of a job to which nothing has happened for so many seconds, without jitter."""
        return min(max(self.floor, self.share * quiet), self.ceiling)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class _Followed:
    """What is known of one job that is watched."""

    __slots__ = ("due", "pause", "since", "status")

    def __init__(self, now: float, due: float) -> None:
        self.status: JobStatus | None = None
        self.since = now
        self.pause = 0.0
        self.due = due


class Poller:
    """The task that asks.

    Args:
        board: who watches what; what is found is published there.
        ask: sends one request.
        polling: the rule.
        is_own: whether a job was submitted here, and so exists whatever an answer lacks.
    """

    def __init__(self, board: Board, ask: Ask, polling: Polling, is_own: Callable[[str], bool]) -> None:
        self._board = board
        self._ask = ask
        self._polling = polling
        self._is_own = is_own
        self._followed: dict[str, _Followed] = {}
        self._ended: OrderedDict[str, JobStatus] = OrderedDict()
        self._last_round = float("-inf")
        self._sent: deque[float] = deque()
        self._failures = 0
        self._needed = anyio.Event()

    def wake(self, job_id: str) -> None:
        """Someone began to watch a job."""
        if job_id in self._followed or job_id in self._ended:
            return
        now = anyio.current_time()
        due = max(now + self._polling.gather, self._last_round + self._polling.floor)
        self._followed[job_id] = _Followed(now, due)
        self._needed.set()

    def present(self, job_ids: Iterable[str]) -> Mapping[str, JobStatus]:
        """What is known of jobs, without asking."""
        known: dict[str, JobStatus] = {}
        for job_id in job_ids:
            followed = self._followed.get(job_id)
            status = self._ended.get(job_id) or (followed.status if followed is not None else None)
            if status is not None:
                known[job_id] = status
        return known

    def note(self, status: JobStatus) -> None:
        """Takes in what was learned of a job in another way, or asked for."""
        job_id = status.job_id
        if status.state.is_final:
            self._ended[job_id] = status
            self._followed.pop(job_id, None)
            while len(self._ended) > _ENDED_KEPT:
                self._ended.popitem(last=False)
        elif (followed := self._followed.get(job_id)) is not None and followed.status != status:
            followed.status = status
            followed.since = anyio.current_time()
        self._board.publish(status)

    async def run(self) -> None:
        """Asks for ever; ends by cancellation only."""
        while True:
            due = await self._due()
            began = anyio.current_time()
            try:
                for start in range(0, len(due), self._polling.jobs_a_request):
                    await self._request(due[start : start + self._polling.jobs_a_request])
            except GridError as error:
                self._failed(due, error)
            else:
                self._failures = 0
                self._plan(due, anyio.current_time() - began)
            self._last_round = anyio.current_time()

    async def _due(self) -> list[str]:
        """Waits until a round is due; the jobs that it takes."""
        while True:
            for job_id in [job_id for job_id in self._followed if job_id not in self._board]:
                del self._followed[job_id]
            now = anyio.current_time()
            first = min((followed.due for followed in self._followed.values()), default=float("inf"))
            if first <= now:
                return [job_id for job_id, each in self._followed.items() if each.due - each.pause / 2 <= now]
            self._needed = anyio.Event()
            with anyio.move_on_after(first - now):
                await self._needed.wait()

    async def _request(self, job_ids: Sequence[str]) -> None:
        await self._keep_cap()
        self._sent.append(anyio.current_time())
        statuses, missing = await self._ask(job_ids)
        for status in statuses:
            self.note(status)
        for job_id in missing:
            followed = self._followed.get(job_id)
            # A job that was there, or was submitted here, is not gone because an answer lacks it.
            if followed is not None and followed.status is None and not self._is_own(job_id):
                del self._followed[job_id]
                self._board.refuse(job_id, JobNotFound(job_id))

    async def _keep_cap(self) -> None:
        """Waits where a minute's requests are used up."""
        while len(self._sent) >= self._polling.requests_a_minute:
            left = self._sent[0] + _MINUTE - anyio.current_time()
            if left > 0:
                await anyio.sleep(left)
            self._sent.popleft()

    def _plan(self, asked: Iterable[str], took: float) -> None:
        now = anyio.current_time()
        # One factor for a round, so that what is asked together stays together.
        factor = 1.0 + random.uniform(-1.0, 1.0) * self._polling.jitter
        for job_id in asked:
            if (followed := self._followed.get(job_id)) is not None:
                followed.pause = max(self._polling.pause(now - followed.since) * factor, _SLOW * took)
                followed.due = now + followed.pause

    def _failed(self, asked: Sequence[str], error: GridError) -> None:
        """A failed round says nothing of any job: it is asked again, later each time."""
        self._failures += 1
        logger.warning("asking for %d jobs failed (%d in a row): %s", len(asked), self._failures, error)
        pause = min(self._polling.floor * (1 << self._failures), self._polling.ceiling)
        if self._failures >= self._polling.failures:
            self._failures = 0
            pause = self._polling.ceiling
            self._board.fail(error)
        now = anyio.current_time()
        for job_id in asked:
            if (followed := self._followed.get(job_id)) is not None:
                followed.pause = pause
                followed.due = now + pause
