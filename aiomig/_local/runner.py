"""Runs the attempts of a session, each in its own task.

A task is shielded from cancellation: a job ends because the user cancels it or because its commands end, not because
a scope around the session is cancelled. No task raises: an error of the home or its database stops the scheduler,
and all waiting tasks get that error.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import anyio

from .._core.errors import LocalError
from .._shell.proc import end_escaped
from .attempt import End

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from .._core.tasks import SessionTasks
    from .attempt import Attempt
    from .records import Record
    from .settings import LocalSettings

logger = logging.getLogger("aiomig.local")


@dataclass(slots=True, eq=False)
class Run:
    """An attempt that occupies slots.

    Args:
        attempt: the attempt.
        record: the job, claimed.
        cores: the number of slots that it occupies.

    Attributes:
        scope: the cancel scope of its task, once the task has begun.
        stopped: ``"kill"`` if the job must end, ``"leave"`` if it runs on without this session.
        is_observed: whether aiomig has seen that its process still runs.
    """

    attempt: Attempt
    record: Record
    cores: int
    scope: anyio.CancelScope | None = None
    stopped: Literal["", "kill", "leave"] = ""
    is_observed: bool = True

    def stop(self, how: Literal["kill", "leave"]) -> None:
        """End the task of this run, and with ``"kill"`` the job."""
        if not self.stopped:
            self.stopped = how
            if how == "kill":
                self.attempt.kill_now()
            if self.scope is not None:
                self.scope.cancel()


class Reports(Protocol):
    """The callbacks of a runner."""

    def free_slots(self, run: Run) -> None:
        """Free the slots of a run whose shell has ended."""

    def advance(self) -> None:
        """Start the jobs that fit."""

    async def record_end(self, run: Run, end: End) -> bool:
        """Record how a run ended; return whether that succeeded."""

    def stop(self, error: LocalError) -> None:
        """Stop because of an error that affects all jobs."""


class AttemptRunner:
    """The attempts of one session.

    Args:
        settings: of the session.
        tasks: the task group of the session.

    Attributes:
        runs: the attempts under way, by the number of their job.
        interrupt: a KeyboardInterrupt that one of the tasks raised.
        ended: the marks of the attempts that ended since `end_escaped` was called.
    """

    reports: Reports

    def __init__(self, settings: LocalSettings, tasks: SessionTasks) -> None:
        self._settings = settings
        self._tasks = tasks
        self._changed = anyio.Event()
        self.runs: dict[int, Run] = {}
        self.interrupt: KeyboardInterrupt | None = None
        self.ended: list[str] = []

    def start(self, run: Run, work: Callable[[], Awaitable[End]]) -> None:
        """Begin a run.

        Args:
            run: the run.
            work: carries its attempt out.
        """
        self.runs[run.record.number] = run
        self._tasks.start(self._attempt_task, run, work, name=f"local {run.attempt.local_name}")

    def notify(self) -> None:
        """Wake those that wait for a change."""
        self._changed.set()

    async def wait_for_change(self) -> None:
        """Wait until a run or the queue has changed."""
        if self._changed.is_set():
            self._changed = anyio.Event()
        await self._changed.wait()

    def has_beginners(self) -> bool:
        """Return whether an attempt cannot run on without this session, because its shell has not begun yet."""
        return not all(run.attempt.has_begun() for run in self.runs.values())

    def leave_all(self) -> None:
        """End all tasks. Jobs that were not stopped run on."""
        for run in list(self.runs.values()):
            run.stop("leave")

    async def end_interrupted(self) -> None:
        """End the runs whose tasks an interrupt ended. Call this after all tasks have ended."""
        for run in list(self.runs.values()):
            if run.stopped == "kill":
                await run.attempt.find_and_kill()
                await run.attempt.results.discard()
                await run.attempt.clean()
            else:
                run.attempt.release()

    def end_escaped(self) -> None:
        """Kill the processes that ended attempts left in other process sessions."""
        if self.ended:
            end_escaped(self.ended)
            self.ended.clear()

    def forward_interrupt(self, error: KeyboardInterrupt) -> None:
        """End the user's session block with a KeyboardInterrupt that a task raised."""
        # trio raises it in the task that runs at the moment.
        self.interrupt = error
        self._tasks.cancel()

    async def _attempt_task(self, run: Run, work: Callable[[], Awaitable[End]]) -> None:
        try:
            await self._run_attempt(run, work)
        except KeyboardInterrupt as error:
            self.forward_interrupt(error)
        else:
            if self.runs.get(run.record.number) is run:  # and not its next attempt
                del self.runs[run.record.number]
            self.notify()

    async def _run_attempt(self, run: Run, work: Callable[[], Awaitable[End]]) -> None:
        attempt = run.attempt
        end: End | None = None
        with anyio.CancelScope(shield=True) as run.scope:
            if run.stopped:
                run.scope.cancel()
            try:
                end = await work()
            except LocalError as error:
                self.reports.stop(error)
                run.stopped = "leave"  # it has not begun: the next session on the home runs it
            except Exception as error:  # a task of the session must not raise
                logger.exception("job %s: aiomig failed", attempt.job_id)
                await attempt.kill()
                end = End(reason="RESOURCE DIED", detail=f"aiomig failed: {error!r}")
        with anyio.CancelScope(shield=True):
            await self._conclude(run, end)

    async def _conclude(self, run: Run, end: End | None) -> None:
        attempt = run.attempt
        if run.stopped == "kill":
            await attempt.kill()
        elif end is None:
            attempt.release()
            return
        self.reports.free_slots(run)
        self.ended.append(attempt.mark)
        if end is not None:
            if end.verified is None and end.begun:
                await attempt.results.keep_output(*self._preserved(run))
            if not await self.reports.record_end(run, end):
                return
        else:
            self.reports.advance()
        if run.stopped == "kill":
            await attempt.results.discard()
        await attempt.clean()

    def _preserved(self, run: Run) -> tuple[Path, Path]:
        kept, number = self._settings.kept, run.record.number
        return kept / f"{number}.stdout", kept / f"{number}.stderr"
