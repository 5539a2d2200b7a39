"""Takes over the jobs of sessions that have ended, and follows the changes that other sessions make."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anyio

from .._core.errors import LocalError
from .._core.models import JobState
from .._shell.proc import seconds_running
from .attempt import Attempt, End
from .control_file import Control
from .database import DatabaseLocked
from .job_folder import PREFIX, JobFolder
from .records import DamagedRecord, number_of
from .runner import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from .._core.subscriptions import Subscriptions
    from .._core.tasks import SessionTasks
    from .attempt import Machine
    from .liveness import Place
    from .records import Record
    from .runner import AttemptRunner
    from .scheduler import Scheduler
    from .store import Progress, Store

logger = logging.getLogger("aiomig.local")

_LOOKS_PER_CENSUS = 10
"""The number of checks of the records for each check whether other sessions are still open."""

_ELSEWHERE_SECONDS = 0.2
"""Seconds between two checks of an attempt in another container."""


_NOTE = ".inode"
"""The suffix of the links that earlier versions left beside job directories."""


class Takeover:
    """Takes over jobs for one session, and follows the jobs of other sessions.

    Args:
        machine: what the attempts of the session share.
        store: the records of the home.
        subscriptions: the watched jobs.
        tasks: the task group of the session.
        scheduler: the queue of the session.
        runner: runs the attempts of the session.
        interval: seconds between two checks of the records.
    """

    def __init__(
        self,
        machine: Machine,
        store: Store,
        subscriptions: Subscriptions,
        tasks: SessionTasks,
        scheduler: Scheduler,
        runner: AttemptRunner,
        *,
        interval: float,
    ) -> None:
        self._machine = machine
        self._store = store
        self._subscriptions = subscriptions
        self._tasks = tasks
        self._scheduler = scheduler
        self._runner = runner
        self._interval = interval
        self._scope = anyio.CancelScope(shield=True)
        self._progress: Progress | None = None

    def open(self) -> None:
        """Take over the jobs of ended sessions, and begin to follow the others."""
        self.adopt()
        self._remove_leftovers()
        self._tasks.start(self._follow, name="local follow")

    def close(self) -> None:
        """Stop following."""
        self._scope.cancel()

    # -- taking over

    def adopt(self) -> None:
        """Take over the unfinished jobs of sessions that have ended.

        Raises:
            LocalError: such a session may still run on another machine; or the database cannot be used.
        """
        for record in self._store.adopt():
            self._scheduler.adopted.add(record.number)
            if record.state is JobState.FROZEN:
                self._scheduler.hold(record.number)
            elif record.state is JobState.QUEUED:
                self._scheduler.enqueue_record(record)
            else:
                self._resume(record)
        self._scheduler.look_for_oldest()
        self._scheduler.expire()
        self._scheduler.advance()

    def _resume(self, record: Record) -> None:
        try:
            attempt = recalled(self._machine, record)
            run = Run(attempt, record, self._scheduler.cores_of(attempt.plan))
        except DamagedRecord as error:
            self._scheduler.reject(record, error)
            return
        run.is_observed = False
        self._scheduler.take_slots(run.cores)
        self._runner.start(run, partial(resume, run, self._exited, self._observed, self._store.place_of(record.owner)))

    def _exited(self, run: Run) -> None:
        self._observed(run)
        self._scheduler.free_slots(run)
        self._scheduler.advance()

    def _observed(self, run: Run) -> None:
        run.is_observed = True
        self._runner.notify()

    def _remove_leftovers(self) -> None:
        """Remove job directories of a program that was killed between recording the end of a job and cleaning up."""
        runs = self._machine.settings.runs
        names = {name.removeprefix(PREFIX).removesuffix(".control").removesuffix(_NOTE) for name in os.listdir(runs)}
        for name in names - self._store.names_in_use(names):
            control = Control(runs, name, pidfd=self._machine.pidfd)
            folder = JobFolder(f"{runs}/{PREFIX}{name}")
            self._tasks.start(_end_leftover, control, folder, name=f"local leftover {name}")

    # -- following

    async def _follow(self) -> None:
        looks = 0
        with self._scope:
            while True:
                await anyio.sleep(self._interval)
                looks += 1
                try:
                    self._look(census=looks % _LOOKS_PER_CENSUS == 0)
                except DatabaseLocked:
                    continue
                except LocalError as error:
                    self._scheduler.stop(error)
                    return
                except KeyboardInterrupt as error:
                    self._runner.forward_interrupt(error)

    def _look(self, *, census: bool) -> None:
        if census:
            self._runner.end_escaped()
            if self._scheduler.is_open:
                self._adopt_if_any()
        self._scheduler.expire()
        if self._scheduler.must_advance_again:
            self._scheduler.advance()
        changed_elsewhere = self._store.changed_elsewhere()
        if not self._subscriptions.readers:
            self._progress = None
        changed = self._changes() if census or changed_elsewhere else set()
        if not changed_elsewhere:
            self._scheduler.publish(self._store.records(sorted(changed)))
            return
        signaled = self._store.signaled()
        for record in self._store.records(signaled):
            self._scheduler.enqueue_record(record)
        if self._progress is None:
            changed = {number for job_id in self._subscriptions if (number := number_of(job_id)) is not None}
            changed.update(self._runner.runs)
        records = self._store.records(sorted(changed | set(self._runner.runs)))
        for record in records:
            if record.number in self._runner.runs and record.state is JobState.CANCELED:
                self._runner.runs[record.number].stop("kill")
        self._scheduler.publish(record for record in records if record.number in changed)
        self._scheduler.advance()

    def follow_all(self) -> None:
        """From now on, compare the records with their present state, and publish the changes."""
        if self._progress is None:
            self._progress = self._store.progress()
            self._subscriptions.begin_reading(())

    def _changes(self) -> set[int]:
        """Return the jobs whose records changed since the last check, in any process. Return none without readers."""
        before = self._progress
        if before is None:
            return set()
        self._progress = self._store.progress()
        present = self._progress.unfinished
        changed = {number for number, state in before.unfinished.items() if present.get(number) != state}
        changed.update(number for number in present if number not in before.unfinished)
        return changed.union(self._store.numbers_after(before.newest))

    def _adopt_if_any(self) -> None:
        try:
            self.adopt()
        except DatabaseLocked:
            raise
        except LocalError as error:
            logger.warning("%s", error)

    async def observe(self, job_ids: Collection[str]) -> None:
        """Wait until aiomig knows whether jobs that an ended session had begun still run."""
        numbers = {number_of(job_id) for job_id in job_ids}
        while (
            any(number in numbers and not run.is_observed for number, run in self._runner.runs.items())
            and self._scheduler.is_open
        ):
            await self._runner.wait_for_change()


def recalled(machine: Machine, record: Record) -> Attempt:
    """Return the attempt of a job that has begun, with the identity of its directory from the control file."""
    attempt = Attempt(machine, record.job_id, record.attempt_name, record.plan())
    attempt.directory.recall(attempt.control.inode())
    return attempt


async def _end_leftover(control: Control, folder: JobFolder) -> None:
    with anyio.CancelScope(shield=True):
        if (shell := control.shell()) is not None:
            await shell.end_session()
        folder.recall(control.inode())
        with suppress(OSError):
            os.unlink(control.path.removesuffix(".control") + _NOTE)
        if await folder.remove():
            control.is_claim()  # a claim may have to stay
            control.remove()


async def resume(run: Run, exited: Callable[[Run], None], observed: Callable[[Run], None], place: Place) -> End:
    """Continue an attempt that another program began.

    The control file records how far the attempt came: see `aiomig._local.control_file`.

    Args:
        run: the attempt, with its slots.
        exited: called when the shell has ended, if it still ran, before the results are stored.
        observed: called when aiomig has seen that the shell still runs.
        place: where the other program ran.
    """
    attempt, control = run.attempt, run.attempt.control
    claimed = control.claim()
    await control.settle()
    if claimed or control.is_claim():
        return End(begun=False)
    if place == "here" and not control.has_begun() and control.is_deserted():
        return End(begun=False)  # the disk was full, or the script was killed, before its first command
    attempt.recall()
    at = control.written_at()
    if os.path.exists(f"{attempt.results.path}/{attempt.job_id}.status"):
        return replace(await attempt.finished(), at=at)
    if place == "here":
        # A shell that has written its exit code may be about to write it again, and would leave a file behind.
        attempt.process = control.shell()
        if attempt.process is not None:
            observed(run)
            elapsed = seconds_running(attempt.process.pid)
            if elapsed is None:
                elapsed = _seconds_since(run)
            return await attempt.supervise(attempt.process, partial(exited, run), elapsed)
    elif place == "other container":
        observed(run)
        return await _await_elsewhere(run)
    code = control.code()
    if code is None and place != "here":
        return End(reason="RESOURCE DIED", detail="the machine restarted while the job ran")
    return replace(await attempt.conclude(code), at=at if code is not None else None)


def _seconds_since(run: Run) -> float:
    """Return how long ago a run began by the wall clock, which may have been changed since."""
    now = time.time()
    return max(0.0, now - (run.record.executing or now))


async def _await_elsewhere(run: Run) -> End:
    """Wait for an attempt in another container, which cannot be seen or killed from here."""
    attempt = run.attempt
    limit = attempt.description.number("CPUTIME") + attempt.machine.settings.wall_time_grace
    # Both containers share only the wall clock. From here on, a change of it does no harm.
    deadline = anyio.current_time() + limit - _seconds_since(run)
    while (code := attempt.control.code()) is None:
        if anyio.current_time() > deadline:
            detail = f"it was begun in another container, and has not ended within {limit:g} s"
            return End(reason="JOB TIMEOUT", detail=detail)
        await anyio.sleep(_ELSEWHERE_SECONDS)
    return replace(await attempt.conclude(code), at=attempt.control.written_at())
