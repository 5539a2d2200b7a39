"""The queue of local mode: which job runs when, who is told, and what happens when the session ends.

Everything that decides is synchronous and ends in one database transaction; only running an attempt takes time. Each
attempt is a task in the session's task group, shielded from cancellation, for a job ends by the user's will or its
own, not because some scope around the session did. Nothing here raises into that group: an error of the database
stops the engine, and everyone who waits is told.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Literal

import anyio
import anyio.lowlevel

from .._core.errors import LocalError
from .._core.job_log import JobLog
from .._core.models import JobState, Outcome
from .._shell import process as _local_process
from .attempt import Attempt, End, Machine
from .control_file import HomeBroken
from .leftover import Leftover
from .settings import base_environment
from .store import encode_attempts, encode_plan, job_id_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from .._backend import Action
    from .._core.subscriptions import Subscriptions
    from .._core.tasks import SessionTasks
    from .._spec.plan import Plan
    from .settings import LocalSettings
    from .store import Record, Store

logger = logging.getLogger("aiomig.local")

FOLLOW_INTERVAL = 0.1
"""Seconds between two looks at what other processes did to the jobs of a home."""

_LOOKS_PER_CENSUS = 10
"""Every so many looks, see whether the session that runs a watched job is still there."""

_FROM: dict[Action, tuple[JobState, ...]] = {
    "cancel": (JobState.PARSE, JobState.QUEUED, JobState.RETRY, JobState.EXECUTING, JobState.FROZEN),
    "freeze": (JobState.QUEUED, JobState.RETRY),
    "thaw": (JobState.FROZEN,),
}
_TO: dict[Action, JobState] = {
    "cancel": JobState.CANCELED,
    "freeze": JobState.FROZEN,
    "thaw": JobState.QUEUED,
}


class Run:
    """An attempt that holds slots."""

    __slots__ = ("attempt", "cores", "scope", "stopped")

    def __init__(self, attempt: Attempt, cores: int) -> None:
        self.attempt = attempt
        self.cores = cores
        self.scope: anyio.CancelScope | None = None
        self.stopped: Literal["", "kill", "leave"] = ""

    def stop(self, how: Literal["kill", "leave"]) -> None:
        """Ends the task of this run, and with ``"kill"`` the job."""
        if not self.stopped:
            self.stopped = how
            if how == "kill":
                self.attempt.strike()
            if self.scope is not None:
                self.scope.cancel()


class Engine:
    """The queue of one session.

    Args:
        settings: what the session was told.
        store: the records of the home.
        subscriptions: who watches.
        tasks: the task group of the session.
    """

    def __init__(
        self, settings: LocalSettings, store: Store, subscriptions: Subscriptions, tasks: SessionTasks
    ) -> None:
        self._settings = settings
        self._store = store
        self._subscriptions = subscriptions
        self._tasks = tasks
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._machine = Machine(settings, base_environment(settings), self._null, _local_process.has_pidfd())
        self._queue: deque[int] = deque()
        self._cores: dict[int, int] = {}  # of the waiting jobs that want more than one
        self._free = settings.slots
        self._runs: dict[int, Run] = {}
        self._ends: list[tuple[Run, End]] = []  # not yet in the records
        self._held: set[int] = set()  # frozen
        self._adopted: set[int] = set()
        self._starts = 0
        self._oldest: float | None = None
        self._closing = False
        self._log = JobLog("local")
        self._error: LocalError | None = None
        self._news = anyio.Event()
        self._follow_scope: anyio.CancelScope | None = None
        self._interrupt: KeyboardInterrupt | None = None

    # -- opening and closing

    def open(self) -> None:
        """Begins: adopts what dead sessions left, and starts to follow the others."""
        self._store.begin_session(time.time())
        self._adopt()
        self._sweep()
        self._tasks.start(self._follow, name="local follow")
        self._cycle()

    def _adopt(self) -> None:
        for record in self._store.adopt():
            self._adopted.add(record.number)
            if record.state is JobState.EXECUTING:
                self._recover(record)
            elif record.state is JobState.FROZEN:
                self._held.add(record.number)
            else:
                self._enqueue(record.number, record.plan)
        self._oldest = self._store.oldest_waiting()

    def _recover(self, record: Record) -> None:
        same_boot = self._store.same_boot(record.owner)
        run = Run(Attempt(self._machine, record), self._cores_of(record.plan))
        self._free -= run.cores
        self._runs[record.number] = run
        self._tasks.start(self._carry_out, run, same_boot, name=f"local recover {record.number}")

    def _sweep(self) -> None:
        """Ends and removes what a program left that died between writing the end of a job and cleaning up."""
        runs = self._settings.runs
        names = {name.removeprefix("job-dir_").removesuffix(".control") for name in os.listdir(runs)}
        for name in names - self._store.names_in_use(names):
            leftover = Leftover(runs, name, pidfd=self._machine.pidfd)
            process = leftover.process()
            if process is None:
                leftover.remove()
            else:
                self._tasks.start(leftover.end, process, name=f"local leftover {name}")

    async def drained(self) -> None:
        """Waits until nothing of ours is queued or runs. Frozen jobs are not waited for.

        Raises:
            LocalError: the engine had to stop.
        """
        while (self._runs or self._queue) and self._error is None:
            self._news = anyio.Event()
            await self._news.wait()
        self.check()

    async def close(self, how: Literal["cancel", "leave"]) -> None:
        """Ends: cancels what this session submitted, or leaves it; what it adopted is always left.

        Raises:
            KeyboardInterrupt: it struck one of our tasks, and not the user's.
        """
        with anyio.CancelScope(shield=True):
            await self._close(how)
        if self._interrupt is not None:
            await self._tasks.close()
            raise self._interrupt from None

    async def _close(self, how: Literal["cancel", "leave"]) -> None:
        self._closing = True
        if how == "cancel" and self._error is None:
            self._cancel_all()
        for number, run in list(self._runs.items()):
            run.stop("leave")
            if run.scope is None and not run.attempt.is_begun:
                del self._runs[number]  # its task has not begun and will not; an interrupt may have come before it
        while self._runs:
            self._news = anyio.Event()
            await self._news.wait()
        if self._error is None:
            self._cycle()  # an interrupt may have come before an end was recorded
        if self._follow_scope is not None:
            self._follow_scope.cancel()
        os.close(self._null)

    def _cancel_all(self) -> None:
        try:
            waiting = [number for number in self._queue if number not in self._adopted]
            waiting += self._held - self._adopted
            running = [number for number in self._runs if number not in self._adopted]
            waiting += [number for number in running if self._runs[number].scope is None]
            with self._store.transaction():
                records = self._store.cancel_waiting(time.time(), waiting)
                for number in running:
                    record = self._store.change(number, (JobState.EXECUTING,), JobState.CANCELED, time.time())
                    records += [record] if record is not None else []
            for number in running:
                self._runs[number].stop("kill")
            self._publish(records)
        except LocalError as error:
            self._break(error)

    def _break(self, error: LocalError) -> None:
        logger.error("local mode stops: %s", error)
        self._error = error
        self._subscriptions.fail(error)
        self._news.set()

    def check(self) -> None:
        """Raises what stopped the engine."""
        if self._error is not None:
            raise self._error

    # -- submitting and acting

    def submit(self, plans: Sequence[Plan]) -> list[str]:
        """Puts jobs at the end of the queue; starts what has a slot."""
        self.check()
        now = time.time()
        texts = [encode_plan(plan) for plan in plans]
        rank = int(now * 1e6)
        if len(texts) == 1:
            numbers = self._store.insert(texts, now, rank)
        else:
            with self._store.transaction():
                numbers = self._store.insert(texts, now, rank)
        job_ids = [job_id_of(number, now) for number in numbers]
        self._log.submitted(job_ids)
        for number, plan in zip(numbers, plans, strict=True):
            self._enqueue(number, plan)
        if self._oldest is None:
            self._oldest = now
        self._cycle()
        return job_ids

    def _cores_of(self, plan: Plan) -> int:
        description = plan.description
        wanted = description.number("CPUCOUNT") * description.number("NODECOUNT")
        # A job that wants more than there is has the machine to itself: the same program runs here and there.
        return min(max(wanted, 1), self._settings.slots)

    def _enqueue(self, number: int, plan: Plan) -> None:
        self._queue.append(number)
        if (cores := self._cores_of(plan)) > 1:
            self._cores[number] = cores

    def act(self, action: Action, job_ids: Sequence[str]) -> dict[str, Outcome]:
        """Cancels, freezes or thaws."""
        self.check()
        outcomes: dict[str, Outcome] = {}
        changed: list[Record] = []
        with self._store.transaction():
            for job_id in job_ids:
                before = self._store.find(job_id)
                after = None
                if before is not None:
                    after = self._store.change(before.number, _FROM[action], _TO[action], time.time())
                    if action == "thaw" and after is not None:
                        self._thawed(after)
                outcomes[job_id] = _outcome(job_id, action, before, after)
                changed += [after] if after is not None else []
        for record in changed:
            self._acted(record)
        self._publish(changed)
        self._cycle()
        return outcomes

    def _thawed(self, record: Record) -> None:
        if record.owner == self._store.session:
            self._held.discard(record.number)
            self._enqueue(record.number, record.plan)
        elif record.owner is not None and self._store.is_alive(record.owner):
            self._store.signal(record.owner, record.number)
        else:
            self._store.take(record.number)
            self._adopted.add(record.number)
            self._enqueue(record.number, record.plan)

    def _acted(self, record: Record) -> None:
        number = record.number
        if record.state is JobState.FROZEN and record.owner == self._store.session:
            self._held.add(number)
        if record.state is not JobState.CANCELED:
            return
        self._held.discard(number)
        if number in self._runs:
            self._runs[number].stop("kill")
        elif record.executing is not None:
            Attempt(self._machine, record).strike_foreign()

    @property
    def is_open(self) -> bool:
        """Whether jobs can be acted on."""
        return not self._closing and self._error is None

    def has_beginners(self) -> bool:
        """Whether attempts have a slot here and do not run by themselves yet: files are fetched, a shell is started."""
        return not all(run.attempt.has_begun() for run in self._runs.values())

    def attempt_of(self, record: Record) -> Attempt:
        """The attempt of a job, to look at its files."""
        return Attempt(self._machine, record)

    @property
    def unfinished(self) -> Iterable[int]:
        """The numbers of the jobs that wait or run here."""
        return [*self._runs, *self._queue, *self._held]

    # -- the queue

    def _cycle(self, *, at_once: bool = False) -> None:
        """Records what ended, and starts what fits; one transaction.

        Args:
            at_once: start the shell of a job here and not only in its task.
        """
        started: list[Run] = []
        published: list[Record] = []
        if not self._ends and (not self._queue or self._free <= 0 or not self.is_open):
            return
        ends = list(self._ends)
        try:
            with self._store.transaction():
                for run, end in ends:
                    published += self._record(run, end)
                if self.is_open:
                    published += self._expire()
                    started = self._claim()
        except LocalError as error:
            for run in reversed(started):
                self._unstart(run)
            self._break(error)
            return
        del self._ends[: len(ends)]  # not before: an interrupt may come at any moment, and then they are still to do
        self._publish([*published, *(run.attempt.record for run in started)])
        for run in started:
            self._tasks.start(self._carry_out, run, None, name=f"local {run.attempt.job_id}")
        if at_once and started:
            started[0].attempt.begin()
        self._news.set()

    def _vacate(self, run: Run) -> None:
        """Gives the slots of a run away whose shell has ended: cores shall not wait for results to be taken home."""
        self._free += run.cores
        run.cores = 0
        self._cycle(at_once=True)

    def _claim(self) -> list[Run]:
        started: list[Run] = []
        now = time.time()
        while self._queue and self._free > 0:
            number = self._queue[0]
            cores = self._cores.get(number, 1)
            if cores > self._free:
                break
            self._queue.popleft()
            self._cores.pop(number, None)
            record = self._store.claim(number, now, self._local_name(now))
            if record is None:  # frozen or canceled meanwhile; of the latter nothing is to be kept
                self._held |= {each.number for each in self._store.records([number]) if each.state is JobState.FROZEN}
                continue
            run = Run(Attempt(self._machine, record), cores)
            self._free -= cores
            self._runs[number] = run
            started.append(run)
        return started

    def _unstart(self, run: Run) -> None:
        number = run.attempt.record.number
        del self._runs[number]
        self._free += run.cores
        self._queue.appendleft(number)

    def _local_name(self, now: float) -> str:
        # Where MiG has a process id: one program may have several sessions on a home.
        self._starts += 1
        return f"{time.strftime('%d%m%y-%H%M%S', time.gmtime(now))}.{self._store.session}{self._starts:07d}"

    def _expire(self) -> list[Record]:
        limit = self._settings.expire_after
        if limit <= 0 or self._oldest is None or self._oldest > time.time() - limit:
            return []
        now = time.time()
        expired = self._store.expire(now - limit, now)
        self._oldest = self._store.oldest_waiting()
        numbers = {record.number for record in expired}
        self._queue = deque(number for number in self._queue if number not in numbers)
        self._held -= numbers
        return expired

    def _record(self, run: Run, end: End) -> list[Record]:
        """Writes an end into the records; what is to be published."""
        record = run.attempt.record
        now = time.time()
        if end.at is not None:
            now = max(min(end.at, now), record.executing or 0.0)
        if not end.begun:
            if self._store.unclaim(record.number, record.local_name):
                self._queue.appendleft(record.number)
            return []
        if end.verified is not None:
            after = self._store.finish(record.number, record.attempt, now, end.verified)
        else:
            after = self._fail(run, end, now)
        if after is None:
            if self._store.records([record.number])[0].state is JobState.CANCELED:
                run.stopped = "kill"  # by another process meanwhile: no results
            return []  # else it is recorded already
        if after.state is JobState.QUEUED:
            self._enqueue(after.number, run.attempt.plan)
        return [after]

    def _fail(self, run: Run, end: End, now: float) -> Record | None:
        record = run.attempt.record
        attempts = [
            (
                _seconds(each.queued_at),
                _seconds(each.executing_at),
                _seconds(each.failed_at),
                each.reason,
                each.detail,
            )
            for each in record.attempts
        ]
        attempts.append((record.queued, record.executing or now, now, end.reason, end.detail))
        retries = run.attempt.plan.description.lines("RETRIES")
        allowed = int(retries[-1]) if retries else self._settings.default_retries
        return self._store.fail(
            record.number, record.attempt, now, encode_attempts(attempts), again=record.attempt <= allowed
        )

    # -- the tasks

    async def _carry_out(self, run: Run, recovered: bool | None) -> None:
        number = run.attempt.record.number
        if self._runs.get(number) is not run:
            return  # the session was left meanwhile
        try:
            await self._attend(run, recovered)
        except KeyboardInterrupt as error:
            self._hand_on(error)
            if self._runs.get(number) is run:
                await self._end_interrupted(run)
        finally:
            if self._runs.get(number) is run:  # and not its next attempt
                del self._runs[number]
                self._news.set()

    async def _end_interrupted(self, run: Run) -> None:
        with anyio.CancelScope(shield=True) as run.scope:
            if not run.stopped:
                await anyio.sleep_forever()  # until the session is left
        with anyio.CancelScope(shield=True):
            if run.stopped == "kill":
                await run.attempt.hunt()
                run.attempt.discard_results()
                run.attempt.clean()
            else:
                run.attempt.release()

    def _hand_on(self, error: KeyboardInterrupt) -> None:
        # trio raises it in whatever task runs at the moment; the block of the session must be what is left by it.
        self._interrupt = error
        self._tasks.cancel()

    async def _attend(self, run: Run, recovered: bool | None) -> None:
        """Runs one attempt to its end. ``recovered``: it is another program's, of the same boot or not."""
        attempt = run.attempt
        end: End | None = None
        with anyio.CancelScope(shield=True) as run.scope:
            if run.stopped:
                run.scope.cancel()
            try:
                exited = partial(self._vacate, run)
                end = await (attempt.run(exited) if recovered is None else attempt.recover(exited, same_boot=recovered))
            except HomeBroken as error:
                self._break(error)
                run.stopped = "leave"  # it has not begun: the next session on the home runs it
            except Exception as error:  # a task of the session must not raise: see the top
                logger.exception("job %s: aiomig failed", attempt.job_id)
                await attempt.kill()
                end = End(reason="RESOURCE DIED", detail=f"aiomig failed: {error!r}")
        if run.stopped == "kill":
            await attempt.kill()
        elif run.stopped == "leave" and end is None:
            attempt.release()
        self._free += run.cores
        run.cores = 0
        if end is not None and end.verified is None and end.begun:
            attempt.keep()
        await self._settle(run, end)

    async def _settle(self, run: Run, end: End | None) -> None:
        if run.stopped == "leave" and end is None:
            return
        if end is not None:
            self._ends.append((run, end))
            # If others have ended by now, one transaction does for all.
            await anyio.lowlevel.cancel_shielded_checkpoint()
        self._cycle()
        if self._error is None:
            if run.stopped == "kill":
                run.attempt.discard_results()
            run.attempt.clean()

    def _publish(self, records: Iterable[Record]) -> None:
        for record in records:
            job_id = record.job_id
            if job_id in self._subscriptions:
                self._subscriptions.publish(record.status())
            self._log.state(job_id, record.state, record.attempt)

    async def _follow(self) -> None:
        """Looks now and then at what other processes did."""
        looks = 0
        with anyio.CancelScope(shield=True) as self._follow_scope:
            while not self._closing:
                await anyio.sleep(FOLLOW_INTERVAL)
                looks += 1
                try:
                    self._look(census=looks % _LOOKS_PER_CENSUS == 0)
                except LocalError as error:
                    self._break(error)
                    return
                except KeyboardInterrupt as error:
                    self._hand_on(error)

    def _look(self, *, census: bool) -> None:
        if not (self._subscriptions or self._runs or self._queue or self._held):
            return
        if census and self._watches_foreign():
            self._adopt()
            self._cycle()
        if not self._store.changed_elsewhere():
            return
        for number in self._store.signaled():
            self._held.discard(number)
            records = self._store.records([number])
            self._enqueue(number, records[0].plan)
        watched = [self._store.number_of(job_id) for job_id in self._subscriptions]
        numbers = {number for number in watched if number is not None} | set(self._runs)
        for record in self._store.records(sorted(numbers)):
            if record.number in self._runs and record.state is JobState.CANCELED:
                self._runs[record.number].stop("kill")
            self._subscriptions.publish(record.status())
            self._log.state(record.job_id, record.state, record.attempt)
        self._cycle()

    def _watches_foreign(self) -> bool:
        own = {*self._runs, *self._queue, *self._held}
        return any(self._store.number_of(job_id) not in own for job_id in self._subscriptions)


def _seconds(at: datetime | None) -> float:
    return at.timestamp() if at is not None else 0.0


def _outcome(job_id: str, action: Action, before: Record | None, after: Record | None) -> Outcome:
    if before is None:
        return Outcome(job_id, None, None, f"{job_id}: You do not have any matching job IDs!")
    if after is None:
        states = " or ".join(_FROM[action])
        return Outcome(job_id, before.state, None, f"You can only {action} jobs with status: {states}.")
    return Outcome(job_id, before.state, after.state)
