"""The queue of local mode: claims jobs for free slots, and records how they end.

Each decision is synchronous and ends in one database transaction.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from .._backend import KeyTaken
from .._core.errors import LocalError
from .._core.job_log import JobLog
from .._core.models import JobState
from .attempt import Attempt
from .database import DatabaseLocked
from .records import DamagedRecord
from .runner import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .._core.errors import MigError
    from .._core.subscriptions import Subscriptions
    from .._spec.plan import Plan
    from .attempt import End, Machine
    from .records import Record
    from .runner import AttemptRunner
    from .store import Store

logger = logging.getLogger("aiomig.local")

_PLANS_IN_MEMORY = 100
"""The number of waiting jobs whose plans are in memory. The plans of later ones are read again when they start."""

_LOCKED_PAUSE = 0.05
"""Seconds between two tries to record an end while another process holds the lock of the database."""


class Scheduler:
    """The queue of one session.

    Args:
        machine: what its attempts share.
        store: the records of the home.
        subscriptions: the watched jobs.
        runner: runs the attempts.

    Attributes:
        adopted: the jobs that another session had submitted.
        must_advance_again: whether `advance` must be called again soon, even without a change in this session.
        error: what stopped the scheduler.
    """

    def __init__(
        self,
        machine: Machine,
        store: Store,
        subscriptions: Subscriptions,
        runner: AttemptRunner,
    ) -> None:
        self._machine = machine
        self._settings = machine.settings
        self._store = store
        self._subscriptions = subscriptions
        self._runner = runner
        self._queue: deque[int] = deque()
        self._plans: dict[int, Plan] = {}
        self._cores: dict[int, int] = {}  # of waiting jobs with more than one
        self._free = machine.settings.slots
        self._ends: dict[Run, End] = {}  # not yet in the records
        self._held: set[int] = set()  # frozen
        self._starts = 0
        self._oldest: float | None = None
        self._closing = False
        self._locked_since: float | None = None
        self._log = JobLog("local")
        self.adopted: set[int] = set()
        self.must_advance_again = False
        self.error: LocalError | None = None
        runner.reports = self

    @property
    def is_open(self) -> bool:
        """Whether it accepts jobs and actions."""
        return not self._closing and self.error is None

    @property
    def unfinished(self) -> set[int]:
        """The numbers of this session's waiting, frozen and running jobs."""
        return {*self._runner.runs, *self._queue, *self._held}

    def raise_if_stopped(self) -> None:
        """Raise the error that stopped the scheduler, if any."""
        if self.error is not None:
            raise self.error

    def stop(self, error: LocalError) -> None:
        """Stop because of an error that affects all jobs. All waiting tasks get the error."""
        logger.error("local mode stops: %s", error)
        self.error = error
        self._subscriptions.fail(error)
        self._runner.notify()

    # -- the end of the session

    def close(self) -> None:
        """Start no more jobs."""
        self._closing = True

    async def drained(self) -> None:
        """Wait until no job of this session is queued or runs. Frozen jobs are not waited for.

        Raises:
            LocalError: the scheduler had to stop.
        """
        while (self._runner.runs or self._queue) and self.error is None:
            await self._runner.wait_for_change()
        self.raise_if_stopped()

    async def finish(self) -> None:
        """Complete what an interrupt prevented. Call this after all tasks have ended."""
        self._runner.end_escaped()
        await self._runner.end_interrupted()
        if self.error is None:
            self.advance()

    # -- adding jobs

    def submit(self, plans: Sequence[Plan]) -> list[str | MigError]:
        """Put jobs at the end of the queue, and start those that have a slot; return their ids.

        For a plan with a used key: `KeyTaken`, or the error of using it again.
        """
        self.raise_if_stopped()
        now = time.time()
        jobs = [(plan, self.cores_of(plan)) for plan in plans]
        taken: dict[int, MigError] = {}
        if any(plan.key is not None for plan in plans):
            ids, taken = self._insert_once(jobs, now)
        else:
            ids = self._store.insert(jobs, now)
        self._log.submitted(ids.values())
        new = [job for index, job in enumerate(jobs) if index not in taken]
        for number, (plan, count) in zip(ids, new, strict=True):
            self.enqueue(number, plan, count)
        self._oldest = self._oldest or now
        if self._subscriptions.readers:
            self.publish(self._store.records(list(ids)))
        self.advance(start_now=True)
        made = iter(ids.values())
        return [taken[index] if index in taken else next(made) for index in range(len(jobs))]

    def _insert_once(self, jobs: Sequence[tuple[Plan, int]], now: float) -> tuple[dict[int, str], dict[int, MigError]]:
        """Insert the jobs whose keys are free, in one transaction with the check of the keys."""
        ids: dict[int, str] = {}
        taken: dict[int, MigError] = {}
        with self._store.transaction():
            for index, (plan, cores) in enumerate(jobs):
                known = self._store.find_key(plan.key) if plan.key is not None else None
                if known is None:
                    ids |= self._store.insert([(plan, cores)], now, index)
                else:
                    taken[index] = KeyTaken(known) if isinstance(known, str) else known
        return ids, taken

    def cores_of(self, plan: Plan) -> int:
        """Return how many slots a job takes."""
        keywords = plan.description.keywords
        if "CPUCOUNT" not in keywords and "NODECOUNT" not in keywords and "MAXFILL" not in keywords:
            return 1
        wanted = plan.description.number("CPUCOUNT") * plan.description.number("NODECOUNT")
        # A job that asks for more cores than the session has gets all of them: programs for a grid run here too.
        return min(max(wanted, 1), self._settings.slots)

    def enqueue(self, number: int, plan: Plan, cores: int) -> None:
        """Put a job at the end of the queue."""
        self._held.discard(number)
        self._queue.append(number)
        if len(self._plans) < _PLANS_IN_MEMORY:
            self._plans[number] = plan
        if cores > 1:
            self._cores[number] = cores

    def hold(self, number: int) -> None:
        """Add a frozen job of this session."""
        self._held.add(number)

    def drop(self, number: int) -> None:
        """Forget a job that was frozen."""
        self._held.discard(number)

    def enqueue_record(self, record: Record) -> None:
        """Put a job from its record at the end of the queue. Reject it if its plan is damaged."""
        try:
            plan = record.plan()
        except DamagedRecord as error:
            self.reject(record, error)
        else:
            self.enqueue(record.number, plan, self.cores_of(plan))

    def look_for_oldest(self) -> None:
        """Update the time of the longest waiting job, after jobs were adopted."""
        self._oldest = self._store.oldest_waiting()

    def reject(self, record: Record, error: DamagedRecord) -> None:
        """Make a job with a damaged record FAILED."""
        logger.error("%s", error)
        self._store.reject(record.number, time.time(), str(error))

    # -- the queue

    def advance(self, *, start_now: bool = False) -> None:
        """Record the runs that ended, and start the jobs that fit.

        Args:
            start_now: start the shell of the first job at once, not in its task.
        """
        while self._advance_once(start_now=start_now):
            start_now = False

    def _advance_once(self, *, start_now: bool) -> bool:
        """Advance by one transaction; return whether more jobs may fit now.

        A failed job may run again, and a canceled job may have kept the next one waiting.
        """
        self.must_advance_again = False
        ends = dict(self._ends)
        candidates = self._take_candidates()
        if not ends and not candidates:
            return False
        try:
            published, claims = self._record_and_claim(ends, candidates)
        except LocalError as error:
            self._queue.extendleft(reversed(candidates))
            self._note_failure(error)
            return False
        self._locked_since = None
        for run in ends:  # only now: an interrupt may come at any moment, and the ends must not get lost
            self._ends.pop(run, None)
        again = bool(ends)
        for number, record in zip(candidates, claims, strict=True):
            if record is None:
                again |= self._sort_out(number)
            else:
                published += self._begin(record, start_now=start_now)
                start_now = False
        self.publish(published)
        self._runner.notify()
        return again

    def _record_and_claim(
        self, ends: Mapping[Run, End], candidates: Mapping[int, str]
    ) -> tuple[list[Record], list[Record | None]]:
        published: list[Record] = []
        claims: list[Record | None] = []
        shared = self._settings.slots if self._settings.shared_slots else None
        now = time.time()
        is_one_change = len(ends) + len(candidates) == 1  # which is a transaction of its own
        with nullcontext() if is_one_change else self._store.transaction():
            for run, end in ends.items():
                published += self._record(run, end)
            for number, local_name in candidates.items():
                claims.append(self._store.claim(number, now, local_name, shared))
        return published, claims

    def _take_candidates(self) -> dict[int, str]:
        """Take the jobs that fit off the queue; return the names of their attempts by job number."""
        candidates: dict[int, str] = {}
        free = self._free
        while self.is_open and self._queue and (cores := self._cores.get(self._queue[0], 1)) <= free:
            self._starts += 1
            # MiG puts a process id behind the time. One program may have several sessions on a home.
            stamp = time.strftime("%d%m%y-%H%M%S", time.gmtime())
            candidates[self._queue.popleft()] = f"{stamp}.{self._store.session}{self._starts:07d}"
            free -= cores
        return candidates

    def _begin(self, record: Record, *, start_now: bool) -> list[Record]:
        """Start a claimed attempt; return the records to publish."""
        plan = self._plans.pop(record.number, None)
        cores = self._cores.pop(record.number, 1)
        try:
            attempt = Attempt(self._machine, record.job_id, record.attempt_name, plan or record.plan())
        except DamagedRecord as error:
            self.reject(record, error)
            return []
        run = Run(attempt, record, cores)
        self._free -= cores
        if start_now:
            self._runner.runs[record.number] = run  # first, because an interrupt may come at any moment
            attempt.start_now()
        self._runner.start(run, partial(attempt.run, partial(self._exited, run)))
        return [record]

    def _sort_out(self, number: int) -> bool:
        """Return whether an unclaimed job has left the queue. If not, other sessions occupy its slots."""
        for row in self._store.records([number]):
            if row.state is JobState.FROZEN:
                self._held.add(number)
            elif row.state is JobState.QUEUED:
                self._queue.appendleft(number)
                self.must_advance_again = True  # no event reports the end of another session's job
                return False
        return True

    def _exited(self, run: Run) -> None:
        """Give the slots of a run whose shell has ended to the next job, before its results are stored."""
        self.free_slots(run)
        self.advance(start_now=True)

    def _note_failure(self, error: LocalError) -> None:
        """Try again later if the database was locked (for a limited time while the session closes), or stop."""
        if not isinstance(error, DatabaseLocked):
            self.stop(error)
            return
        self.must_advance_again = True
        now = anyio.current_time()
        self._locked_since = self._locked_since or now
        if self._closing and now - self._locked_since > self._settings.lock_timeout:
            self.stop(error)

    def free_slots(self, run: Run) -> None:
        """Free the slots of a run."""
        self._free += run.cores
        run.cores = 0

    def take_slots(self, cores: int) -> None:
        """Occupy slots for a run that another session began, even if none are free."""
        self._free -= cores

    def expire(self) -> None:
        """Make the jobs of this session EXPIRED that have waited too long."""
        limit, now = self._settings.expire_after, time.time()
        if limit <= 0 or self._oldest is None or self._oldest > now - limit:
            return
        expired = self._store.expire(now - limit, now)
        self._oldest = self._store.oldest_waiting()
        numbers = {record.number for record in expired}
        self._queue = deque(number for number in self._queue if number not in numbers)
        self._held -= numbers
        self.publish(expired)

    # -- ends

    async def record_end(self, run: Run, end: End) -> bool:
        """Record how a run ended; return False if the scheduler stopped first."""
        self._ends[run] = end
        # Runs that end at the same time share one transaction.
        await anyio.lowlevel.checkpoint()
        self.advance()
        while run in self._ends and self.error is None:
            await anyio.sleep(_LOCKED_PAUSE)
            self.advance()
        return run not in self._ends

    def _record(self, run: Run, end: End) -> list[Record]:
        """Write an end into the records; return the records to publish."""
        record = run.record
        # Not earlier than its start, even if the clock was set back.
        now = max(time.time() if end.at is None else min(end.at, time.time()), record.executing or 0.0)
        if not end.begun:
            if self._store.unclaim(record.number, record.local_name):
                self._queue.appendleft(record.number)
                self._cores[record.number] = self.cores_of(run.attempt.plan)
            return []
        if end.verified is not None:
            after = self._store.finish(record.number, record.attempt, now, end.verified, end.exit_code)
        else:
            retries = run.attempt.plan.description.lines("RETRIES")
            again = record.attempt <= (int(retries[-1]) if retries else self._settings.default_retries)
            attempts = record.attempts_text_with(end.reason, end.detail, now)
            after = self._store.fail(record.number, record.attempt, now, attempts, again=again)
        if after is None:
            if any(row.state is JobState.CANCELED for row in self._store.records([record.number])):
                run.stopped = "kill"  # by another process: no results
            return []  # otherwise the end is recorded already
        if after.state is JobState.QUEUED:
            self.enqueue(after.number, run.attempt.plan, self.cores_of(run.attempt.plan))
        return [after]

    def publish(self, records: Iterable[Record]) -> None:
        """Publish the statuses of watched jobs, and log changes."""
        for record in records:
            try:
                job_id = record.job_id
                if job_id in self._subscriptions:
                    self._subscriptions.publish(record.status())
            except DamagedRecord as error:
                logger.error("%s", error)
            else:
                self._log.state(job_id, record.state, record.attempt)
