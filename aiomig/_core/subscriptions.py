"""Who waits for which job, and what they have not seen yet.

A mode publishes each change of a job here; every `Watcher` of that job sees it once, in order. A watcher that is slow
gets the latest status of a job, not a backlog. The board holds its watchers weakly, so that an iterator that is
dropped in the middle leaves nothing behind.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from .models import JobStatus


class Watcher:
    """The statuses of some jobs, each handed out once. Made by `Board.watch`.

    `follow` and `close` do no I/O; `next` may be cancelled at any time and loses nothing. Tasks that wait in it at
    once share what comes.
    """

    __slots__ = ("__weakref__", "_board", "_error", "_event", "_ids", "_pending", "_seen", "reference")

    def __init__(self, board: Board) -> None:
        self._board = board
        self.reference: weakref.ref[Watcher] = weakref.ref(self, board.lose)
        hash(self.reference)  # later on, when we are gone, it could not be had
        self._ids: set[str] = set()
        self._pending: dict[str, JobStatus] = {}
        self._seen: dict[str, JobStatus] = {}
        self._event: anyio.Event | None = None
        self._error: BaseException | None = None

    @property
    def ids_view(self) -> AbstractSet[str]:
        """The jobs whose end has not been delivered yet."""
        return self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def follow(self, *job_ids: str) -> list[str]:
        """Adds jobs; those that are new here."""
        new = [job_id for job_id in dict.fromkeys(job_ids) if job_id not in self._ids]
        if new:
            self._ids.update(new)
            self._board.add(new, self)
            self._wake()
        return new

    def drop(self, job_id: str) -> None:
        """Takes a job away; what is pending of it is forgotten."""
        if job_id in self._ids:
            self._ids.discard(job_id)
            self._board.discard(job_id, self)
        self._pending.pop(job_id, None)
        self._seen.pop(job_id, None)
        if not self._ids:
            self._wake()

    def offer(self, status: JobStatus) -> None:
        """Takes a status in, unless it says what was delivered already."""
        if status.job_id not in self._ids:
            return
        if self._seen.get(status.job_id) == status:
            # It went somewhere and came back before anyone looked: nothing to tell.
            self._pending.pop(status.job_id, None)
            return
        self._pending[status.job_id] = status
        self._wake()

    def offer_first(self, status: JobStatus) -> None:
        """Takes in what was asked for, unless a change that was published meanwhile waits: that is newer."""
        if status.job_id not in self._pending and status.job_id not in self._seen:
            self.offer(status)

    def fail(self, error: BaseException) -> None:
        """Makes the present or next `next` raise an error."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._event is not None:
            self._event.set()
            self._event = None

    def ready(self) -> JobStatus | None:
        """The next status if there is one now. A final one takes its job off the list."""
        if not self._pending:
            return None
        job_id = next(iter(self._pending))
        status = self._pending.pop(job_id)
        if status.state.is_final:
            self.drop(job_id)
        else:
            self._seen[job_id] = status
        return status

    async def next(self) -> JobStatus | None:
        """Waits for the next status; ``None`` where something else happened, such as a job that was added.

        Raises:
            StopAsyncIteration: every job has ended, or was taken away.
            BaseException: what the board failed with.
        """
        if (status := self.ready()) is not None:
            return status
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if not self._ids:
            raise StopAsyncIteration
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()
        return self.ready()

    def close(self) -> None:
        """Ends the subscription; harmless when repeated."""
        for job_id in list(self._ids):
            self.drop(job_id)


class Board:
    """The watchers of a session, by job.

    Of a job that one watcher follows, as most are, the board holds a reference that all jobs of that watcher share:
    ten thousand cost little then, in memory and in time.

    Args:
        on_watch: called with the ids of jobs that someone begins to watch, so that a mode can begin to follow them.

    Attributes:
        departures: how often the last watcher of a job has left it.
    """

    def __init__(self, on_watch: Callable[[Collection[str]], None] = lambda _: None) -> None:
        self._watchers: dict[str, weakref.ref[Watcher] | set[weakref.ref[Watcher]]] = {}
        self._lost = False
        self.departures: int = 0
        self.on_watch = on_watch

    def __contains__(self, job_id: object) -> bool:
        return any(True for _ in self._of(job_id)) if isinstance(job_id, str) else False

    def __iter__(self) -> Iterator[str]:
        """The ids of the jobs that someone watches."""
        return iter(list(self.ids_view))

    def __len__(self) -> int:
        return len(self.ids_view)

    @property
    def ids_view(self) -> AbstractSet[str]:
        """The ids of the jobs that someone watches."""
        if self._lost:
            self._lost = False
            for job_id in list(self._watchers):
                self._drop(job_id, None)
        return self._watchers.keys()

    def lose(self, _reference: weakref.ref[Watcher]) -> None:
        """A watcher is gone without a word. May be called at any time, in the middle of anything."""
        self._lost = True

    def watch(self, job_ids: Iterable[str] = ()) -> Watcher:
        """A new watcher of these jobs; keep a reference to it, for the board keeps none."""
        watcher = Watcher(self)
        watcher.follow(*job_ids)
        return watcher

    def add(self, job_ids: Collection[str], watcher: Watcher) -> None:
        """Enters a watcher under jobs."""
        reference = watcher.reference
        for job_id in job_ids:
            present = self._watchers.setdefault(job_id, reference)
            if isinstance(present, set):
                present.add(reference)
            elif present is not reference:
                self._watchers[job_id] = {present, reference}
        self.on_watch(job_ids)

    def discard(self, job_id: str, watcher: Watcher) -> None:
        """Takes a watcher off a job."""
        self._drop(job_id, watcher.reference)

    def _drop(self, job_id: str, reference: weakref.ref[Watcher] | None) -> None:
        """Takes a watcher off a job, and those that are gone."""
        present = self._watchers.get(job_id)
        references = present if isinstance(present, set) else {present} - {None}
        left = {each for each in references if each is not None and each is not reference and each() is not None}
        if not left:
            self.departures += self._watchers.pop(job_id, None) is not None
        elif left != references:
            self._watchers[job_id] = left if len(left) > 1 else next(iter(left))

    def _of(self, job_id: str) -> Iterator[Watcher]:
        present = self._watchers.get(job_id)
        if present is None:
            return
        for reference in list(present) if isinstance(present, set) else (present,):
            if (watcher := reference()) is not None:
                yield watcher

    def publish(self, status: JobStatus) -> None:
        """Hands a status to everyone who watches its job."""
        for watcher in self._of(status.job_id):
            watcher.offer(status)

    def refuse(self, job_id: str, error: BaseException) -> None:
        """Hands an error about one job to everyone who watches it, and takes them off it."""
        for watcher in list(self._of(job_id)):
            watcher.drop(job_id)
            watcher.fail(error)

    def fail(self, error: BaseException) -> None:
        """Hands an error to everyone who waits."""
        for watcher in {watcher for job_id in self for watcher in self._of(job_id)}:
            watcher.fail(error)
