"""Background task that lists the jobs of the user, so that the changes of all of them are known."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from .._core.errors import MigError
from .._core.turns import Paced

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .._core.models import JobStatus
    from .._core.subscriptions import Subscriptions
    from .._core.tasks import SessionTasks
    from .poller import Poller, Polling

logger = logging.getLogger("aiomig.grid")


class _Run:
    """One run of the task: what its first listing gave."""

    def __init__(self) -> None:
        self.listed = anyio.Event()
        self.error: MigError | None = None


class JobLister:
    """Finds jobs that other programs submit, and hands them to the poller, while someone reads all changes.

    Args:
        subscriptions: who reads changes.
        poller: follows the jobs that were found.
        find: sends one request for all jobs.
        polling: how often to ask: more often while new jobs are found.
        tasks: the task group of the session.
    """

    def __init__(
        self,
        subscriptions: Subscriptions,
        poller: Poller,
        find: Callable[[], Awaitable[Sequence[JobStatus]]],
        polling: Polling,
        tasks: SessionTasks,
    ) -> None:
        self._subscriptions = subscriptions
        self._poller = poller
        self._find = find
        self._polling = polling
        self._tasks = tasks
        self._run: _Run | None = None
        self._seen: set[str] = set()
        self._unfinished: list[str] = []

    async def follow(self) -> None:
        """Start the task if it does not run. Return after its first listing.

        Raises:
            GridError: the grid could not be asked.
        """
        if self._run is None:
            self._run = _Run()
            self._tasks.start(self._list, self._run, name="grid lister")
        run = self._run
        await run.listed.wait()
        if run.error is not None:
            raise run.error
        self._poller.wake(self._unfinished)

    async def _list(self, run: _Run) -> None:
        self._seen.clear()
        failures, news = 0, anyio.current_time()
        try:
            while self._subscriptions.readers:
                await self._poller.admit()
                began = anyio.current_time()
                try:
                    found = await self._take(await self._find(), first=not run.listed.is_set())
                except MigError as error:
                    if not run.listed.is_set():
                        run.error = error
                        return
                    failures += 1
                    pause = self._failed(error, failures)
                else:
                    now = anyio.current_time()
                    failures, news = 0, now if found else news
                    run.listed.set()
                    pause = self._polling.pause_after(now - began, now - news)
                await anyio.sleep(pause)
        finally:
            self._run = None
            run.listed.set()

    def _failed(self, error: MigError, failures: int) -> float:
        logger.warning("listing the jobs failed (%d in a row): %s", failures, error)
        if failures % self._polling.failures == 0:
            self._subscriptions.fail_readers(error)
        return min(self._polling.floor * 2.0 ** min(failures, 60), self._polling.ceiling)

    async def _take(self, statuses: Sequence[JobStatus], *, first: bool) -> bool:
        """Publish what is new, and follow what has not ended. Return whether there was a new job."""
        unfinished = [status for status in statuses if not status.state.is_final]
        before = set(self._unfinished)
        self._unfinished = [status.job_id for status in unfinished]
        found = False
        if first:
            self._subscriptions.begin_reading(unfinished)
        else:
            async for status in Paced(statuses):
                is_new = status.job_id not in self._seen
                if is_new or status.job_id in before:
                    self._poller.note(status)
                    found = found or is_new
        self._seen.update(status.job_id for status in statuses)
        self._poller.wake(self._unfinished)
        return found
