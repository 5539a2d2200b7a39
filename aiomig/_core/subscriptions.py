"""Publish/subscribe for job statuses.

A backend publishes each change of a job; every `Subscription` to that job yields it once, in order. A slow subscriber
gets the latest status of a job, not a backlog. A `Reader` gets the changes of all jobs, each once.
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
    """The statuses of some jobs, each yielded once. Made by `Subscriptions.subscribe`.

    `next` may be cancelled at any time and loses nothing. Tasks that wait in it at the same time share the statuses.
    No other method waits or does I/O.
    """

    __slots__ = ("__weakref__", "_delivered", "_error", "_event", "_pending", "_subscriptions")

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions
        self._delivered: dict[str, JobStatus | None] = {}  # the jobs whose end has not been delivered
        self._pending: dict[str, JobStatus] = {}
        self._event: anyio.Event | None = None
        self._error: BaseException | None = None

    @property
    def job_ids(self) -> list[str]:
        """The jobs whose end has not been delivered."""
        return list(self._delivered)

    def add(self, *job_ids: str) -> list[str]:
        """Add jobs. Return those that are new to this subscription."""
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
        """Take a status, unless it is the one that was delivered last."""
        job_id = status.job_id
        if job_id not in self._delivered:
            return
        if self._delivered[job_id] == status:
            self._pending.pop(job_id, None)  # the job changed and changed back before anyone looked
            return
        self._pending[job_id] = status
        self._wake()

    def offer_first(self, status: JobStatus) -> None:
        """Take a status that was asked for, unless a published one, which is newer, has arrived meanwhile."""
        if status.job_id not in self._pending and self._delivered.get(status.job_id) is None:
            self.offer(status)

    def fail(self, error: BaseException) -> None:
        """Make the present or next `next` raise an error."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._event is not None:
            self._event.set()
            self._event = None

    def ready(self) -> JobStatus | None:
        """Return the next status if there is one now. A final one removes its job."""
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
        """Wait for the next status; ``None`` if something else happened, such as a job that was added.

        Raises:
            StopAsyncIteration: no job is left.
            BaseException: what `fail` was called with.
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
        """Remove all jobs. Harmless if repeated."""
        for job_id in self.job_ids:
            self.discard(job_id)


class Reader(Protocol):
    """Takes the changes of all jobs. Its methods return at once."""

    def offer(self, status: JobStatus) -> None:
        """Take a change."""

    def fail(self, error: BaseException) -> None:
        """Take an error that concerns all jobs."""


_REMEMBERED = 10_000
"""How many ended jobs are known to the readers, so that none of them is reported twice."""


class Subscriptions:
    """The subscriptions of a session, by job, and its readers. They are held weakly: one that is dropped is gone.

    Args:
        on_subscribe: called with the ids of jobs that gain a subscriber, so that a backend can begin to follow them.

    Attributes:
        readers: who gets the changes of all jobs, as long as the caller keeps it.
    """

    def __init__(self, on_subscribe: Callable[[Collection[str]], None] = lambda _: None) -> None:
        self._subscribers: dict[str, WeakSet[Subscription]] = {}
        self.readers: WeakSet[Reader] = WeakSet()
        self._latest: dict[str, JobStatus] = {}  # what the readers know
        self._ended: deque[str] = deque()
        self.on_subscribe = on_subscribe

    def __contains__(self, job_id: str) -> bool:
        """Whether someone wants to know the changes of a job."""
        return bool(self._subscribers.get(job_id) or self.readers)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids of the jobs with a subscriber."""
        for job_id in [job_id for job_id, subscribers in self._subscribers.items() if not subscribers]:
            del self._subscribers[job_id]
        return iter(list(self._subscribers))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def subscribe(self, job_ids: Iterable[str] = ()) -> Subscription:
        """Return a new subscription to jobs. It lasts as long as the caller keeps it."""
        subscription = Subscription(self)
        subscription.add(*job_ids)
        return subscription

    def add(self, job_ids: Collection[str], subscription: Subscription) -> None:
        """Subscribe to jobs."""
        alone = WeakSet((subscription,))  # shared by the jobs that have no other subscriber, and never changed
        for job_id in job_ids:
            present = self._subscribers.get(job_id)
            if not present:
                self._subscribers[job_id] = alone
            elif len(present) == 1:
                self._subscribers[job_id] = present | alone
            else:
                present.add(subscription)
        self.on_subscribe(job_ids)

    def discard(self, job_id: str, subscription: Subscription) -> None:
        """End the subscription to a job."""
        subscribers = self._subscribers[job_id]
        if len(subscribers) > 1:
            subscribers.discard(subscription)
        else:
            del self._subscribers[job_id]

    def _of(self, job_id: str) -> list[Subscription]:
        return list(self._subscribers.get(job_id, ()))

    def publish(self, status: JobStatus) -> None:
        """Offer a status to every subscriber of its job."""
        for subscription in self._of(status.job_id):
            subscription.offer(status)
        if self.readers:
            self._inform_readers(status)

    # -- readers of all changes

    def begin_reading(self, statuses: Iterable[JobStatus]) -> None:
        """Set what the readers know: the statuses of the unfinished jobs. They are no changes."""
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
