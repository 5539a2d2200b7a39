"""Background task that lists the user's jobs, to find those that other programs submit."""

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
    """One run of the task, with the outcome of its first listing."""

    def __init__(self) -> None:
        self.listed = anyio.Event()
        self.error: MigError | None = None


class JobLister:
    """Finds jobs that other programs submit, and passes them to the poller, while there are readers of all changes.

    Args:
        subscriptions: the readers of changes.
        poller: follows the jobs.
        find: sends one request for all jobs.
        polling: the pauses between requests, which are shorter while new jobs appear.
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
        """Start the task unless it is running. Return after its first listing.

        Raises:
            GridError: the first listing failed.
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
        failures, last_news = 0, anyio.current_time()
        try:
            while self._subscriptions.readers:
                await self._poller.admit()
                began = anyio.current_time()
                try:
                    has_new = await self._publish(await self._find(), first=not run.listed.is_set())
                except MigError as error:
                    if not run.listed.is_set():
                        run.error = error
                        return
                    failures += 1
                    pause = self._failed(error, failures)
                else:
                    now = anyio.current_time()
                    failures, last_news = 0, now if has_new else last_news
                    run.listed.set()
                    pause = self._polling.pause_after(now - began, now - last_news)
                await anyio.sleep(pause)
        finally:
            self._run = None
            run.listed.set()

    def _failed(self, error: MigError, failures: int) -> float:
        logger.warning("listing the jobs failed (%d in a row): %s", failures, error)
        if failures % self._polling.failures == 0:
            self._subscriptions.fail_readers(error)
        return min(self._polling.floor * 2.0 ** min(failures, 60), self._polling.ceiling)

    async def _publish(self, statuses: Sequence[JobStatus], *, first: bool) -> bool:
        """Publish changes, and follow unfinished jobs. Return whether there was a new job."""
        unfinished = [status for status in statuses if not status.state.is_final]
        before = set(self._unfinished)
        self._unfinished = [status.job_id for status in unfinished]
        has_new = False
        if first:
            self._subscriptions.begin_reading(unfinished)
        else:
            async for status in Paced(statuses):
                is_new = status.job_id not in self._seen
                if is_new or status.job_id in before:
                    self._poller.note(status)
                    has_new = has_new or is_new
        self._seen.update(status.job_id for status in statuses)
        self._poller.wake(self._unfinished)
        return has_new
