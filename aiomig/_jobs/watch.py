"""`Watch`: the statuses of jobs as they change.

The iterator is an object, not an async generator: dropping it in the middle of a loop ends its subscription at once, on
asyncio and on trio, without closing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import anyio.lowlevel

from .._core.errors import JobNotFound
from .._core.models import JobState

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from .._backend import Backend
    from .._core.models import JobStatus

_TURNS = 100
"""Number of statuses after which a loop lets other tasks run."""


class Watch:
    """Async iterator of the statuses of jobs: for each job the current one, then each change once, until it has ended.

    Made by `aiomig.watch`. A slow loop gets the latest status of a job and skips those in between. The loop may be left
    or cancelled at any time, and needs no cleanup. A cancelled `__anext__` loses nothing and may be called again.

    Raises, while iterating:
        JobNotFound: a job does not exist.
        GridError: requests to the grid kept failing for too long.
        LocalError: local mode has failed.
    """

    def __init__(self, backend: Backend, job_ids: Iterable[str]) -> None:
        backend.tasks.ensure_own_loop()
        self._backend = backend
        self._subscription = backend.subscriptions.subscribe()
        self._unread: list[str] = []
        self._turns = 0
        self._add(job_ids)

    def _add(self, job_ids: Iterable[str]) -> None:
        self._unread += self._subscription.add(*job_ids)

    def add(self, *jobs: object) -> None:
        """Add jobs (or ids) to a running watch."""
        self._add(str(getattr(job, "id", job)) for job in jobs)

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> JobStatus:
        self._backend.tasks.ensure_own_loop()
        status: JobStatus | None = None
        while status is None:
            if self._unread:
                await self._read()
            self._turns += 1
            if self._turns % _TURNS == 0:
                await anyio.lowlevel.checkpoint()
            status = await self._subscription.next()
        return status

    def ready(self) -> list[JobStatus]:
        """Return the available statuses, without waiting."""
        return list(iter(self._subscription.ready, None))

    async def _read(self) -> None:
        """Read the current statuses of new jobs. A change that is published meanwhile is newer and takes precedence."""
        unread = list(self._unread)
        try:
            present = await self._backend.present(unread)
        except JobNotFound as error:
            # Raised once. The other jobs can still be watched.
            self._unread = [job_id for job_id in self._unread if job_id != error.job_id]
            self._subscription.discard(error.job_id)
            raise
        done = set(unread)
        self._unread = [job_id for job_id in self._unread if job_id not in done]
        for status in present.values():
            self._subscription.offer_first(status)

    def close(self) -> None:
        """End the watch, even if a task is waiting in it. Optional."""
        self._subscription.close()
        self._unread.clear()

    async def aclose(self) -> None:
        """End the watch; see `close`."""
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


_RANKS = {JobState.PARSE: 0, JobState.QUEUED: 1, JobState.FROZEN: 2, JobState.EXECUTING: 3, JobState.RETRY: 3}


def _rank(state: JobState) -> int:
    """Return a number for a state that grows with the progress of a job."""
    return 4 if state.is_final else _RANKS.get(state, -1)


async def reached_status(backend: Backend, job_id: str, until: JobState) -> JobStatus:
    """Wait until a job has reached a state or a later one. Cancelling this does not affect the job."""
    watch = Watch(backend, [job_id])
    try:
        status = await anext(watch)
        # A job that is queued again after a failed attempt has been EXECUTING.
        while max(_rank(status.state), 3 if status.attempts else -1) < _rank(until):
            status = await anext(watch)
    finally:
        watch.close()  # the traceback of an error may keep the watch alive
    return status
