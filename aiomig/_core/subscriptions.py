"""Publish/subscribe for job statuses.

A backend publishes each change of a job, and every `Subscription` to that job yields it once, in order. A slow
subscriber gets only the latest status of a job. A `Reader` gets each change of all jobs once.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from .models import JobStatus


class Subscription:
    """A subscription to the statuses of some jobs. Created by `Subscriptions.subscribe`.

    Each status is delivered once. A cancelled `next` loses no status. If several tasks call `next` at the same time,
    each status goes to one of them. The other methods do not wait and do no I/O.
    """

    __slots__ = ("__weakref__", "_delivered", "_error", "_event", "_pending", "_subscriptions")

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions
        self._delivered: dict[str, JobStatus | None] = {}  # the last delivered status of each job, until its end
        self._pending: dict[str, JobStatus] = {}
        self._event: anyio.Event | None = None
        self._error: BaseException | None = None

    @property
    def job_ids(self) -> list[str]:
        """The jobs whose final status has not been delivered."""
        return list(self._delivered)

    def add(self, *job_ids: str) -> list[str]:
        """Add jobs, and return those that are new to this subscription."""
        new = [job_id for job_id in dict.fromkeys(job_ids) if job_id not in self._delivered]
        if new:
            self._delivered.update(dict.fromkeys(new))
            self._subscriptions.add(new, self)
            self._wake()
        return new

    def discard(self, job_id: str) -> None:
        """Remove a job and its pending status."""
        if job_id in self._delivered:
            del self._delivered[job_id]
            self._pending.pop(job_id, None)
            self._subscriptions.discard(job_id, self)
            if not self._delivered:
                self._wake()

    def offer(self, status: JobStatus) -> None:
        """Queue a status for delivery, unless it equals the one that was delivered last."""
        job_id = status.job_id
        if job_id not in self._delivered:
            return
        if self._delivered[job_id] == status:
            self._pending.pop(job_id, None)  # the job changed back before the change was delivered
            return
        self._pending[job_id] = status
        self._wake()

    def offer_first(self, status: JobStatus) -> None:
        """Queue the result of a status request, unless a published status, which is newer, has arrived meanwhile."""
        if status.job_id not in self._pending and self._delivered.get(status.job_id) is None:
            self.offer(status)

    def fail(self, error: BaseException) -> None:
        """Make the current or next call of `next` raise an error."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._event is not None:
            self._event.set()
            self._event = None

    def ready(self) -> JobStatus | None:
        """Return the next status without waiting, or ``None``. After its final status, a job is removed."""
        if not self._pending:
            return None
        job_id = next(iter(self._pending))
        status = self._pending.pop(job_id)
        if status.state.is_final:
            self.discard(job_id)
        else:
            self._delivered[job_id] = status
        return status

    async def next(self) -> JobStatus | None:
        """Wait for the next status. Return ``None`` after another event, such as an added job.

        Raises:
            StopAsyncIteration: no job is left.
            BaseException: the error that `fail` was called with.
        """
        if (status := self.ready()) is not None:
            return status
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if not self._delivered:
            raise StopAsyncIteration
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()
        return self.ready()

    def close(self) -> None:
        """Remove all jobs."""
        for job_id in self.job_ids:
            self.discard(job_id)


class Reader(Protocol):
    """A receiver of the changes of all jobs. Its methods do not wait."""

    def offer(self, status: JobStatus) -> None:
        """Receive a change."""

    def fail(self, error: BaseException) -> None:
        """Receive an error that concerns all jobs."""


_REMEMBERED = 10_000
"""The number of ended jobs that are remembered, so that readers do not get their end twice."""


class Subscriptions:
    """The subscriptions and readers of a session. It holds only weak references to them.

    Args:
        on_subscribe: called with the ids of jobs that get a subscriber, so that the backend can start watching them.

    Attributes:
        readers: the receivers of the changes of all jobs.
    """

    def __init__(self, on_subscribe: Callable[[Collection[str]], None] = lambda _: None) -> None:
        self._subscribers: dict[str, WeakSet[Subscription]] = {}
        self.readers: WeakSet[Reader] = WeakSet()
        self._latest: dict[str, JobStatus] = {}  # the statuses that the readers have
        self._ended: deque[str] = deque()
        self.on_subscribe = on_subscribe

    def __contains__(self, job_id: str) -> bool:
        """Return whether a job has a subscriber or a reader."""
        return bool(self._subscribers.get(job_id) or self.readers)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids of the jobs that have subscribers."""
        for job_id in [job_id for job_id, subscribers in self._subscribers.items() if not subscribers]:
            del self._subscribers[job_id]
        return iter(list(self._subscribers))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def subscribe(self, job_ids: Iterable[str] = ()) -> Subscription:
        """Return a new subscription to jobs. It ends when the caller drops it."""
        subscription = Subscription(self)
        subscription.add(*job_ids)
        return subscription

    def add(self, job_ids: Collection[str], subscription: Subscription) -> None:
        """Add jobs to a subscription."""
        alone = WeakSet((subscription,))  # shared by all jobs without another subscriber, so never modified
        for job_id in job_ids:
            subscribers = self._subscribers.get(job_id)
            if not subscribers:
                self._subscribers[job_id] = alone
            elif len(subscribers) == 1:
                self._subscribers[job_id] = subscribers | alone
            else:
                subscribers.add(subscription)
        self.on_subscribe(job_ids)

    def discard(self, job_id: str, subscription: Subscription) -> None:
        """Remove a job from a subscription."""
        subscribers = self._subscribers[job_id]
        if len(subscribers) > 1:
            subscribers.discard(subscription)
        else:
            del self._subscribers[job_id]

    def _of(self, job_id: str) -> list[Subscription]:
        return list(self._subscribers.get(job_id, ()))

    def publish(self, status: JobStatus) -> None:
        """Offer a status to all subscribers of its job and, if it is a change, to all readers."""
        for subscription in self._of(status.job_id):
            subscription.offer(status)
        if self.readers:
            self._inform_readers(status)

    # -- readers of all changes

    def begin_reading(self, statuses: Iterable[JobStatus]) -> None:
        """Set the statuses of the unfinished jobs from which the readers start, without reporting them as changes."""
        self._latest = {status.job_id: status for status in statuses}
        self._ended.clear()

    def _inform_readers(self, status: JobStatus) -> None:
        before = self._latest.get(status.job_id)
        if before is not None and (before == status or before.state.is_final):
            return
        self._latest[status.job_id] = status
        if status.state.is_final:
            self._ended.append(status.job_id)
            if len(self._ended) > _REMEMBERED:
                self._latest.pop(self._ended.popleft(), None)
        for reader in list(self.readers):
            reader.offer(status)

    def fail_readers(self, error: BaseException) -> None:
        """Make every reader raise an error."""
        for reader in list(self.readers):
            reader.fail(error)

    # -- errors

    def refuse(self, job_id: str, error: BaseException) -> None:
        """Make the subscribers of one job raise an error, and end their subscriptions to it."""
        for subscription in self._of(job_id):
            subscription.discard(job_id)
            subscription.fail(error)

    def fail(self, error: BaseException) -> None:
        """Make every subscriber and every reader raise an error."""
        self.fail_readers(error)
        for subscription in {subscription for job_id in self for subscription in self._of(job_id)}:
            subscription.fail(error)
